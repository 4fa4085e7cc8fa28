"""Which telltale criteria a text speaks of, and for which it claims a fault: a lexicon, the same on every run.

The lexicon is ours; the paper has no such measure. It reads English. A criterion is *mentioned* when one of its words
occurs, *faulted* when that clause also holds a word of fault that is not negated.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from defake.errors import BadConfig
from defake.questions.criteria import CRITERION_IDS

if TYPE_CHECKING:
    from collections.abc import Iterable

# Source: ours, from the vocabulary of the 223 FakeQA wordings and of the working definitions.
_LEXICON: dict[str, str] = {
    "texture": r"textur\w*|(?:over|too |overly |unnaturally |excessively )smooth\w*|waxy|plastic(?:ky|-like)?|grain\w*"
    r"|airbrush\w*|(?:skin|fur|hair|surface) (?:is |looks? |appears? )?smooth\w*",
    "edge": r"edges?|contours?|outlines?|boundar(?:y|ies)|borders?|halo(?:s|es|ed)?|jagged|bleed\w*",
    "clarity": r"clarity|clear(?:ly)? (?:defined|focus\w*)|blur\w*|sharp\w*|(?:out of )?focus\w*|resolution|hazy"
    r"|fuzz(?:y|iness)|pixelat\w*",
    "light_shadow": r"light(?:s|ing)?|shadow\w*|shad(?:e|es|ing)|illuminat\w*|highlights?|backlit|light source\w*",
    "layout": r"layout|arrange\w*|placement|position(?:s|ed|ing)?|composition|overlap\w*|cluttered",
    "symmetry": r"a?symmetr\w*|mirror-image|mismatched (?:eyes|ears|windows)",
    "reflection": r"reflect\w*|mirror(?:s|ed)?",
    "perspective": r"perspective\w*|vanishing points?|scale|proportion(?:s|al)? (?:to|of) the (?:scene|background)"
    r"|foreshorten\w*|depth (?:cue|relation)s?",
    "shape": r"shape[sd]?|misshapen|geometr\w*|malform\w*|deform\w*|silhouettes?",
    "theme": r"theme\w*|subject matter|fantas(?:y|tic\w*)|surreal\w*|staged|sci-?fi",
    "content_deficiency": r"missing|incomplete|deficien\w*|absen(?:t|ce)|lacks?|lacking|cut off|truncat\w*|omitted"
    r"|(?:extra|six|four|three|too few|too many) (?:fingers?|limbs?|legs?|arms?|toes?)",
    "distortion": r"distort\w*|warp\w*|melt\w*|twist\w*|garbled|gibberish|smear\w*|illegible",
    "unrealistic": r"(?:un|ir)?realis\w*|implausib\w*|impossib\w*|unnatural\w*|physics|common sense|improbabl\w*"
    r"|convincing|lifelike",
    "overall_tone": r"tone[sd]?|tonal\w*|colou?r\w*|hues?|palettes?|saturat\w*|contrast\w*|vibran\w*",
}
assert tuple(_LEXICON) == CRITERION_IDS

_FAULT = (
    r"un(?:natural|realistic|usual|even|convincing|clear|likely)\w*|in(?:consisten|accura|coheren|correct|complete)\w*"
    r"|im(?:possib|plausib|proper)\w*|imperfect\w*|mis(?:match|align|shap|plac|sing)\w*|malform\w*|asymmetr\w*|irregular\w*"
    r"|distort\w*|warp\w*|melt\w*|smear\w*|garbled|gibberish|illegible|jagged|waxy|halo\w*|bleed\w*"
    r"|too (?:smooth|perfect|uniform|clean|sharp|soft|bright|saturated|vivid)|overly \w+"
    r"|over-?(?:expos|process|satur|sharpen|smooth)\w*|excessive\w*"
    r"|lack\w*|absen\w*|wrong\w*|odd\w*|strange\w*|weird\w*|abnormal\w*|artificial\w*|synthetic\w*|fake\w*|suspicious\w*"
    r"|artifacts?|artefacts?|violat\w*|contradict\w*|deform\w*|cut off|extra (?:fingers?|limbs?|legs?|arms?)"
    r"|does not match|do not match|doesn't match|don't match"
    r"|not (?:realistic|natural|consistent|plausible|convincing|correct)"
    r"|ai-generated|surreal\w*"
)
# Photographs have these too: a fault only where the clause does not call them natural.
_SOFT_FAULT = re.compile(r"\b(?:blur\w*|fuzz\w*|twist\w*|indistinct|noisy)")
_APPROVED = re.compile(
    r"\b(?:natural\w*|realistic\w*|consistent\w*|expected|typical\w*|plausibl\w*|normal\w*|photograph\w*)"
)
_NEGATED = re.compile(
    r"\b(?:no|not|none|never|without|nor|neither|free (?:of|from)|absence of|isn't|aren't|doesn't|don't|nothing)\b"
    r"[\w\s,'-]{0,40}$"
)
_CLAUSE = re.compile(r"[.!?;:\n]+|,\s+(?=(?:but|however|while|whereas|although|though|yet)\b)|\s(?:but|whereas)\s")
_COMPILED = {name: re.compile(rf"\b(?:{pattern})\b") for name, pattern in _LEXICON.items()}
_FAULT_WORDS = re.compile(rf"\b(?:{_FAULT})(?!\w)")


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which criteria a text mentions against those the golden clues belong to.

    `precision` is None for a text that mentions none, `recall` for an image without golden clues.
    """

    mentioned: frozenset[str]
    golden: frozenset[str]
    precision: float | None
    recall: float | None


def mentioned(text: str) -> frozenset[str]:
    """Ids of the criteria a text speaks of, for better or worse."""
    plain = _plain(text)
    return frozenset(name for name, pattern in _COMPILED.items() if pattern.search(plain))


def faulted(text: str) -> frozenset[str]:
    """Ids of the criteria for which a text claims a fault: "the shadows are inconsistent", not "no distortion"."""
    found: set[str] = set()
    for clause in _CLAUSE.split(_plain(text)):
        if has_fault(clause):
            found |= mentioned(clause)
    return frozenset(found)


def has_fault(text: str) -> bool:
    """Whether any clause of a text claims that something is wrong."""
    for clause in _CLAUSE.split(_plain(text)):
        found = list(_FAULT_WORDS.finditer(clause))
        if not _APPROVED.search(clause):
            found += _SOFT_FAULT.finditer(clause)
        if any(not _NEGATED.search(clause[: match.start()]) for match in found):
            return True
    return False


def coverage(text: str, golden: Iterable[str]) -> Coverage:
    """Precision and recall of the criteria a text mentions against the golden ones.

    Raises: BadConfig for a golden criterion that is not one of the 14.

    Source: ours, beyond the paper.
    """
    wanted = frozenset(golden)
    if unknown := sorted(wanted - set(CRITERION_IDS)):
        raise BadConfig(f"unknown criteria {', '.join(unknown)}; known: {', '.join(CRITERION_IDS)}")
    said = mentioned(text)
    hits = len(said & wanted)
    return Coverage(
        said,
        wanted,
        hits / len(said) if said and wanted else None,
        hits / len(wanted) if wanted else None,
    )


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'").replace("*", "").replace("_", " ")
