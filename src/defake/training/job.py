"""A whole training run: claim the folder, fit, save, load again as a detector, measure, write the card."""

from __future__ import annotations

import gc
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from accelerate import PartialState

from defake.detectors import load_detector
from defake.errors import BackendFailed
from defake.images import read_image
from defake.metrics.intervals import Estimate

from .cards import write_card
from .figures import measure_scores, score_manifest
from .progress import draw_curve, silent
from .run import DETECTOR, RESULTS, open_run, versions, write_json
from .trainer import CHECKPOINTS, Trainee, fit, quieten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from .examples import Examples
    from .progress import Say
    from .recipe import Recipe
    from .trainer import Fitted

# Scores before saving and after loading; a narrow number format rounds more.
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}
COMPARED = 8


class Savable(Trainee, Protocol):
    """A trainee that can write what its detector loads."""

    def save(self, folder: Path) -> None:
        """Write weights (and processor) into the folder."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left behind; `metrics` are of the validation images, empty where nothing was held out."""

    folder: Path
    metrics: dict[str, Estimate]
    notes: tuple[str, ...]
    was_finished: bool = False


def train_detector(
    kind: str,
    identity: Mapping[str, Any],
    make: Callable[[], Savable],
    examples: Examples,
    *,
    recipe: Recipe,
    out: Path,
    options: Mapping[str, Any],
    overwrite: bool = False,
    say: Say = silent,
    workers: int = 0,
) -> Outcome:
    """Train what `make` builds into `out`, as the registered detector `kind` with `options`.

    Raises: BadConfig if `out` holds something else; BackendFailed if memory does not suffice, or if the saved weights
    score otherwise than the trained ones.
    """
    quieten()
    state = PartialState()
    config = {"kind": kind, **identity, "recipe": recipe.as_dict(), "data": examples.describe()}
    if state.is_main_process:
        open_run(out, config, overwrite=overwrite)
    state.wait_for_everyone()
    if open_run(out, config):
        say(f"{out} holds this run, finished; nothing to do")
        return stored_outcome(out, was_finished=True)
    for note in examples.notes:
        say(f"note: {note}")
    fitted = fit(make, examples, recipe, out, say=say, workers=workers)
    if state.is_main_process:
        _finish(config, fitted, examples, out, precision=recipe.precision or "float32", options=options)
    state.wait_for_everyone()
    return stored_outcome(out)


def _finish(
    config: Mapping[str, Any],
    fitted: Fitted,
    examples: Examples,
    out: Path,
    *,
    precision: str,
    options: Mapping[str, Any],
) -> None:
    trainee: Any = fitted.trainee
    trainee.model.eval()
    pixels = [read_image(examples.train.manifest.resolve(i)).pixels for i in range(min(COMPARED, len(examples.train)))]
    trained = np.asarray(trainee.fake_logits(pixels), dtype=np.float64)
    trainee.save(out)
    facts = {
        "device_batch_size": fitted.device_batch_size,
        "accumulation": fitted.accumulation,
        "processes": fitted.processes,
        "kept_epoch": fitted.kept_epoch,
    }
    history, kept = list(fitted.history), fitted.kept_epoch
    del fitted, trainee  # a large model does not fit beside itself
    gc.collect()
    write_json(out / DETECTOR, {"detector": config["kind"], "options": dict(options)})
    write_json(out / "history.json", {"history": history})
    draw_curve(history, kept, out / "loss.png")
    conclude(config, examples, out, facts, trained=(pixels, trained, TOLERANCE[precision]))
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)


def conclude(
    config: Mapping[str, Any],
    examples: Examples,
    out: Path,
    facts: Mapping[str, Any],
    *,
    trained: tuple[list[NDArray[np.uint8]], NDArray[np.float64], float] | None = None,
) -> None:
    """Load what was saved, compare it with what was trained, measure it, write card and results (the last file).

    `trained` holds images, their log-odds before saving and the tolerance.

    Raises: BackendFailed if the loaded detector scores otherwise.
    """
    detector = load_detector(str(out))
    if trained is not None:
        images, logits, tolerance = trained
        _require_equal(detector.score(images), detector.calibration.score(logits), tolerance, out)
    metrics: dict[str, Estimate] = {}
    if examples.val is not None:
        rows = examples.val.manifest
        rng = np.random.default_rng(config["recipe"]["seed"])
        scores = score_manifest(detector, rows)
        metrics = measure_scores(rows.is_fake, scores, rows.sources, rng=rng)
    results = {
        "metrics": {name: estimate.as_dict() for name, estimate in metrics.items()},
        "notes": list(examples.notes),
        "weights_sha256": detector.weights_hash(),
        "versions": versions(),
        **facts,
    }
    write_card(out / "README.md", config, results, metrics)
    write_json(out / RESULTS, results)


def _require_equal(saved: NDArray[np.float64], trained: NDArray[np.float64], tolerance: float, out: Path) -> None:
    gap = float(np.nanmax(np.abs(saved - trained), initial=0.0))
    if gap > tolerance or (np.isnan(saved) != np.isnan(trained)).any():
        raise BackendFailed(
            f"the detector loaded from {out} scores up to {gap:.3g} away from the trained one (allowed {tolerance:g}); "
            "its checkpoints are kept, its figures would be false"
        )


def stored_outcome(out: Path, *, was_finished: bool = False) -> Outcome:
    """What a finished run left in its folder."""
    results = json.loads((out / RESULTS).read_text(encoding="utf-8"))
    metrics = {name: Estimate(**fields) for name, fields in results["metrics"].items()}
    return Outcome(out, metrics, tuple(results["notes"]), was_finished)
