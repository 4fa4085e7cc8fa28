"""The worst errors: what the detector was surest of and wrong about."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from defake.errors import BadImage
from defake.images import read_image

if TYPE_CHECKING:
    from pathlib import Path

    from defake.store import Scores

    from .runs import Run

THUMBNAIL_PX = 176


@dataclass(frozen=True, slots=True)
class Mistake:
    """One image on the wrong side of the threshold; `thumbnail` is a data URI, or empty with `why` there is none."""

    path: str
    fake_score: float
    origin: str
    thumbnail: str = ""
    why: str = ""


def worst_mistakes(run: Run, *, is_fake: bool, limit: int, thumbnails: bool) -> tuple[int, list[Mistake]]:
    """(how many there are, the worst ones): missed fakes from the lowest score up, alarms from the top."""
    tested = run.tested
    called = tested.fake_score >= run.evaluation.threshold.value
    wrong = np.flatnonzero(tested.answered & (tested.is_fake == is_fake) & (called != is_fake))
    order = wrong[np.argsort(tested.fake_score[wrong] * (1 if is_fake else -1), kind="stable")]
    return len(wrong), [_mistake(run, tested, int(row), thumbnails=thumbnails) for row in order[:limit]]


def _mistake(run: Run, tested: Scores, row: int, *, thumbnails: bool) -> Mistake:
    origin = " · ".join(str(tag) for tag in (tested.generator[row], tested.source[row]) if tag)
    thumbnail, why = _thumbnail(run.root, str(tested.path[row])) if thumbnails else ("", "")
    return Mistake(str(tested.path[row]), float(tested.fake_score[row]), origin, thumbnail, why)


def _thumbnail(root: Path | None, path: str) -> tuple[str, str]:
    if root is None:
        return "", "the run does not say where its images lie"
    try:
        picture = Image.fromarray(read_image(root / path).pixels)
    except BadImage as error:
        return "", error.code.replace("_", " ")
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode(), ""
