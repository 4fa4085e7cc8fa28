"""From a detector's spec to a detector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from defake.errors import BadConfig
from defake.registry import DETECTORS

from .calibrations import CALIBRATION, read_calibration

if TYPE_CHECKING:
    from .base import Detector


def load_detector(spec: str, *, calibration: str | Path | None = None, **options: Any) -> Detector:
    """Make a detector from its spec.

    A spec is a registered name (`default`), a name with a source (`captioner:Salesforce/blip2-opt-2.7b`, handed over as
    `source=`: a hub name or a folder), or a folder that `defake train` wrote (it holds a `detector.json` with the name
    and the options). `calibration` names a file that `defake calibrate` wrote; a folder's own is found by itself.

    Raises: UnknownName, MissingExtra, WeightsMismatch (also for another detector's calibration), BadConfig.
    """
    folder = Path(spec)
    if (folder / "detector.json").is_file():
        detector = _from_folder(folder / "detector.json", options)
        if calibration is None and (folder / CALIBRATION).is_file():
            calibration = folder / CALIBRATION
    else:
        name, colon, source = spec.partition(":")
        detector = _make(name, {"source": source, **options} if colon else options)
    if calibration is not None:
        detector.calibration = read_calibration(calibration, detector)
    return detector


def _from_folder(record: Path, options: dict[str, Any]) -> Detector:
    try:
        written = json.loads(record.read_text(encoding="utf-8"))
        name, kept = written["detector"], written["options"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadConfig(f"{record} must be a JSON object with 'detector' and 'options', but: {error}") from error
    return _make(name, {"source": str(record.parent), **kept, **options})


def _make(name: str, options: dict[str, Any]) -> Detector:
    entry = DETECTORS.get(name)
    merged = {**entry.options, **options}
    try:
        detector = entry.load()(**merged)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise BadConfig(f"detector {name!r} does not take these options: {error}") from error
    detector.name = name
    return cast("Detector", detector)
