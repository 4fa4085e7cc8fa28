"""Conventional classifiers: scores from logits, Xception by timm's names, folders and what is wrong with them."""

import json

import numpy as np
import pytest
import tiny_models
import torch
import transformers
from safetensors.torch import save_file

from defake.detectors import load_detector
from defake.detectors.classifier import Classifier, save_classifier, start_classifier, xception_from_timm
from defake.detectors.xception import XceptionConfig, XceptionForImageClassification
from defake.errors import BadConfig, WeightsMismatch


@pytest.fixture
def images():
    """Seven images of three sizes."""
    return tiny_models.noise_images(np.random.default_rng(4), 7)


def timm_shapes():
    """Names and shapes of timm's `legacy_xception`, written out by hand from the published layout."""
    shapes = {
        "conv1.weight": (32, 3, 3, 3),
        "conv2.weight": (64, 32, 3, 3),
        "fc.weight": (1000, 2048),
        "fc.bias": (1000,),
    }

    def norm(name, width):
        shapes.update({f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.num_batches_tracked"] = ()

    def separable(name, width_in, width_out):
        shapes[f"{name}.conv1.weight"] = (width_in, 1, 3, 3)
        shapes[f"{name}.pointwise.weight"] = (width_out, width_in, 1, 1)

    def block(number, skip, *steps):
        for place, width_in, width_out in steps:
            separable(f"block{number}.rep.{place}", width_in, width_out)
            norm(f"block{number}.rep.{place + 1}", width_out)
        if skip:
            shapes[f"block{number}.skip.weight"] = (*skip, 1, 1)
            norm(f"block{number}.skipbn", skip[0])

    norm("bn1", 32)
    norm("bn2", 64)
    block(1, (128, 64), (0, 64, 128), (3, 128, 128))
    block(2, (256, 128), (1, 128, 256), (4, 256, 256))
    block(3, (728, 256), (1, 256, 728), (4, 728, 728))
    for number in range(4, 12):
        block(number, None, (1, 728, 728), (4, 728, 728), (7, 728, 728))
    block(12, (1024, 728), (1, 728, 728), (4, 728, 1024))
    separable("conv3", 1024, 1536)
    norm("bn3", 1536)
    separable("conv4", 1536, 2048)
    norm("bn4", 2048)
    return shapes


def test_xception_has_the_names_and_shapes_of_timm():
    """Every tensor of timm's `legacy_xception` has its place and shape, and no other; 22,855,952 parameters."""
    model = XceptionForImageClassification(XceptionConfig(num_labels=1000))
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == timm_shapes()
    assert sum(p.numel() for p in model.parameters()) == 22_855_952


def test_xception_reads_a_file_of_timm(tmp_path):
    """All weights but the head come from the file, and 299 px give the 10 x 10 features before the pooling."""
    rng = torch.Generator().manual_seed(0)
    weights = {
        k: torch.rand(s, generator=rng) for k, s in timm_shapes().items() if not k.endswith("num_batches_tracked")
    }
    save_file(weights, tmp_path / "xception.safetensors")
    torch.save(weights, tmp_path / "xception.pth")
    for name in ("xception.safetensors", "xception.pth"):
        model = xception_from_timm(tmp_path / name).eval()
        own = model.state_dict()
        assert all(torch.equal(own[key], value) for key, value in weights.items() if not key.startswith("fc."))
        assert model.config.id2label == {0: "real", 1: "fake"}
    sizes = []
    model.bn4.register_forward_hook(lambda *parts: sizes.append(tuple(parts[2].shape)))
    with torch.inference_mode():
        assert model(pixel_values=torch.zeros(1, 3, 299, 299)).logits.shape == (1, 2)
    assert sizes == [(1, 2048, 10, 10)]


def test_weights_of_something_else_are_refused(tmp_path):
    """A file with a missing, unknown or misshapen weight, or no weights at all, names the trouble."""
    weights = {k: torch.zeros(s) for k, s in timm_shapes().items()}
    for name, change in {
        "missing": {"bn2.bias": None}, "misshapen": {"conv1.weight": torch.zeros(32, 4, 3, 3)},
        "unknown": {"x": torch.zeros(1)},
    }.items():  # fmt: skip
        changed = {k: v for k, v in {**weights, **change}.items() if v is not None}
        save_file(changed, tmp_path / f"{name}.safetensors")
        with pytest.raises(WeightsMismatch, match="legacy_xception"):
            xception_from_timm(tmp_path / f"{name}.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "text.pth").write_text("no weights")
    for name in ("text.safetensors", "text.pth"):
        with pytest.raises(WeightsMismatch, match="cannot be read"):
            xception_from_timm(tmp_path / name)


def tiny_resnet(folder, labels):
    """A ResNet of two stages with the given class names, saved with its processor."""
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )  # fmt: skip
    model = tiny_models.widen(transformers.ResNetForImageClassification(config))
    processor = tiny_models._image_processor("ViTImageProcessor")
    return tiny_models._save(folder, model, processor)


def test_score_is_the_softmax_of_the_fake_classes(tmp_path, images):
    """`fake_score` is the sum of softmax probabilities over the classes that mean fake, one image at a time or many."""
    detector = Classifier(tiny_resnet(tmp_path, ["camera", "Fake", "synthetic", "scan"]), device="cpu")
    with torch.inference_mode():
        pixels = [detector.processor(image, return_tensors="pt")["pixel_values"] for image in images]
        slow = [float(detector.model(x).logits.double().softmax(dim=1)[0, 1:3].sum()) for x in pixels]
    assert np.ptp(slow) > 1e-3
    np.testing.assert_allclose(detector.score(images), slow, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([detector.score([i]) for i in images]), slow, atol=1e-6)
    assert detector.score([]).shape == (0,)


def test_a_single_output_is_the_logit(tmp_path, images):
    """A model with one output called fake scores by its logistic function."""
    detector = Classifier(tiny_resnet(tmp_path, ["fake"]), device="cpu")
    logits = detector.fake_logit(images)
    np.testing.assert_allclose(detector.score(images), 1 / (1 + np.exp(-logits)))


def test_a_classifier_of_other_things_is_refused(tmp_path):
    """An ImageNet head is no detector: the error names its classes and both repairs."""
    source = tiny_resnet(tmp_path, ["tench", "goldfish", "shark"])
    with pytest.raises(BadConfig, match=r"tench.*fake=.*defake train"):
        Classifier(source, device="cpu")
    assert Classifier(source, fake="Shark", device="cpu")._is_fake.tolist() == [False, False, True]


@pytest.mark.parametrize("kind", ["resnet", "deit", "xception"])
def test_started_saved_and_loaded_score_alike(tmp_path, images, kind):
    """A network with a new head is saved as a folder, and `load_detector` finds the same scores and the same hash."""
    source = "xception"
    if kind == "resnet":
        source = tiny_resnet(tmp_path / "base", ["tench", "goldfish", "shark"])
    if kind == "deit":
        config = transformers.DeiTConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=32,
            patch_size=8,
        )
        model = tiny_models.widen(transformers.DeiTForImageClassification(config))
        source = tiny_models._save(
            tmp_path / "base", model, tiny_models._image_processor("DeiTImageProcessor", do_center_crop=False)
        )
    model, processor = start_classifier(source, device="cpu")
    assert model.config.id2label == {0: "real", 1: "fake"}
    save_classifier(model.eval(), processor, tmp_path / "run", calibration={"slope": 2.0})
    detector = load_detector(str(tmp_path / "run"), device="cpu")
    assert isinstance(detector, Classifier)
    with torch.inference_mode():
        pixels = processor([*map(_pil, images)], return_tensors="pt")["pixel_values"]
        logits = model(pixel_values=pixels).logits.double()
    expected = 1 / (1 + np.exp(-2 * (logits[:, 1] - logits[:, 0]).numpy()))
    np.testing.assert_allclose(detector.score(images), expected, atol=1e-5)
    assert len(detector.weights_hash()) == 64


def _pil(image):
    from PIL import Image

    return Image.fromarray(image)


def test_missing_weights_are_named(tmp_path):
    """A folder without weights, with half of them, or none at all: an error, never a random network."""
    source = tiny_resnet(tmp_path / "half", ["real", "fake"])
    from safetensors.torch import load_file

    weights = load_file(f"{source}/model.safetensors")
    weights.pop("classifier.1.weight")
    save_file(weights, f"{source}/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsMismatch, match=r"lacks 1 weights.*classifier\.1\.weight"):
        Classifier(source, device="cpu")
    (tmp_path / "half" / "model.safetensors").unlink()
    for folder in (source, str(tmp_path / "nowhere")):
        with pytest.raises(WeightsMismatch, match="save_pretrained"):
            Classifier(folder, device="cpu")
    body = load_file(f"{tiny_resnet(tmp_path / 'body', ['a', 'b'])}/model.safetensors")
    body.pop(next(key for key in body if key.startswith("resnet.encoder")))
    save_file(body, tmp_path / "body" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsMismatch, match="body"):
        start_classifier(str(tmp_path / "body"), device="cpu")


def test_a_record_of_a_folder_is_plain_json(tmp_path):
    """The saved record names detector and options and no path of the machine it was written on."""
    save_classifier(*start_classifier("xception", device="cpu"), tmp_path, dtype="float32")
    record = json.loads((tmp_path / "detector.json").read_text())
    assert record == {"detector": "classifier", "options": {"dtype": "float32"}}
