"""The words of the toolkit as frozen records, validated at the door."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from .errors import BadConfig, BadDataset, DefakeError


class Label(StrEnum):
    """What an image truly is."""

    FAKE = "fake"
    REAL = "real"

    @classmethod
    def parse(cls, text: object) -> Label:
        """Read a label as our own files spell it.

        Raises: BadDataset for any other word. Foreign conventions (0/1) are turned over in `datasets/`, where the
        format is known: FakeBench writes 0 for fake, VLM-DETECT writes 1.
        """
        word = str(text).strip().lower()
        if word not in (cls.FAKE, cls.REAL):
            raise BadDataset(f"unknown label {text!r}; expected 'fake' or 'real'")
        return cls(word)


class VerdictWord(StrEnum):
    """What a detector says of an image."""

    FAKE = "fake"
    REAL = "real"
    UNSURE = "unsure"


def _unit(name: str, value: float) -> float:
    if not (isinstance(value, (int, float)) and math.isfinite(value) and 0.0 <= value <= 1.0):
        raise BadConfig(f"{name} must be a finite number in [0, 1], but got {value!r}")
    return float(value)


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image of a data set.

    `source` is the collection it comes from and the unit by which intervals are clustered; `generator` is None for
    photographs; `split` is free text (`train`, `val`, `dev`, `test`).
    """

    path: str
    label: Label
    generator: str | None = None
    source: str | None = None
    split: str | None = None
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.path:
            raise BadDataset("a sample needs a path, but got an empty one")
        if not isinstance(self.label, Label):
            raise BadDataset(f"label must be a Label, but got {self.label!r}")


@dataclass(frozen=True, slots=True)
class Reason:
    """One measured ground of a verdict; `value` is the measurement that `text` puts in words."""

    criterion: str
    text: str
    value: float


@dataclass(frozen=True, slots=True)
class TileScore:
    """The detector's own score of one rectangle, in pixels of the upright original."""

    x: int
    y: int
    width: int
    height: int
    fake_score: float

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or self.x < 0 or self.y < 0:
            raise BadConfig(f"a tile must lie in the image, but got {self.x},{self.y} {self.width}x{self.height}")
        _unit("tile fake_score", self.fake_score)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a file has no score: a stable `code` and a sentence."""

    code: str
    message: str

    @classmethod
    def of(cls, error: DefakeError) -> Problem:
        """The row form of an error."""
        return cls(error.code, str(error))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a detector says of one image, or why it could not.

    `fake_score` is the calibrated probability in [0, 1] that the image is generated. Either `verdict` and `fake_score`
    are set, or `error` is. `elapsed_s` is wall time; it stays out of the JSON form, which is the same on every run.
    """

    path: str | None
    detector: str
    verdict: VerdictWord | None = None
    fake_score: float | None = None
    reasons: tuple[Reason, ...] = ()
    tiles: tuple[TileScore, ...] = ()
    provenance: dict[str, Any] | None = None
    error: Problem | None = None
    elapsed_s: float = 0.0

    def __post_init__(self) -> None:
        scored = self.verdict is not None and self.fake_score is not None
        if scored == (self.error is not None) or (self.verdict is None) != (self.fake_score is None):
            raise BadConfig("a verdict holds a word and a fake_score, or an error, never both")
        if self.fake_score is not None:
            _unit("fake_score", self.fake_score)

    def as_dict(self) -> dict[str, Any]:
        """The documented JSON object (`docs/verdict.schema.json`)."""
        row = asdict(self)
        del row["elapsed_s"]
        row["verdict"] = None if self.verdict is None else str(self.verdict)
        return {key: row[key] for key in _JSON_ORDER}


_JSON_ORDER = ("path", "verdict", "fake_score", "detector", "reasons", "tiles", "provenance", "error")
