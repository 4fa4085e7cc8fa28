"""The linear probe: features of frozen models, the regression, folders and what is wrong with them."""

import json

import numpy as np
import pytest
import tiny_models
import torch
import transformers

from defake.detectors import load_detector
from defake.detectors.probe import Features, Line, Probe, fit_line, read_line, save_probe
from defake.errors import BadConfig, BadDataset, WeightsMismatch


@pytest.fixture
def images():
    """Seven images of three sizes."""
    return tiny_models.noise_images(np.random.default_rng(4), 7)


@pytest.fixture(scope="module")
def blip2(tmp_path_factory):
    """The folder of a tiny BLIP-2."""
    return tiny_models.save_blip2(tmp_path_factory.mktemp("blip2"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The folder of a tiny CLIP, text half and all."""
    torch.manual_seed(0)
    both = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.CLIPConfig(
        text_config={**both, "vocab_size": 99},
        vision_config={**both, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    model = tiny_models.widen(transformers.CLIPModel(config))
    crop = {"height": 32, "width": 32}
    processor = tiny_models._image_processor("CLIPImageProcessor", crop_size=crop)
    return tiny_models._save(tmp_path_factory.mktemp("clip"), model, processor)


def pixels(features, image):
    """Model inputs of one image, made without our batching."""
    return features.processor(image, return_tensors="pt")["pixel_values"]


@torch.inference_mode()
def test_clip_features_are_its_image_embedding(clip, images):
    """Features equal `CLIPModel.get_image_features`, one image at a time."""
    features = Features(clip, device="cpu")
    whole = transformers.CLIPModel.from_pretrained(clip).eval()
    for image, row in zip(images, features.of(images), strict=True):
        seen = whole.vision_model(pixel_values=pixels(features, image)).pooler_output
        np.testing.assert_allclose(row, whole.visual_projection(seen)[0].numpy(), atol=1e-5)


@torch.inference_mode()
def test_blip2_features_are_those_of_the_whole_model(blip2, images):
    """Without its language layers BLIP-2 gives the features the whole model computes on its way."""
    whole = transformers.Blip2ForConditionalGeneration.from_pretrained(blip2).eval()
    vision, qformer = (Features(blip2, layer=layer, device="cpu") for layer in ("vision", "qformer"))
    assert vision.model.num_parameters() < whole.num_parameters()
    for image, first, mean in zip(images, vision.of(images), qformer.of(images), strict=True):
        seen = whole.vision_model(pixel_values=pixels(vision, image))
        np.testing.assert_allclose(first, seen.pooler_output[0].numpy(), atol=1e-5)
        asked = whole.qformer(query_embeds=whole.query_tokens, encoder_hidden_states=seen.last_hidden_state)
        np.testing.assert_allclose(mean, asked.last_hidden_state[0].mean(dim=0).numpy(), atol=1e-5)


def test_other_vision_models_give_their_pooled_output(tmp_path, images):
    """A ResNet gives its pooled map, a ViT without pooler its class token."""
    resnet = transformers.ResNetModel(transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]))
    vit = transformers.ViTModel(
        transformers.ViTConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=4,
            image_size=32,
            patch_size=8,
        ),
        add_pooling_layer=False,
    )
    processor = tiny_models._image_processor("ViTImageProcessor")
    for name, model, width in (("resnet", resnet, 16), ("vit", vit, 32)):
        folder = tiny_models._save(tmp_path / name, tiny_models.widen(model), processor)
        if name == "vit":  # a pooler the file lacks would be random
            with pytest.raises(WeightsMismatch, match="pooler"):
                Features(folder, device="cpu")
            continue
        rows = Features(folder, device="cpu").of(images)
        assert rows.shape == (7, width)
        assert np.ptp(rows, axis=0).max() > 1e-3


def test_the_line_separates_what_is_separable():
    """Two clouds on a line in 3 dimensions, one feature constant: all right, and the constant feature has no weight."""
    rng = np.random.default_rng(0)
    is_fake = np.arange(40) % 2 == 1
    x = np.column_stack([rng.normal(0, 1, 40), 100 + 5.0 * is_fake + rng.normal(0, 0.5, 40), np.full(40, 7.0)])
    line = fit_line(x, is_fake)
    assert ((line.logit(x) > 0) == is_fake).all()
    assert line.weight[2] == 0


def test_the_line_is_scikit_learns():
    """Folding the scaling into weight and bias changes no probability."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(1)
    x, y = rng.normal(3, 20, (50, 4)), rng.random(50) < 0.3
    line = fit_line(x, y, inverse_penalty=0.5)
    slow = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, class_weight="balanced", max_iter=5000)).fit(x, y)
    np.testing.assert_allclose(line.logit(x), slow.decision_function(x), atol=1e-8)


@pytest.mark.parametrize("layer", ["vision", "qformer"])
def test_saved_and_loaded_score_alike(tmp_path, blip2, images, layer):
    """A probe's folder holds no pickle, and `load_detector` finds the same scores in it."""
    features = Features(blip2, layer=layer, device="cpu")
    is_fake = np.arange(len(images)) % 2 == 0
    line = fit_line(features.of(images), is_fake)
    save_probe(line, features, tmp_path, calibration={"intercept": 0.5})
    assert {p.name for p in tmp_path.iterdir()} == {"detector.json", "probe.safetensors"}
    probe = load_detector(str(tmp_path), device="cpu")
    assert isinstance(probe, Probe)
    np.testing.assert_allclose(probe.score(images), 1 / (1 + np.exp(-0.5 - line.logit(features.of(images)))))
    np.testing.assert_allclose(np.concatenate([probe.score([i]) for i in images]), probe.score(images), atol=1e-5)
    assert probe.score([]).shape == (0,)
    assert probe.weights_hash() == load_detector(str(tmp_path), device="cpu").weights_hash() != ""


def test_a_backbone_beside_the_probe_is_found(tmp_path, images):
    """A folder that holds probe and vision model can be carried elsewhere whole."""
    tiny_models.save_blip2(tmp_path / "run" / "backbone")
    features = Features(str(tmp_path / "run" / "backbone"), device="cpu")
    save_probe(fit_line(features.of(images), np.arange(7) > 2), features, tmp_path / "run", backbone="backbone")
    before = load_detector(str(tmp_path / "run"), device="cpu").score(images)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    np.testing.assert_array_equal(load_detector(str(tmp_path / "elsewhere"), device="cpu").score(images), before)


def test_bad_training_data_is_named():
    """One class only, a feature that is no number, or labels of another length."""
    x = np.ones((4, 2))
    for features, labels, words in (
        (x, [True] * 4, "all 4 are fake"),
        (x, [False] * 4, "all 4 are real"),
        (x * np.nan, [True, False] * 2, "not finite"),
        (x, [True, False], r"\(4, 2\) and \(2,\)"),
    ):
        with pytest.raises(BadDataset, match=words):
            fit_line(features, labels)


def test_bad_folders_are_named(tmp_path, blip2, clip, images):
    """No probe, a cut file, another layer, features of another width: each names its repair."""
    with pytest.raises(WeightsMismatch, match="no probe"):
        read_line(tmp_path)
    with pytest.raises(BadConfig, match="known: vision"):
        Features(clip, layer="qformer", device="cpu")
    with pytest.raises(WeightsMismatch, match="no folder"):
        Features(str(tmp_path / "nowhere"), device="cpu")
    with pytest.raises(WeightsMismatch, match="finite"):
        Line(np.array([np.nan]), 0.0)
    features = Features(blip2, device="cpu")
    save_probe(fit_line(features.of(images), np.arange(7) > 2), features, tmp_path)
    with pytest.raises(WeightsMismatch, match=r"32 features.*gives 24"):
        load_detector(str(tmp_path), backbone=clip, device="cpu").score(images)
    whole = (tmp_path / "probe.safetensors").read_bytes()
    (tmp_path / "probe.safetensors").write_bytes(whole[:20])
    with pytest.raises(WeightsMismatch, match="no probe"):
        load_detector(str(tmp_path), device="cpu")
    assert json.loads((tmp_path / "detector.json").read_text())["options"]["layer"] == "vision"
