"""Scorers of typed outcomes and text verdicts, and their metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from inspect_ai.scorer import (
    CORRECT,
    INCORRECT,
    NOANSWER,
    Metric,
    SampleScore,
    Score,
    Scorer,
    Target,
    Value,
    metric,
    scorer,
)

from defake.metrics.verdicts import flip_rate, verdict_figures
from defake.questions import Ability, Outcome, Question, detection_question, inference_question, p_fake
from defake.records import Label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inspect_ai.model import ModelOutput
    from inspect_ai.solver import TaskState


@metric(name="figures")  # type: ignore[untyped-decorator]
def figures() -> Metric:
    """Coverage, answered-only and paper-mode accuracy, d', c, AUC and the count of each outcome.

    Infrastructure errors are sample errors in Inspect and reach no metric; undefined figures are left out.
    """

    def compute(scores: list[SampleScore]) -> Value:
        return _defined(verdict_figures(*_columns(scores)))

    return compute


@metric(name="flips")  # type: ignore[untyped-decorator]
def flips() -> Metric:
    """Flip rate over polarity pairs; empty if the run asked none."""

    def compute(scores: list[SampleScore]) -> Value:
        pairs: dict[str, list[Label | None]] = {}
        for each in scores:
            pair = (each.sample_metadata or {}).get("pair")
            if pair:
                pairs.setdefault(str(pair), []).append(_verdict(each))
        return _defined(flip_rate(pairs)) if pairs else {}

    return compute


@metric(name="false_faults")  # type: ignore[untyped-decorator]
def false_faults() -> Metric:
    """Share of photographs on which faults are named (beyond the paper); empty if none were asked."""

    def compute(scores: list[SampleScore]) -> Value:
        reals = [_verdict(each) for each in scores if _label(each) is Label.REAL]
        answered = [verdict for verdict in reals if verdict is not None]
        if not answered:
            return {}
        return {"false_fault_rate": answered.count(Label.FAKE) / len(answered), "false_fault_n": len(answered)}

    return compute


@metric(name="outcomes")  # type: ignore[untyped-decorator]
def outcomes() -> Metric:
    """How many questions ended in each outcome."""

    def compute(scores: list[SampleScore]) -> Value:
        seen = [str(_value(each)["outcome"]) for each in scores]
        return {"n": len(seen)} | {f"n_{word}": seen.count(word) for word in Outcome if word != Outcome.INFRASTRUCTURE}

    return compute


@scorer(metrics=[figures(), flips()], name="verdict")  # type: ignore[untyped-decorator]
def verdict() -> Scorer:
    """Outcome of a question with a verdict, whether the verdict is right, and P(fake)."""
    return _score


@scorer(metrics=[outcomes(), false_faults()], name="outcome")  # type: ignore[untyped-decorator]
def outcome() -> Scorer:
    """Outcome of an open question: whether there is an answer, and whether it names faults."""
    return _score


async def _score(state: TaskState, target: Target) -> Score:  # noqa: ARG001 - Inspect's protocol
    return score_output(question_of(state.metadata), state.output, Label(state.metadata["authenticity"]))


def question_of(facts: Mapping[str, Any]) -> Question:
    """The question of a sample, rebuilt from its metadata, so that a log can be scored again without the data."""
    ability, prompt = Ability(facts["task"]), str(facts["question"])
    if ability is Ability.FAKECLASS:
        known = detection_question(facts["question_type"], reasons_first=facts.get("variant") == "cot")
    elif ability is Ability.INFERENCE:
        known = inference_question()
    else:
        known = Question(ability, str(ability), prompt, criterion=facts.get("criterion"))
    return replace(known, prompt=prompt)


def score_output(question: Question, output: ModelOutput, label: Label) -> Score:
    """The score of one answer.

    `value` is Inspect's C, I or N (no verdict; for an open question C says that there is an answer); `answer` is the
    verdict; `metadata` holds `outcome` and `p_fake` (None if not known).
    """
    text, stop = output.completion, str(output.stop_reason)
    reading = question.read(text, stop)
    forced = forced_choice(question, output, reading.label) if question.answers else None
    value = NOANSWER
    if reading.outcome is Outcome.OK:
        value = CORRECT if not question.answers or reading.label is label else INCORRECT
    return Score(
        value=value,
        answer=str(reading.label) if reading.label else None,
        explanation=f"{reading.rule}: {text}" if text else reading.rule,
        reason=_REASONS.get(reading.outcome),
        metadata={"outcome": str(reading.outcome), "p_fake": forced},
    )


# Inspect's own words for the same things, so that its viewer and tools understand them.
_REASONS = {
    Outcome.REFUSAL: "refusal",
    Outcome.UNPARSED: "invalid_response_format",
    Outcome.AMBIGUOUS: "invalid_response_format",
    Outcome.TRUNCATED: "truncated",
}


def forced_choice(question: Question, output: ModelOutput, label: Label | None) -> float | None:
    """P(fake) of an output, from its log-probabilities or as a detector's own score; None if it has neither."""
    known = (output.metadata or {}).get("p_fake")
    if isinstance(known, (int, float)):
        return float(known)
    content = output.choices[0].logprobs.content if output.choices and output.choices[0].logprobs else []
    tokens = [place.token for place in content]
    alternatives = [{top.token: top.logprob for top in place.top_logprobs or []} for place in content]
    return p_fake(question, tokens, alternatives, label) if content and all(alternatives) else None


def _columns(scores: list[SampleScore]) -> tuple[list[Label], list[Outcome], list[Label | None], list[float | None]]:
    values = [_value(each) for each in scores]
    return (
        [_label(each) for each in scores],
        [Outcome(str(value["outcome"])) for value in values],
        [_verdict(each) for each in scores],
        [value.get("p_fake") for value in values],
    )


def _value(each: SampleScore) -> dict[str, Any]:
    return each.score.metadata or {}


def _verdict(each: SampleScore) -> Label | None:
    return Label(each.score.answer) if each.score.answer else None


def _label(each: SampleScore) -> Label:
    return Label((each.sample_metadata or {})["authenticity"])


def _defined(values: Mapping[str, float | None]) -> dict[str, str | int | float | bool | None]:
    return {name: value for name, value in values.items() if value is not None}
