"""Teach a captioning or chat model to caption photographs `real` and generated images `fake`."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState
from PIL import Image

from defake.detectors.captioner import Captioner
from defake.errors import BadConfig

from .adapters import with_adapter
from .job import train_detector
from .progress import silent
from .trainer import resolve_precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .examples import Examples
    from .job import Outcome
    from .progress import Say
    from .recipe import Recipe


@dataclass(frozen=True, slots=True)
class Wording:
    """The prompt and the captions a model learns to say; `prompt` None is the family's own."""

    prompt: str | None = None
    fake: str = "fake"
    real: str = "real"

    def as_options(self) -> dict[str, Any]:
        """As options of the captioner detector."""
        return {"prompt": self.prompt, "fake": self.fake, "real": self.real}


class CaptionerTrainee:
    """A captioner with the layers that learn; its scores come from the detector itself."""

    def __init__(self, captioner: Captioner, recipe: Recipe) -> None:
        self.captioner = captioner
        # The adapter is put into the captioner's own layers, so that its scores see it.
        base = captioner.loaded.model
        self.model = with_adapter(base, recipe) if recipe.tune == "lora" else base
        labels, end = captioner.labels, captioner.reader.end_id
        # Said to its end, so that a generated reply stops there.
        said = [tokens if tokens[-1] == end else (*tokens, end) for tokens in labels.tokens]
        self._answer = {fake: said[labels.is_fake.index(fake)] for fake in (True, False)}

    def encode(self, images: Sequence[NDArray[np.uint8]], is_fake: Sequence[bool]) -> dict[str, torch.Tensor]:
        """The prompt with the true caption after it; labels are -100 at image, prompt and padding."""
        inputs = self.captioner.reader.prompt.inputs([Image.fromarray(image) for image in images])
        return self.captioner.reader.training_inputs(inputs, [self._answer[bool(fake)] for fake in is_fake])

    def fake_logits(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """Log-odds of the fake caption against the real one, before any calibration."""
        return self.captioner.labels.fake_logit(self.captioner.log_probabilities(images))

    def save(self, folder: Path) -> None:
        """Write the adapter, or the whole model with its processor."""
        self.model.save_pretrained(folder)
        if self.model is self.captioner.loaded.model:
            processor = self.captioner.loaded.processor
            parts = [processor] if hasattr(processor, "save_pretrained") else list(vars(processor).values())
            for part in parts:
                part.save_pretrained(folder)


def train_captioner(
    source: str,
    examples: Examples,
    recipe: Recipe,
    out: Path,
    *,
    wording: Wording | None = None,
    overwrite: bool = False,
    say: Say = silent,
    workers: int = 0,
) -> Outcome:
    """Fine-tune the captioner at `source` (hub name or folder) into the folder `out`.

    `load_detector(str(out))` loads the result. An unfinished run of the same settings in `out` is gone on with.

    Raises: BadConfig, WeightsMismatch, MissingExtra, BackendFailed.
    """
    wording = wording or Wording()
    recipe = resolve(recipe)
    place = Path(source)
    # The adapter remembers its base by this name, wherever it is loaded from.
    source = str(place.resolve()) if place.is_dir() else source

    def make() -> CaptionerTrainee:
        frozen = recipe.tune == "lora"
        captioner = Captioner(
            source,
            **wording.as_options(),
            device=str(PartialState().device),
            # Weights that learn stay in float32 under autocast; a frozen base may be narrow.
            dtype=str(recipe.precision) if frozen else "float32",
            quantize="8bit" if recipe.load_in_8bit else None,
            batch_size=recipe.device_batch_size or recipe.batch_size,
        )
        return CaptionerTrainee(captioner, recipe)

    return train_detector(
        "captioner",
        {"model": source, **wording.as_options()},
        make,
        examples,
        recipe=recipe,
        out=out,
        options={key: value for key, value in wording.as_options().items() if value is not None},
        overwrite=overwrite,
        say=say,
        workers=workers,
    )


def resolve(recipe: Recipe) -> Recipe:
    """The recipe with what depends on the machine written out.

    Raises: BadConfig for 8 bit without a GPU, without bitsandbytes, or with weights that all learn.
    """
    can = torch.cuda.is_available() and importlib.util.find_spec("bitsandbytes") is not None
    if recipe.load_in_8bit and not can:
        raise BadConfig("8 bit needs a CUDA GPU and bitsandbytes (pip install bitsandbytes); leave --load-in-8bit out")
    if recipe.load_in_8bit and recipe.tune == "full":
        raise BadConfig("8-bit weights cannot learn: use --tune lora, or leave --load-in-8bit out")
    eight = recipe.load_in_8bit if recipe.load_in_8bit is not None else can and recipe.tune == "lora"
    return replace(recipe, precision=resolve_precision(recipe.precision), load_in_8bit=eight)
