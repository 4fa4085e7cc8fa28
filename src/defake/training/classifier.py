"""Train the conventional detectors: ResNet-50, DeiT, Xception or any transformers image classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import PartialState

from defake.detectors.classifier import pixels_of, start_classifier
from defake.errors import BadConfig

from .job import train_detector
from .progress import silent
from .trainer import resolve_precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .examples import Examples
    from .job import Outcome
    from .progress import Say
    from .recipe import Recipe

# Short names of the networks the paper compares with. Xception has no home on the hub: see `start_classifier`.
NETWORKS = {"resnet50": "microsoft/resnet-50", "deit": "facebook/deit-base-patch16-224", "xception": "xception"}


class ClassifierTrainee:
    """An image classifier with the classes real (0) and fake (1)."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model
        self.processor = processor

    def encode(self, images: Sequence[NDArray[np.uint8]], is_fake: Sequence[bool]) -> dict[str, torch.Tensor]:
        """Pixels `(n, 3, h, w)` and class numbers `(n,)`."""
        pixels = pixels_of(self.processor, images, self.model)
        return {"pixel_values": pixels, "labels": torch.tensor(is_fake, dtype=torch.long, device=pixels.device)}

    def fake_logits(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """Log-odds of fake, as `detectors.classifier` reads them."""
        with torch.no_grad():
            logits = self.model(pixel_values=pixels_of(self.processor, images, self.model)).logits.double().cpu()
        return np.asarray((logits[:, 1] - logits[:, 0]).numpy())

    def save(self, folder: Path) -> None:
        """Write weights, configuration and processor."""
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)


def train_classifier(
    source: str,
    examples: Examples,
    recipe: Recipe,
    out: Path,
    *,
    overwrite: bool = False,
    say: Say = silent,
    workers: int = 0,
) -> Outcome:
    """Train a classifier into the folder `out`, from a name of `NETWORKS`, a hub name, folder or weights file.

    Every weight learns. An unfinished run of the same settings in `out` is gone on with.

    Raises: BadConfig, WeightsMismatch, BackendFailed.
    """
    if recipe.tune != "full":
        raise BadConfig(f"every weight of a classifier learns: tune must be 'full', but got {recipe.tune!r}")
    recipe = replace(recipe, precision=resolve_precision(recipe.precision), load_in_8bit=False)
    place = Path(source)
    named = str(place.resolve()) if place.exists() else NETWORKS.get(source, source)

    def make() -> ClassifierTrainee:
        device = str(PartialState().device)
        return ClassifierTrainee(*start_classifier(named, device=device, rng_seed=recipe.seed))

    return train_detector(
        "classifier",
        {"model": named},
        make,
        examples,
        recipe=recipe,
        out=out,
        options={},
        overwrite=overwrite,
        say=say,
        workers=workers,
    )
