"""From a manifest to stored scores: in batches, through kills, one broken file at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from defake.errors import BackendFailed, BadConfig, BadDataset, BadImage, DefakeError
from defake.images import Limits, read_image
from defake.store import RunFolder, Scores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from defake.datasets.manifest import Manifest
    from defake.detectors import Detector

    RGB: TypeAlias = NDArray[np.uint8]

Side: TypeAlias = Literal["both", "real", "fake"]
Transform: TypeAlias = "Callable[[RGB], RGB]"
BATCH_SIZE = 16
# A batch is scored early once it holds this many pixels, so that sixteen large files do not fill the memory.
MAX_BATCH_PIXELS = 64_000_000
# Rows, or seconds, between two writes: what a kill may cost.
WRITE_EVERY, WRITE_EVERY_S = 256, 20.0


def start_run(
    folder: str | Path, detector: Detector, spec: str, manifest: Manifest, *, transform: str = "none",
    transform_only: Side = "both", context: dict[str, Any] | None = None,
) -> RunFolder:  # fmt: skip
    """The run folder of a detector on a manifest, new or continued; `transform` is the name that tells runs apart.

    Raises: BadConfig if the folder holds another run.
    """
    calibration = detector.calibration
    depends_on = {
        "detector": detector.name,
        "spec": spec,
        "weights_sha256": detector.weights_hash(),
        "calibration": {"slope": calibration.slope, "intercept": calibration.intercept},
        "manifest_sha256": manifest.sha256(),
        "transform": transform,
        "transform_only": transform_only,
    }
    known = {
        "root": str(manifest.root),
        "n_images": len(manifest),
        "own_threshold": calibration.fake_above,
        "trained_on": trained_on(spec),
    }
    return RunFolder.start(folder, depends_on, {**known, **(context or {})})


def trained_on(spec: str) -> list[str] | None:
    """The generators a detector's folder says it was trained on; None if it does not say."""
    for name, keys in (("detector.json", ("trained_on",)), ("training.json", ("data", "train", "generators"))):
        try:
            found = json.loads((Path(spec) / name).read_text(encoding="utf-8"))
            for key in keys:
                found = found[key]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(found, list) and found:
            return sorted(map(str, found))
    return None


def score_manifest(
    detector: Detector,
    manifest: Manifest,
    run: RunFolder | None = None,
    *,
    transform: Transform | None = None,
    transform_only: Side = "both",
    skip_missing: bool = False,
    limits: Limits | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """Score every image of a manifest; with a `run`, rows are on disk as they come and a killed run is continued.

    `transform` is applied to the decoded pixels of both classes, or of reals or fakes only. A file that cannot be read
    or scored is a row with its error, and the rest go on. `progress` is told how many images were dealt with.

    Raises: BadDataset that lists all missing files, unless `skip_missing`: then they become rows with an error.
    """
    if transform_only not in ("both", "real", "fake"):
        raise BadConfig(f"transform_only must be 'both', 'real' or 'fake', but got {transform_only!r}")
    if not skip_missing:
        _require_files(manifest)
    done = run.done() if run else set()
    todo = np.array([row for row, path in enumerate(manifest.paths) if path not in done], dtype=np.int64)
    if progress and done:
        progress(len(manifest) - len(todo))
    fresh: list[Scores] = []
    pending: list[tuple[int, float, str | None]] = []

    def write() -> None:
        rows = _rows(manifest, pending)
        pending.clear()
        if run:
            run.append(rows)
        else:
            fresh.append(rows)

    written = time.monotonic()
    try:
        for batch in _batches(manifest, todo, limits or Limits(), transform, only=transform_only, size=batch_size):
            pending += _score_batch(detector, batch)
            if progress:
                progress(len(batch))
            if len(pending) >= WRITE_EVERY or time.monotonic() - written > WRITE_EVERY_S:
                write()
                written = time.monotonic()
    finally:
        # Ctrl-C and bugs as well: what was scored is kept.
        write()
    if run:
        run.finish()
        return in_order(run.scores(), manifest)
    columns = [part.columns() for part in fresh]
    return Scores(**{name: np.concatenate([c[name] for c in columns]) for name in columns[0]})


def in_order(scores: Scores, manifest: Manifest) -> Scores:
    """The rows of a run in the order of its manifest."""
    place = {path: row for row, path in enumerate(scores.path)}
    return scores.where(np.array([place[path] for path in manifest.paths if path in place], dtype=np.intp))


def _require_files(manifest: Manifest) -> None:
    absent = manifest.missing()
    if absent:
        names = "\n".join(f"  row {manifest.rows[i]}: {manifest.paths[i]}" for i in absent)
        raise BadDataset(
            f"{len(absent)} of {len(manifest)} files are missing below {manifest.root}:\n{names}\n"
            "correct the manifest or its --root, or pass --skip-missing to score the others"
        )


def _batches(
    manifest: Manifest, rows: NDArray[np.int64], limits: Limits, transform: Transform | None, *, only: Side, size: int
) -> Iterator[list[tuple[int, RGB | DefakeError]]]:
    batch: list[tuple[int, RGB | DefakeError]] = []
    pixels = 0
    for row in map(int, rows):
        touched = transform if only == "both" or (only == "fake") == bool(manifest.is_fake[row]) else None
        try:
            image = read_image(manifest.resolve(row), limits).pixels
            image = touched(image) if touched else image
            batch.append((row, image))
            pixels += image.shape[0] * image.shape[1]
        except DefakeError as error:
            batch.append((row, error))
        if len(batch) >= size or pixels >= MAX_BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _score_batch(
    detector: Detector, batch: Sequence[tuple[int, RGB | DefakeError]]
) -> list[tuple[int, float, str | None]]:
    images = [(row, image) for row, image in batch if not isinstance(image, DefakeError)]
    found: dict[int, tuple[float, str | None]] = {
        row: (np.nan, _said(error)) for row, error in batch if isinstance(error, DefakeError)
    }
    try:
        found |= _answers(detector, images)
    except (BackendFailed, BadImage):
        # One image may have spoilt it for its batch mates: each on its own.
        for row, image in images:
            try:
                found |= _answers(detector, [(row, image)])
            except (BackendFailed, BadImage) as error:
                found[row] = (np.nan, _said(error))
    return [(row, *found[row]) for row, _ in batch]


def _answers(detector: Detector, images: Sequence[tuple[int, RGB]]) -> dict[int, tuple[float, str | None]]:
    if not images:
        return {}
    scores = np.asarray(detector.score([image for _, image in images]), dtype=np.float64)
    if scores.shape != (len(images),):
        raise BackendFailed(f"{detector.name!r} must give {len(images)} scores, but gave shape {scores.shape}")
    off = ~np.isnan(scores) & ~((scores >= 0) & (scores <= 1))
    if off.any():
        raise BackendFailed(f"{detector.name!r} gave {scores[off][0]!r}; a fake_score lies in [0, 1]")
    return {row: (float(score), None) for (row, _), score in zip(images, scores, strict=True)}


def _said(error: DefakeError) -> str:
    return f"{error.code}: {error}"


def _rows(manifest: Manifest, found: Sequence[tuple[int, float, str | None]]) -> Scores:
    rows = np.array([row for row, _, _ in found], dtype=np.int64)
    return Scores(
        path=manifest.paths[rows],
        is_fake=manifest.is_fake[rows],
        generator=manifest.generators[rows],
        source=manifest.sources[rows],
        split=manifest.splits[rows],
        fake_score=np.array([score for _, score, _ in found], dtype=np.float64),
        error=np.array([*(error for _, _, error in found), None], dtype=object)[:-1],
    )
