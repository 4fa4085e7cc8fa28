"""Fit a logistic regression on frozen vision features, with the same folder, card and figures as any other training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from defake.detectors.probe import Features, fit_line, save_probe
from defake.images import read_image

from .figures import AT_ONCE
from .job import conclude, stored_outcome
from .progress import silent
from .run import open_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from defake.datasets.manifest import Manifest

    from .examples import Examples
    from .job import Outcome
    from .progress import Say

# Short names of backbones.
BACKBONES = {"clip": "openai/clip-vit-large-patch14", "blip2": "Salesforce/blip2-opt-2.7b"}


def train_probe(
    backbone: str,
    examples: Examples,
    out: Path,
    *,
    layer: str | None = None,
    inverse_penalty: float = 1.0,
    seed: int = 42,
    overwrite: bool = False,
    say: Say = silent,
) -> Outcome:
    """Fit a probe into the folder `out`; `backbone` is a name of `BACKBONES`, a hub name or a folder.

    Raises: BadConfig, WeightsMismatch, MissingExtra.
    """
    place = Path(backbone)
    named = str(place.resolve()) if place.is_dir() else BACKBONES.get(backbone, backbone)
    recipe: dict[str, Any] = {"tune": "probe", "layer": layer, "inverse_penalty": inverse_penalty, "seed": seed}
    config = {"kind": "probe", "model": named, "recipe": recipe, "data": examples.describe()}
    if open_run(out, config, overwrite=overwrite):
        say(f"{out} holds this run, finished; nothing to do")
        return stored_outcome(out, was_finished=True)
    features = Features(named, layer=layer)
    rows = _features_of(features, examples.train.manifest, say)
    line = fit_line(rows, examples.train.manifest.is_fake, inverse_penalty=inverse_penalty)
    save_probe(line, features, out)
    conclude(config, examples, out, {"features": int(rows.shape[1])})
    return stored_outcome(out)


def _features_of(features: Features, manifest: Manifest, say: Say) -> NDArray[np.float64]:
    parts = []
    for start in range(0, len(manifest), AT_ONCE):
        end = min(start + AT_ONCE, len(manifest))
        parts.append(features.of([read_image(manifest.resolve(i)).pixels for i in range(start, end)]))
        if end == len(manifest) or (start // AT_ONCE) % 20 == 19:
            say(f"features of {end}/{len(manifest)} images")
    return np.concatenate(parts)
