"""The Inspect scorer of open answers: overlap, similarity, judge, clue coverage and claimed faults in one pass."""

from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from inspect_ai.model import Model, model_roles
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr

from defake.errors import MissingExtra
from defake.metrics import clues
from defake.metrics.text import overlap
from defake.published import open_answer_scores
from defake.questions.answers import Outcome
from defake.questions.parsing import read_open

from .judge import DEFAULT_ROUNDS, Item, judge_answer
from .judge_prompts import DIMENSIONS, family_warning

if TYPE_CHECKING:
    from inspect_ai.solver import TaskState

JUDGE_ROLE = "judge"
OVERLAP = ("bleu1", "bleu2", "rougeL", "sim")
COLUMNS = (*OVERLAP, "auto_avg", *DIMENSIONS, "judge_avg", "overall", "clue_precision", "clue_recall", "fault")
"""The keys of every open answer's score; an undefined one is NaN there and None in tables."""

_THOUGHT = re.compile(r"<(think|thinking|reasoning|thought)>.*?(</\1>|$)", re.DOTALL | re.IGNORECASE)


def judge_model() -> Model | None:
    """The model bound to the role `judge`, None if there is none: the candidate never judges itself by default."""
    bound = model_roles().get(JUDGE_ROLE)
    return bound[0] if isinstance(bound, list) else bound


@scorer(name="open_answer", metrics={"*": [mean(), stderr()]})  # type: ignore[untyped-decorator]  # Inspect's is untyped
def open_answer(
    judge_rounds: int = DEFAULT_ROUNDS, *, similarity: bool = True, similarity_model: str | None = None
) -> Scorer:
    """Score answers to open questions by the paper's formula, and beyond it.

    The sample's target holds the references (none: overlap and judge stay undefined); its metadata may hold `question`,
    `authenticity` (`real`: a claimed fault is a false one), `clues` (golden criteria) and `file` (hidden from the
    judge). The judge is asked only if the role `judge` is bound.

    Source: formula recomputed from Tables VI-VIII; clue coverage and faults are ours.
    """

    async def score(state: TaskState, target: Target) -> Score:
        answer = _THOUGHT.sub(" ", state.output.completion).strip()
        reading = read_open(answer, stop_reason=str(state.output.stop_reason))
        # An empty target is one empty string in Inspect.
        references = [text for text in target if text.strip()]
        row: dict[str, float | None] = dict.fromkeys(COLUMNS)
        notes: dict[str, Any] = {"outcome": str(reading.outcome)}
        if state.output.error:
            notes["outcome"] = str(Outcome.INFRASTRUCTURE)
            return _as_score(row, answer, notes, str(state.output.error))
        row |= _overlap(answer, references)
        if references and similarity:
            row["sim"], notes["similarity"] = await _similarity(answer, references, similarity_model)
        if references:
            found, notes["judge"] = await _judged(state, answer, references, judge_rounds)
            row |= found
        row |= open_answer_scores(row)
        row |= _clues(answer, state.metadata, reading.outcome)
        return _as_score(
            row, answer, notes, reading.rule if references else "no reference: overlap and judge undefined"
        )

    return score


def _as_score(row: dict[str, float | None], answer: str, notes: dict[str, Any], why: str) -> Score:
    value = {name: math.nan if number is None else float(number) for name, number in row.items()}
    return Score(value=value, answer=answer, explanation=why, metadata=notes)


def _overlap(answer: str, references: list[str]) -> dict[str, float | None]:
    shared = overlap(answer, references)
    if shared is None:
        return {}
    return {"bleu1": shared.bleu1, "bleu2": shared.bleu2, "rougeL": shared.rouge_l}


async def _similarity(answer: str, references: list[str], source: str | None) -> tuple[float | None, str]:
    """The cosine and the encoder's signature; without the library the column stays empty and says why."""
    from defake.similarity import DEFAULT_MODEL, load_similarity

    try:
        # The encoder computes; other answers may arrive meanwhile.
        encoder = await anyio.to_thread.run_sync(load_similarity, source or DEFAULT_MODEL)
    except MissingExtra as error:
        return None, str(error)
    (value,) = await anyio.to_thread.run_sync(functools.partial(encoder.score, [answer], [references]))
    return value, encoder.signature()


async def _judged(
    state: TaskState, answer: str, references: list[str], rounds: int
) -> tuple[dict[str, float | None], dict[str, Any] | None]:
    judge = judge_model()
    if judge is None:
        return {}, None
    item = Item(
        question=str(state.metadata.get("question") or state.input_text),
        answer=answer,
        reference="\n".join(references),
        candidate=str(state.model),
        file=str(state.metadata.get("file") or ""),
    )
    ratings = await judge_answer(judge, item, rounds=rounds)
    notes: dict[str, Any] = {"model": str(judge), "rounds": rounds}
    notes |= {dimension: rating.as_dict() for dimension, rating in ratings.items()}
    if warning := family_warning(str(judge), str(state.model)):
        notes["warning"] = warning
    return {dimension: rating.mean for dimension, rating in ratings.items()}, notes


def _clues(answer: str, metadata: dict[str, Any], outcome: Outcome) -> dict[str, float | None]:
    golden = metadata.get("clues") or []
    covered = clues.coverage(answer, golden)
    # A refusal or a cut-off answer claims nothing; that is no evidence of restraint.
    fault = float(clues.has_fault(answer)) if outcome is Outcome.OK else None
    return {"clue_precision": covered.precision, "clue_recall": covered.recall, "fault": fault}
