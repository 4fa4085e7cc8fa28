"""A linear probe: logistic regression on features of a vision model that nobody trained for this."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from defake.errors import BadConfig, BadDataset, WeightsMismatch
from defake.metrics.calibration import Calibration

from .base import Detector
from .classifier import pixels_of
from .hardware import Batches, inference
from .weights import hash_weights, load_model, load_part, require

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from .base import RGB

WEIGHTS = "probe.safetensors"


class Features:
    """Frozen features of images, `(n, width)`.

    CLIP gives its projected image embedding; BLIP-2 its vision tower's class token (`layer="vision"`) or the mean of
    the Q-Former's queries (`layer="qformer"`); any other vision model its pooled output, or its first token.

    Raises: WeightsMismatch if the model is not there; BadConfig for a layer the model does not have.
    """

    def __init__(
        self,
        backbone: str,
        *,
        layer: str | None = None,
        batch_size: int = 32,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        config = load_part(transformers.AutoConfig, backbone)
        self.backbone = backbone
        self.layer = layer or "vision"
        known = ("vision", "qformer") if config.model_type == "blip-2" else ("vision",)
        if self.layer not in known:
            raise BadConfig(f"unknown layer {layer!r} of {backbone!r} ({config.model_type}); known: {', '.join(known)}")
        kind, options = _kind_of(config)
        self.model = load_model(kind, backbone, device=device, dtype=dtype, **options)
        self.processor = load_part(transformers.AutoImageProcessor, backbone)
        self._batches = Batches(batch_size)

    def of(self, images: Sequence[RGB]) -> NDArray[np.float64]:
        """Features of each image, `(n, width)`."""
        rows = self._batches.run(list(images), self._read_batch)
        return np.concatenate(rows) if rows else np.empty((0, 0))

    @inference
    def _read_batch(self, images: Sequence[RGB]) -> NDArray[np.float64]:
        pixels = pixels_of(self.processor, images, self.model)
        features = self._blip2(pixels) if hasattr(self.model, "qformer") else self._pooled(pixels)
        return np.asarray(features.double().cpu().numpy())

    def _blip2(self, pixels: torch.Tensor) -> torch.Tensor:
        seen = self.model.vision_model(pixel_values=pixels, return_dict=True)
        if self.layer == "vision":
            return seen.pooler_output
        queries = self.model.query_tokens.expand(len(pixels), -1, -1)
        mask = torch.ones(seen.last_hidden_state.shape[:2], dtype=torch.long, device=pixels.device)
        asked = self.model.qformer(
            query_embeds=queries,
            encoder_hidden_states=seen.last_hidden_state,
            encoder_attention_mask=mask,
            return_dict=True,
        )
        return asked.last_hidden_state.mean(dim=1)

    def _pooled(self, pixels: torch.Tensor) -> torch.Tensor:
        out = self.model(pixel_values=pixels)
        for name in ("image_embeds", "pooler_output"):
            found = getattr(out, name, None)
            if found is not None:
                return found.flatten(start_dim=1)
        return out.last_hidden_state[:, 0]


def _kind_of(config: Any) -> tuple[Any, dict[str, Any]]:
    """The class that reads the vision half of a model, and what it must be told."""
    if config.model_type == "blip-2":
        # The language model, nine tenths of the weights, is not read: it is built without layers.
        for name in ("num_hidden_layers", "num_layers", "num_decoder_layers"):
            if hasattr(config.text_config, name):
                setattr(config.text_config, name, 0)
        return transformers.Blip2ForConditionalGeneration, {"config": config}
    if config.model_type in ("clip", "clip_vision_model"):
        vision = getattr(config, "vision_config", config)
        vision.projection_dim = config.projection_dim
        return transformers.CLIPVisionModelWithProjection, {"config": vision}
    return transformers.AutoModel, {}


@dataclass(frozen=True, slots=True)
class Line:
    """A logistic regression on features scaled to unit variance: `logit = features @ weight + bias`."""

    weight: NDArray[np.float64]
    bias: float

    def __post_init__(self) -> None:
        if self.weight.ndim != 1 or not np.isfinite(self.weight).all() or not np.isfinite(self.bias):
            raise WeightsMismatch(
                f"a probe holds one finite weight per feature and a bias, but got {self.weight.shape}, {self.bias}"
            )

    def logit(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds of fake, `(n,)`.

        Raises: WeightsMismatch if the features have another width.
        """
        if features.shape[1] != len(self.weight):
            raise WeightsMismatch(
                f"the probe was fitted on {len(self.weight)} features, but the vision model gives {features.shape[1]}; "
                "give the backbone and layer it was fitted with"
            )
        return features @ self.weight + self.bias


def fit_line(features: ArrayLike, is_fake: ArrayLike, *, inverse_penalty: float = 1.0) -> Line:
    """The logistic regression of `is_fake` `(n,)` on features `(n, width)`, classes weighted alike.

    `inverse_penalty` is scikit-learn's C on standardised features. Deterministic.

    Raises: BadDataset if there is one class only or a feature is not finite; MissingExtra without scikit-learn.
    """
    require("sklearn", "fitting a probe", "evaluate")
    from sklearn.linear_model import LogisticRegression

    x, y = np.asarray(features, dtype=np.float64), np.asarray(is_fake, dtype=bool)
    if len(x) != len(y) or x.ndim != 2:
        raise BadDataset(f"a probe needs features (n, width) and labels (n,), but got {x.shape} and {y.shape}")
    if y.all() or not y.any():
        raise BadDataset(f"a probe needs fake and real images, but all {len(y)} are {'fake' if y.any() else 'real'}")
    if not np.isfinite(x).all():
        raise BadDataset("a feature is not finite; try dtype='float32'")
    mean, spread = x.mean(axis=0), x.std(axis=0)
    spread[spread == 0] = 1.0  # a constant feature says nothing, and gets no weight
    model = LogisticRegression(C=inverse_penalty, class_weight="balanced", max_iter=5000)
    model.fit((x - mean) / spread, y)
    weight = model.coef_[0] / spread
    return Line(weight, float(model.intercept_[0] - mean @ weight))


class Probe(Detector):
    """Frozen vision features with a logistic regression.

    Options:
        source: folder that `save_probe` wrote.
        backbone, layer: see `Features`; written in the folder's `detector.json`.
        batch_size, device, dtype: as for other detectors. calibration: fields of `Calibration`.

    Raises: WeightsMismatch if weights are missing or fitted on other features.

    Source: Ojha et al., UnivFD (arXiv 2302.10174) for the idea; on BLIP-2's own features it is ours.
    """

    name = "probe"

    def __init__(
        self,
        source: str,
        *,
        backbone: str,
        layer: str | None = None,
        batch_size: int = 32,
        device: str = "auto",
        dtype: str = "auto",
        calibration: Mapping[str, float] | None = None,
    ) -> None:
        self.line = read_line(source)
        # A backbone saved beside the probe is named by its path from there.
        beside = Path(source) / backbone
        found = str(beside) if beside.is_dir() else backbone
        self.features = Features(found, layer=layer, batch_size=batch_size, device=device, dtype=dtype)
        self.calibration = Calibration(**(calibration or {}))

    def fake_logit(self, images: Sequence[RGB]) -> NDArray[np.float64]:
        """Log-odds of fake `(n,)`, before calibration."""
        return self.line.logit(self.features.of(images)) if len(images) else np.empty(0)

    def score(self, images: Sequence[RGB]) -> NDArray[np.float64]:
        """See `Detector.score`."""
        return self.calibration.score(self.fake_logit(images))

    def weights_hash(self) -> str:
        """SHA-256 of the vision model, the layer and the regression."""
        return hash_weights(self.features.model, self.features.layer, self.line.weight.tolist(), self.line.bias)


def save_probe(line: Line, features: Features, folder: str | Path, **options: Any) -> None:
    """Write a folder that `load_detector` reads: the regression (safetensors, no pickle) and `detector.json`."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"weight": line.weight, "bias": np.array([line.bias])}, folder / WEIGHTS)
    record = {"detector": Probe.name, "options": {"backbone": features.backbone, "layer": features.layer, **options}}
    (folder / "detector.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def read_line(folder: str | Path) -> Line:
    """The regression in a folder.

    Raises: WeightsMismatch if it is not there or no regression.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = Path(folder) / WEIGHTS
    try:
        parts = load_file(path)
        return Line(parts["weight"].astype(np.float64), float(parts["bias"][0]))
    except (OSError, SafetensorError, KeyError, IndexError) as error:
        raise WeightsMismatch(f"no probe in {str(folder)!r}: {error}; give a folder that `save_probe` wrote") from error
