"""How much of a reference's wording an answer shares: BLEU-1, BLEU-2, ROUGE-L.

The FakeBench paper names the metrics, not their implementation. Ours, so that anyone can repeat them: sentence level,
averaged over answers; lower case; sacrebleu's 13a tokens with exponential smoothing and effective order; ROUGE-L as the
F-measure without stemming. Chinese, Japanese and Korean characters count as one word each, which changes nothing in
other text.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from defake.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# Han, kana, Hangul syllables and the compatibility ideographs: scripts that are written without spaces.
_UNSPACED = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff])")
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Overlap:
    """Sentence-level overlap of one answer with its references, each in [0, 1]."""

    bleu1: float
    bleu2: float
    rouge_l: float


def spaced(text: str) -> str:
    """NFKC text with every character of an unspaced script standing alone."""
    return _UNSPACED.sub(r" \1 ", unicodedata.normalize("NFKC", text))


def words(text: str) -> list[str]:
    """Lower-case words (letters and digits), an unspaced script's characters one by one.

    On ASCII text these are the tokens of `rouge_score` without stemming.
    """
    return _WORD.findall(spaced(text).lower())


def overlap(answer: str, references: Sequence[str]) -> Overlap | None:
    """BLEU-1, BLEU-2 and ROUGE-L of an answer; None where no reference has any text.

    With several references BLEU clips against all of them, ROUGE-L takes the best. An answer without a word shares
    nothing and scores 0.

    Raises: MissingExtra if sacrebleu or rouge_score is not installed.

    Source: Papineni et al. 2002, Lin 2004; definition in the module's text.
    """
    known = [spaced(text) for text in references if words(text)]
    if not known:
        return None
    if not words(answer):
        return Overlap(0.0, 0.0, 0.0)
    bleu1, bleu2, rouge = _scorers()
    candidate = spaced(answer)
    return Overlap(
        # Two matching orders give 1.0000000000000002 in sacrebleu; a share of wording is at most 1.
        min(bleu1.sentence_score(candidate, known).score / 100, 1.0),
        min(bleu2.sentence_score(candidate, known).score / 100, 1.0),
        float(rouge.score_multi(known, candidate)["rougeL"].fmeasure),
    )


def signatures() -> dict[str, str]:
    """What must be printed beside the scores so that they can be repeated, by metric."""
    from importlib.metadata import version

    bleu1, bleu2, _ = _scorers()
    # sacrebleu knows its signature only after it has seen references.
    for scorer in (bleu1, bleu2):
        scorer.sentence_score("a", ["a"])
    unspaced = "cjk:char|norm:nfkc|level:sentence"
    return {
        "bleu1": f"BLEU-1|{bleu1.get_signature()}|{unspaced}".replace("nrefs:1", "nrefs:var"),
        "bleu2": f"BLEU-2|{bleu2.get_signature()}|{unspaced}".replace("nrefs:1", "nrefs:var"),
        "rougeL": f"ROUGE-L|F1|stem:no|case:lc|{unspaced}|rouge_score:{version('rouge_score')}",
    }


def average(scores: Iterable[Mapping[str, float | None]]) -> dict[str, tuple[float | None, int]]:
    """(mean, number of answers) of each metric over answers; a None is left out, a mean over none is None."""
    kept: dict[str, list[float]] = {}
    for row in scores:
        for name, value in row.items():
            column = kept.setdefault(name, [])
            if value is not None:
                column.append(value)
    return {name: (sum(column) / len(column) if column else None, len(column)) for name, column in kept.items()}


class _Words:
    """The tokenizer `rouge_score` asks for; its own drops every letter beyond a-z."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


@lru_cache(maxsize=1)
def _scorers() -> tuple[Any, Any, Any]:
    try:
        from rouge_score.rouge_scorer import RougeScorer
        from sacrebleu.metrics.bleu import BLEU
    except ModuleNotFoundError as error:
        raise MissingExtra("text overlap", "bench", error.name or "sacrebleu") from error
    bleu1, bleu2 = (BLEU(lowercase=True, max_ngram_order=n, effective_order=True) for n in (1, 2))
    return bleu1, bleu2, RougeScorer(["rougeL"], tokenizer=_Words())
