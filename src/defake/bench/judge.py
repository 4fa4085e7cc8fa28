"""The LLM judge: completeness, preciseness and relevance in {0, 1, 2}, N rounds each, blind, cached, typed.

The judge is an Inspect model, bound to the role `judge`; it sees the question, the reference and the answer, never the
image, the file's name or the candidate's.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from inspect_ai.model import CachePolicy, GenerateConfig, ResponseSchema
from inspect_ai.util import JSONSchema, LimitExceededError, collect

from defake.errors import BadConfig

from .judge_prompts import DIMENSIONS, Judgement, Reply, blinded, judge_prompt, read_judgement

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from inspect_ai.model import Model

DEFAULT_ROUNDS = 5
"""Source: Q-Bench's five rounds; the number FakeBench used is not public."""

MAX_TOKENS = 300
"""One sentence and a digit; what is longer is no reply by the schema. Source: ours."""

SCHEMA = ResponseSchema(
    name="judgement",
    json_schema=JSONSchema(
        type="object",
        properties={"reason": JSONSchema(type="string"), "score": JSONSchema(type="integer", enum=[0, 1, 2])},
        required=["reason", "score"],
        additionalProperties=False,
    ),
    strict=True,
)


@dataclass(frozen=True, slots=True)
class Item:
    """What is judged: a question, its answer and its reference; `kind` and `image` say which items are comparable."""

    question: str
    answer: str
    reference: str
    kind: str = ""
    image: str = ""
    candidate: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class Rating:
    """One dimension over all rounds; `mean` and `spread` (standard deviation) are of the rounds that have a score."""

    dimension: str
    rounds: tuple[Judgement, ...]

    @property
    def scores(self) -> list[int]:
        """The scores of the rounds that could be read."""
        return [r.score for r in self.rounds if r.score is not None]

    @property
    def mean(self) -> float | None:
        """Mean score in [0, 2], None if no round could be read."""
        return statistics.fmean(self.scores) if self.scores else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over rounds (n - 1), None for fewer than two."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None

    def as_dict(self) -> dict[str, Any]:
        """Mean, spread and the type of every round, for the log."""
        return {
            "mean": self.mean,
            "spread": self.spread,
            "scores": [r.score for r in self.rounds],
            "replies": [str(r.reply) for r in self.rounds],
            "unread": [r.text for r in self.rounds if r.score is None][:3],
        }


async def judge_answer(judge: Model, item: Item, *, rounds: int = DEFAULT_ROUNDS) -> dict[str, Rating]:
    """The rating of an answer by dimension.

    An answer without any text is 0 on all three by the rubric, and the judge is not asked. A failed call is typed
    `infrastructure` and not scored, so that the answer stays in the log and a second pass asks only what is missing:
    replies are cached by prompt, judge and round.

    Raises: BadConfig for fewer than one round; Inspect's LimitExceededError, so that cost limits stop the run.
    """
    if rounds < 1:
        raise BadConfig(f"the judge needs at least 1 round, but got {rounds}")
    if not item.answer.strip():
        nothing = (Judgement(Reply.OK, 0),) * rounds
        return {dimension: Rating(dimension, nothing) for dimension in DIMENSIONS}
    answer = blinded(item.answer, candidate=item.candidate, file=item.file)
    prompts = {
        dimension: judge_prompt(dimension, question=item.question, answer=answer, reference=item.reference)
        for dimension in DIMENSIONS
    }
    found = await collect(*(_ask(judge, prompts[d], number) for d in DIMENSIONS for number in range(rounds)))
    return {d: Rating(d, tuple(found[i * rounds : (i + 1) * rounds])) for i, d in enumerate(DIMENSIONS)}


async def _ask(judge: Model, prompt: str, number: int) -> Judgement:
    try:
        output = await judge.generate(
            prompt,
            config=GenerateConfig(response_schema=SCHEMA, max_tokens=MAX_TOKENS),
            # One entry a round: rounds are repeated draws, not one draw counted five times.
            cache=CachePolicy(expiry=None, per_epoch=False, scopes={"judge-round": str(number)}),
        )
    except LimitExceededError:
        raise
    except Exception as error:  # noqa: BLE001 - each provider has its own exceptions; the type is kept in the text
        return Judgement(Reply.INFRASTRUCTURE, text=f"{type(error).__name__}: {error}")
    if output.error:
        return Judgement(Reply.INFRASTRUCTURE, text=output.error)
    return read_judgement(output.completion, str(output.stop_reason))


NULL_ANSWER = "This is an image, and it shows what it shows."
"""An answer that says nothing; a judge that pays for it pays for form. Source: ours."""

CONDITIONS = ("actual", "null", "shuffled_reference", "wrong_image")


def baseline_items(items: Sequence[Item], rng: np.random.Generator) -> dict[str, list[Item]]:
    """The items under each condition; those that cannot be made are left out.

    `null`: the answer says nothing. `shuffled_reference`: the answer against the reference of any other item.
    `wrong_image`: the answer the same model gave to the same kind of question about another image, against this
    image's reference; what it scores is what an answer earns without looking.

    Source: ours.
    """
    found: dict[str, list[Item]] = {condition: [] for condition in CONDITIONS}
    for item in items:
        found["actual"].append(item)
        found["null"].append(replace(item, answer=NULL_ANSWER))
        others = [o for o in items if o.image != item.image and o.reference != item.reference]
        if others:
            other = others[int(rng.integers(len(others)))]
            found["shuffled_reference"].append(replace(item, reference=other.reference))
        alike = [o for o in others if o.kind == item.kind and o.candidate == item.candidate]
        if alike:
            other = alike[int(rng.integers(len(alike)))]
            found["wrong_image"].append(replace(item, answer=other.answer, file=other.file))
    return found


async def judge_baselines(
    judge: Model, items: Sequence[Item], rng: np.random.Generator, *, rounds: int = 1
) -> dict[str, dict[str, tuple[float | None, int]]]:
    """Mean score in [0, 2] and number of answers judged, by condition and dimension (and `judge_avg`).

    A judge is worth reading where `actual` stands clear of the three others.
    """
    table: dict[str, dict[str, tuple[float | None, int]]] = {}
    for condition, made in baseline_items(items, rng).items():
        ratings = [await judge_answer(judge, item, rounds=rounds) for item in made]
        row: dict[str, tuple[float | None, int]] = {}
        for dimension in DIMENSIONS:
            means = [mean for r in ratings if (mean := r[dimension].mean) is not None]
            row[dimension] = (statistics.fmean(means) if means else None, len(means))
        known = [mean for mean, _ in row.values() if mean is not None]
        whole = statistics.fmean(known) if len(known) == len(DIMENSIONS) else None
        table[condition] = {**row, "judge_avg": (whole, min(n for _, n in row.values()))}
    return table
