"""Conventional detectors: an image classifier with a class for fake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from PIL import Image

from defake.errors import BadConfig, WeightsMismatch
from defake.metrics.calibration import Calibration

from .base import Detector
from .hardware import Batches, choose_device, inference
from .weights import hash_weights, load_model, load_part
from .xception import XceptionConfig, XceptionForImageClassification

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .base import RGB

LABELS = {0: "real", 1: "fake"}


class Classifier(Detector):
    """A transformers image classifier (ResNet-50, DeiT, ViT, Swin ...) or Xception as a detector.

    The logit is that of the fake classes (logsumexp) minus that of all others, so that `fake_score` is the softmax
    probability of the fake classes, then calibrated. A model with a single output is read as that logit.

    Options:
        source: folder or hub name of a classifier whose `id2label` names a class as one of `fake`.
        fake: names of the classes that mean generated, whatever their case.
        batch_size: images at once; halved, with a warning in the log, when memory runs out.
        device: auto, cpu, cuda, mps. dtype: auto, float32, bfloat16, float16. calibration: fields of `Calibration`.

    Raises: WeightsMismatch for missing weights; BadConfig if no class means fake: it was not trained for this.

    Source: ours; the networks are those the VLM-DETECT paper (arXiv 2404.02726) compares with.
    """

    name = "classifier"

    def __init__(
        self,
        source: str,
        *,
        fake: str | Sequence[str] = ("fake", "generated", "synthetic", "ai", "artificial"),
        batch_size: int = 32,
        device: str = "auto",
        dtype: str = "auto",
        calibration: Mapping[str, float] | None = None,
    ) -> None:
        self.model, self.processor = load_classifier(source, device=device, dtype=dtype)
        names = {label.casefold() for label in ([fake] if isinstance(fake, str) else fake)}
        labels = [str(self.model.config.id2label[i]) for i in range(self.model.config.num_labels)]
        self._is_fake = np.array([label.casefold() in names for label in labels])
        if not self._is_fake.any() or (len(labels) > 1 and self._is_fake.all()):
            raise BadConfig(
                f"{source!r} has no class for fake beside another; its {len(labels)} classes: {', '.join(labels[:4])}"
                f"{' ...' if len(labels) > 4 else ''}. Name them with fake=..., or train it: defake train"
            )
        self.calibration = Calibration(**(calibration or {}))
        self._batches = Batches(batch_size)

    def score(self, images: Sequence[RGB]) -> NDArray[np.float64]:
        """See `Detector.score`."""
        return self.calibration.score(self.fake_logit(images))

    def fake_logit(self, images: Sequence[RGB]) -> NDArray[np.float64]:
        """Log-odds of the fake classes against all others, `(n,)`, before calibration."""
        return np.concatenate([np.empty(0), *self._batches.run(list(images), self._read_batch)])

    @inference
    def _read_batch(self, images: Sequence[RGB]) -> NDArray[np.float64]:
        logits = self.model(pixel_values=pixels_of(self.processor, images, self.model)).logits.double().cpu()
        if len(self._is_fake) == 1:
            return np.asarray(logits[:, 0].numpy())
        fake = torch.from_numpy(self._is_fake)
        return np.asarray((logits[:, fake].logsumexp(dim=1) - logits[:, ~fake].logsumexp(dim=1)).numpy())

    def weights_hash(self) -> str:
        """SHA-256 of the weights and of which classes mean fake."""
        return hash_weights(self.model, self._is_fake.tolist())


def pixels_of(processor: Any, images: Sequence[RGB], model: Any) -> torch.Tensor:
    """Model inputs `(n, 3, h, w)` of RGB images, on the model's device and in its number format."""
    batch = processor([Image.fromarray(image) for image in images], return_tensors="pt")
    return batch["pixel_values"].to(model.device, model.dtype)


def load_classifier(source: str, *, device: str = "auto", dtype: str = "auto") -> tuple[Any, Any]:
    """Model and image processor of a folder or hub name.

    Raises: WeightsMismatch, BadConfig.
    """
    processor = load_part(transformers.AutoImageProcessor, source)
    return load_model(transformers.AutoModelForImageClassification, source, device=device, dtype=dtype), processor


def start_classifier(source: str, *, device: str = "auto", rng_seed: int = 0) -> tuple[Any, Any]:
    """Model and image processor for training: the weights of `source` under a new head for real (0) and fake (1).

    `source` is a hub name or folder of a transformers classifier, `xception` for a random one, or a file of timm's
    `legacy_xception` weights (`.safetensors`, `.pth`).

    Raises: WeightsMismatch if weights other than the head are missing.
    """
    torch.manual_seed(rng_seed)  # the new head; nothing else is random
    if source == "xception" or Path(source).is_file():
        model = xception_from_timm(source) if Path(source).is_file() else _new_xception()
        return model.to(choose_device(device)), xception_processor()
    processor = load_part(transformers.AutoImageProcessor, source)
    try:
        model, found = transformers.AutoModelForImageClassification.from_pretrained(
            source,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            id2label=LABELS,
            label2id={label: i for i, label in LABELS.items()},
        )
    except (OSError, ValueError, KeyError) as error:
        raise WeightsMismatch(f"no usable image classifier at {source!r}: {error}") from error
    # A network whose body is random is not the one that was asked for; only the head may be new.
    body = [key for key in found["missing_keys"] if "classifier" not in key and not key.startswith(("fc.", "head"))]
    if body:
        raise WeightsMismatch(f"{source!r} lacks {len(body)} weights of its body (first: {min(body)})")
    return model.to(choose_device(device)), processor


def _new_xception() -> XceptionForImageClassification:
    return XceptionForImageClassification(XceptionConfig(id2label=LABELS, label2id={v: k for k, v in LABELS.items()}))


def xception_processor() -> Any:
    """Shorter side to 333 px, centre crop of 299 px, scaled to [-1, 1]. Source: timm's `legacy_xception`."""
    kind = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    half = [0.5, 0.5, 0.5]
    crop = {"height": 299, "width": 299}
    return kind(size={"shortest_edge": 333}, crop_size=crop, image_mean=half, image_std=half)


def xception_from_timm(path: str | Path) -> XceptionForImageClassification:
    """Xception with the weights of a file of timm's `legacy_xception` under a new head for real and fake.

    Raises: WeightsMismatch if a weight is missing, unknown or of another shape.
    """
    weights = _read_weights(Path(path))
    model = _new_xception()
    own = model.state_dict()
    body = {key: value for key, value in weights.items() if not key.startswith("fc.")}
    wanted = {key for key in own if not key.startswith("fc.")}
    # Counters of seen batches are missing in files as old as the original's.
    missing = sorted(key for key in wanted - set(body) if not key.endswith("num_batches_tracked"))
    wrong = sorted(key for key in body if key not in wanted or body[key].shape != own[key].shape)
    if missing or wrong:
        raise WeightsMismatch(
            f"{path} does not hold the weights of timm's legacy_xception: {len(missing)} missing, {len(wrong)} unknown "
            f"or misshapen (first: {(missing + wrong)[0]}); expected conv1.weight ... bn4.bias"
        )
    model.load_state_dict(body, strict=False)
    return model


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, SafetensorError, ValueError, RuntimeError, EOFError, KeyError) as error:
        raise WeightsMismatch(f"{path} cannot be read as weights: {error}") from error
    except Exception as error:  # pickle's own errors have no common class below Exception
        if type(error).__module__ not in ("pickle", "_pickle"):
            raise
        raise WeightsMismatch(f"{path} cannot be read as weights: {error}") from error


def save_classifier(model: Any, processor: Any, folder: str | Path, **options: Any) -> None:
    """Write a folder that `load_detector` reads: weights, configuration, processor and `detector.json`."""
    folder = Path(folder)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    record = {"detector": Classifier.name, "options": options}
    (folder / "detector.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
