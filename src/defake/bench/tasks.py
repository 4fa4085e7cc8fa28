"""The four abilities of FakeBench as Inspect tasks: `inspect eval defake/fakeclass --model … -T data=…`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig

from defake.datasets.benchmarks import read_items
from defake.datasets.items import Asked
from defake.errors import BadConfig
from defake.questions import Ability, Prompts

from .asking import Budget, Images, ask_images
from .journal import Journal
from .prices import read_prices
from .verdicts import outcome, verdict

if TYPE_CHECKING:
    from inspect_ai.scorer import Scorer

    from defake.datasets.items import Item, ItemSet

DATA_VARIABLE = "DEFAKE_BENCH_DATA"
# Source: ours. A question is given up after this many repeats of a failed call, and a call after this many seconds.
MAX_RETRIES, ATTEMPT_TIMEOUT_S = 4, 120
# Source: ours; long enough for a verdict with reasons, an analysis and three sentences.
MAX_TOKENS = {Ability.FAKECLASS: 256, Ability.FAULTFINDING: 512, Ability.INFERENCE: 1024, Ability.FAKEQA: 256}
COT_MAX_TOKENS = 1024
_log = logging.getLogger(__name__)
_journals: dict[Path, Journal] = {}  # one process may run several tasks on one journal


@task  # type: ignore[untyped-decorator]
def fakeclass(
    data: str = "",
    *,
    prompts: str = "paper",
    variant: str = "plain",
    pairs: bool = False,
    logprobs: int = 5,
    images: str = "",
    image_form: str = "bytes",
    missing: str = "error",
    partial: bool = False,
    journal: str = "",
    max_cost: float = 0.0,
    prices: str = "",
    model_name: str = "",
) -> Task:
    """Detection: fake or real.

    `data` is FakeBench's folder, an annotated set or a manifest (or the environment variable DEFAKE_BENCH_DATA);
    `prompts` paper or fixed; `variant` plain or cot; `pairs` asks "fake?" and "real?" of every image; `logprobs` is how
    many alternatives to ask for (0: none); `images` is where FakeBench's images lie; `image_form` bytes or png;
    `missing` error or skip; `partial` accepts a part of the release; `journal` is a file that keeps every answer;
    `max_cost` stops the run (in the currency of `prices`, for `model_name`).
    """
    asked = Asked(_prompts(prompts), _reasons_first(variant), pairs)
    found = read_items(_data(data), Ability.FAKECLASS, asked, images=images or None, missing=missing, partial=partial)
    budget = _budget(max_cost, prices, model_name)
    return _task(found, asked, logprobs=logprobs, image_form=image_form, journal=journal, budget=budget)


@task  # type: ignore[untyped-decorator]
def fakeclue(
    data: str = "",
    *,
    mode: str = "faultfinding",
    prompts: str = "paper",
    reals: bool = False,
    logprobs: int = 5,
    images: str = "",
    image_form: str = "bytes",
    missing: str = "error",
    partial: bool = False,
    journal: str = "",
    max_cost: float = 0.0,
    prices: str = "",
    model_name: str = "",
    judge_rounds: int = 5,
) -> Task:
    """Open explanation: `mode` faultfinding (why is it fake) or inference (analyse and judge).

    `reals` asks about photographs too, for the false-fault rate (beyond the paper). The other options: see fakeclass.
    """
    if mode not in (Ability.FAULTFINDING, Ability.INFERENCE):
        raise BadConfig(f"mode must be 'faultfinding' or 'inference', but got {mode!r}")
    ability, asked = Ability(mode), Asked(_prompts(prompts), reals=reals)
    found = read_items(_data(data), ability, asked, images=images or None, missing=missing, partial=partial)
    wanted = logprobs if ability is Ability.INFERENCE else 0
    budget = _budget(max_cost, prices, model_name)
    return _task(
        found, asked, logprobs=wanted, image_form=image_form, journal=journal, budget=budget, judge_rounds=judge_rounds
    )


@task  # type: ignore[untyped-decorator]
def fakeqa(
    data: str = "",
    *,
    prompts: str = "paper",
    reals: bool = False,
    images: str = "",
    image_form: str = "bytes",
    missing: str = "error",
    partial: bool = False,
    journal: str = "",
    max_cost: float = 0.0,
    prices: str = "",
    model_name: str = "",
    judge_rounds: int = 5,
) -> Task:
    """Fine-grained questions, one for each telltale criterion; the options: see fakeclass and fakeclue."""
    asked = Asked(_prompts(prompts), reals=reals)
    found = read_items(_data(data), Ability.FAKEQA, asked, images=images or None, missing=missing, partial=partial)
    budget = _budget(max_cost, prices, model_name)
    return _task(
        found, asked, logprobs=0, image_form=image_form, journal=journal, budget=budget, judge_rounds=judge_rounds
    )


def _task(
    found: ItemSet,
    asked: Asked,
    *,
    logprobs: int,
    image_form: str,
    journal: str,
    budget: Budget | None,
    judge_rounds: int = 5,
) -> Task:
    for text in (found.notice, *found.problems):
        if text:
            _log.warning("%s: %s", found.name, text)
    ability = found.items[0].question.ability
    paths: dict[str | int, Path] = {item.id: item.subject.path for item in found.items}
    config = GenerateConfig(
        max_tokens=COT_MAX_TOKENS if asked.reasons_first else MAX_TOKENS[ability],
        max_retries=MAX_RETRIES,
        attempt_timeout=ATTEMPT_TIMEOUT_S,
        logprobs=True if logprobs else None,
        top_logprobs=logprobs or None,
    )
    return Task(
        dataset=MemoryDataset([_sample(item, asked) for item in found.items], name=found.name),
        solver=ask_images(paths, Images(image_form), _journal(journal), budget),
        scorer=_scorers(ability, found, judge_rounds),
        config=config,
        # A question whose call failed is an errored sample: never scored, and asked again by a resumed run.
        fail_on_error=False,
        early_stopping=budget,
        name=str(ability),
        metadata={"notice": found.notice, "problems": list(found.problems), "missing": len(found.missing)},
    )


def _sample(item: Item, asked: Asked) -> Sample:
    subject, question = item.subject, item.question
    facts: dict[str, Any] = {
        "task": str(question.ability),
        "question_type": question.kind,
        "question": question.prompt,
        "authenticity": str(subject.label),
        "generator": subject.generator,
        "source": subject.source,
        "split": subject.split,
        "content": list(subject.content),
        "caption": subject.caption,
        "criterion": question.criterion,
        "clues": list(item.clues),
        "variant": "cot" if asked.reasons_first else "plain",
        "mode": str(asked.prompts),
        "pair": item.pair,
        "slot": item.slot,
        "file": subject.image,
    }
    right = question.right_answer(subject.label)
    target = item.reference if item.reference is not None else (right or "")
    # Inspect shortens and copies every entry several times a sample: what is not known is not written.
    known = {name: value for name, value in facts.items() if value not in (None, "", [])}
    return Sample(id=item.id, input=question.prompt, target=target, metadata=known)


def _scorers(ability: Ability, found: ItemSet, judge_rounds: int) -> list[Scorer]:
    if ability is Ability.FAKECLASS:
        return [verdict()]
    first = verdict() if ability is Ability.INFERENCE else outcome()
    if not any(item.reference for item in found.items):
        return [first]
    from .open_answers import open_answer

    return [first, open_answer(judge_rounds=judge_rounds)]


def _data(data: str) -> Path:
    chosen = data or os.environ.get(DATA_VARIABLE, "")
    if not chosen:
        raise BadConfig(
            "no data to ask about: hand over the folder of FakeBench, of an annotated set, or a manifest "
            f"(-T data=FOLDER, --data FOLDER or {DATA_VARIABLE})"
        )
    return Path(chosen)


def _prompts(word: str) -> Prompts:
    if word not in tuple(Prompts):
        raise BadConfig(f"prompts must be 'paper' or 'fixed', but got {word!r}")
    return Prompts(word)


def _reasons_first(variant: str) -> bool:
    if variant not in ("plain", "cot"):
        raise BadConfig(f"variant must be 'plain' or 'cot', but got {variant!r}")
    return variant == "cot"


def _journal(path: str) -> Journal | None:
    if not path:
        return None
    place = Path(path).resolve()
    if place not in _journals:
        _journals[place] = Journal(place)
    return _journals[place]


def release_journals() -> int:
    """Close the journals this process holds; gives how many answers were taken from them instead of asked."""
    replayed = sum(journal.replayed for journal in _journals.values())
    for journal in _journals.values():
        journal.close()
    _journals.clear()
    return replayed


def _budget(max_cost: float, prices: str, model_name: str) -> Budget | None:
    if max_cost <= 0:
        return None
    price = read_prices(prices or None).price(model_name)
    if price is None:
        raise BadConfig(
            f"max_cost needs a price for {model_name or 'the model (model_name=)'!r}, and the table has none; "
            "add it to a table of your own (--prices)"
        )
    return Budget(max_cost, price)
