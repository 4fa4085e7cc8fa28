"""The 14 telltale criteria of FakeBench, and which of them a question asks about."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Criterion:
    """One telltale criterion; `definition` is ours, because the paper's wording is not public."""

    id: str
    name: str
    definition: str
    level: str


# Source: order and names from FakeBench's FakeQA questions Q1..Q14; definitions and levels are ours.
CRITERIA: tuple[Criterion, ...] = (
    Criterion("texture", "texture", "surface pattern too smooth, repeated, waxy or noisy for the material", "low"),
    Criterion("edge", "edge", "contours blurred, jagged, haloed or bleeding into the background", "low"),
    Criterion("clarity", "clarity", "sharpness or blur inconsistent with focus, depth or resolution", "low"),
    Criterion(
        "light_shadow",
        "light & shadow",
        "light direction, intensity or cast shadows inconsistent or missing",
        "low",
    ),
    Criterion("layout", "layout", "placement or arrangement of objects implausible or incoherent", "mid"),
    Criterion(
        "symmetry",
        "symmetry",
        "parts that should mirror each other do not (eyes, ears, windows), or are unnaturally mirrored",
        "mid",
    ),
    Criterion("reflection", "reflection", "mirrors, water, eyes or glass reflect wrongly or not at all", "mid"),
    Criterion("perspective", "perspective", "vanishing points, scale or depth relations violated", "mid"),
    Criterion("shape", "shape", "outline or geometry of an object malformed", "mid"),
    Criterion(
        "theme",
        "theme",
        "combination of subject and scene suggests synthesis (fantasy, staged, impossible event)",
        "high",
    ),
    Criterion(
        "content_deficiency",
        "content deficiency",
        "something that must be there is missing or cut off (fingers, strokes of letters, limbs)",
        "high",
    ),
    Criterion("distortion", "distortion", "anatomy, objects or text warped or melted", "high"),
    Criterion("unrealistic", "unrealistic aspect", "physics or common sense violated", "high"),
    Criterion("overall_tone", "overall tone", "palette, saturation, contrast or style look synthetic", "global"),
)

CRITERION_IDS: tuple[str, ...] = tuple(c.id for c in CRITERIA)

# The first pattern that matches decides: "Is the theme unrealistic" asks about the theme, "Are the reflections
# realistic" about reflection, so the words for (un)realistic come last.
_KEYWORDS: tuple[tuple[str, str], ...] = (
    ("texture", r"textur"),
    ("edge", r"\bedge"),
    ("clarity", r"\bclarity|\bclear"),
    ("light_shadow", r"\blight(ing)?\b|\bshadow"),
    ("layout", r"\blayout|arrangement"),
    ("symmetry", r"symmetr"),
    ("reflection", r"\breflection"),
    ("perspective", r"\bperspective"),
    ("overall_tone", r"\btone\b|\bcolou?r|\bhue\b"),
    ("shape", r"\bshape"),
    ("theme", r"\btheme"),
    ("content_deficiency", r"\bdeficien"),
    ("distortion", r"\bdistort"),
    ("unrealistic", r"realis|convincing"),
)
_COMPILED = tuple((name, re.compile(pattern)) for name, pattern in _KEYWORDS)


def criterion_of(question: str) -> str | None:
    """Id of the criterion a FakeQA question asks about, by keyword, or None if it names none.

    The index `Qk` does not identify the criterion: where one question is missing the rest have moved up, so that 488 of
    the 41,971 released questions stand at another criterion's place.

    Source: ours, checked against all 223 wordings of the release.
    """
    words = question.lower()
    return next((name for name, pattern in _COMPILED if pattern.search(words)), None)


def criterion(criterion_id: str) -> Criterion:
    """The criterion of an id; KeyError for an unknown one."""
    return _BY_ID[criterion_id]


_BY_ID = {c.id: c for c in CRITERIA}
