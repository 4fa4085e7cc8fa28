"""From a detector's spec to a detector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from defake.errors import BadConfig
from defake.registry import DETECTORS

if TYPE_CHECKING:
    from .base import Detector


def load_detector(spec: str, **options: Any) -> Detector:
    """Make a detector from its spec.

    A spec is a registered name (`default`), a name with a source (`captioner:Salesforce/blip2-opt-2.7b`, handed over as
    `source=`: a hub name or a folder), or a folder that `defake train` wrote (it holds a `detector.json` with the name
    and the options).

    Raises: UnknownName, MissingExtra, WeightsMismatch, BadConfig.
    """
    record = Path(spec) / "detector.json"
    if record.is_file():
        return _from_folder(record, options)
    name, colon, source = spec.partition(":")
    if colon:
        options = {"source": source, **options}
    return _make(name, options)


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
