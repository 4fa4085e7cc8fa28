"""A calibration as a file beside the weights it was fitted for."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defake.errors import BadConfig, WeightsMismatch
from defake.metrics.calibration import Calibration
from defake.store import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .base import Detector

CALIBRATION = "calibration.json"
SCHEMA_VERSION = 1


def write_calibration(path: Path, calibration: Calibration, detector: Detector, fitted_on: Mapping[str, Any]) -> None:
    """Write a detector's calibration and what it was fitted on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"schema_version": SCHEMA_VERSION, "detector": detector.name, "weights_sha256": detector.weights_hash()}
    write_json(path, {**record, **asdict(calibration), "fitted_on": dict(fitted_on)})


def read_calibration(path: str | Path, detector: Detector) -> Calibration:
    """The calibration in a file, or in the folder that holds it.

    Raises: BadConfig if it cannot be read; WeightsMismatch if it was fitted for other weights.
    """
    path = Path(path) / CALIBRATION if Path(path).is_dir() else Path(path)
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        found = Calibration(**{name: float(fields[name]) for name in Calibration.__slots__})
        whose, weights = str(fields["detector"]), str(fields["weights_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadConfig(f"cannot read the calibration {path}: {error}; make one: defake calibrate") from error
    if (whose, weights) != (detector.name, detector.weights_hash()):
        raise WeightsMismatch(
            f"the calibration {path} was fitted for {whose} ({weights[:12] or 'no hash'}), not for {detector.name} "
            f"({detector.weights_hash()[:12] or 'no hash'}); fit one: defake calibrate --detector {detector.name}"
        )
    return found
