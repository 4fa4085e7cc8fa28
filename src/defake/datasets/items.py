"""Benchmark items: one question about one image, with what is known of the right answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from defake.questions import (
    CRITERION_IDS,
    Ability,
    Prompts,
    Question,
    detection_question,
    fault_finding_question,
    inference_question,
    own_criterion_question,
    polarity_pair,
)
from defake.records import Label

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from .annotated import AnnotatedImage
    from .manifest import Manifest


@dataclass(frozen=True, slots=True)
class Asked:
    """How to ask: the prompt set, reasons first, both polarities, photographs in tasks the paper asks of fakes only."""

    prompts: Prompts = Prompts.PAPER
    reasons_first: bool = False
    pairs: bool = False
    reals: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """The image of an item; `image` names it in logs and never in a prompt, `path` is where it lies."""

    image: str
    path: Path
    label: Label
    generator: str | None = None
    source: str | None = None
    split: str | None = None
    content: tuple[str, ...] = ()
    caption: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One question about one image.

    `reference` is the reference text of an open question, None where there is none (FakeBench keeps its own private).
    `slot` is where the answer goes in the authors' JSON files; `pair` is shared by the two questions of a
    polarity pair. `clues` are the ids of the criteria that the reference clues belong to.
    """

    id: str
    subject: Subject
    question: Question
    reference: str | None = None
    slot: str = ""
    pair: str | None = None
    clues: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemSet:
    """The items of one task, in an order in which the questions of one image follow each other.

    `notice` is the data's licence note; `problems` are sentences about what was left out, `missing` the absent files.
    """

    name: str
    items: tuple[Item, ...]
    notice: str = ""
    problems: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def detection_items(subjects: Iterable[Subject], asked: Asked, kinds: Sequence[str] = ("what",)) -> list[Item]:
    """FakeClass questions about any images: those of `kinds`, or both polarities with `asked.pairs`."""
    if asked.pairs:
        questions: tuple[Question, ...] = polarity_pair(asked.prompts, reasons_first=asked.reasons_first)
    else:
        questions = tuple(detection_question(k, asked.prompts, reasons_first=asked.reasons_first) for k in kinds)
    return [
        Item(f"{subject.image}|{q.kind}", subject, q, slot=q.kind, pair=subject.image if asked.pairs else None)
        for subject in subjects
        for q in questions
    ]


def rotated_kinds(subjects: Sequence[Subject], asked: Asked) -> list[Item]:
    """One FakeClass question an image, the three kinds in turn: half "what", a quarter each yes-or-no question.

    Source: FakeBench's proportions (3,000 : 1,501 : 1,499); the turn within each class and generator is ours, so that
    no generator's column is confounded with a wording.
    """
    if asked.pairs:
        return detection_items(subjects, asked)
    turn = ("what", "fake_yn", "what", "real_yn")
    seen: dict[tuple[Label, str | None], int] = {}
    items = []
    for subject in subjects:
        key = (subject.label, subject.generator)
        kind = turn[seen.setdefault(key, 0) % len(turn)]
        seen[key] += 1
        items += detection_items([subject], asked, [kind])
    return items


def open_items(ability: Ability, images: Iterable[AnnotatedImage], asked: Asked) -> list[Item]:
    """Fault-finding, inference or FakeQA questions about annotated images.

    Photographs are left out unless `asked.reals`; a FakeQA question is asked for each criterion that has an answer.
    """
    items = []
    for image in images:
        if image.label is Label.REAL and not asked.reals:
            continue
        subject = subject_of(image)
        clues = tuple(dict.fromkeys(clue.criterion for clue in image.clues))
        if ability is Ability.FAULTFINDING:
            question = fault_finding_question(asked.prompts)
            items.append(
                Item(f"{image.image}|faultfinding", subject, question, image.fault_finding_reference(), clues=clues)
            )
        elif ability is Ability.INFERENCE:
            question = inference_question(asked.prompts)
            items.append(Item(f"{image.image}|inference", subject, question, image.inference_reference(), clues=clues))
        else:
            items += [
                Item(
                    f"{image.image}|{c}",
                    subject,
                    own_criterion_question(c, asked.prompts),
                    image.answers[c],
                    slot=f"A{place}",
                )
                for place, c in enumerate(CRITERION_IDS, start=1)
                if c in image.answers
            ]
    return items


def subject_of(image: AnnotatedImage) -> Subject:
    """The subject of an annotated image."""
    return Subject(
        image.image,
        image.path,
        image.label,
        image.generator,
        image.source,
        image.split,
        image.content,
        image.caption,
    )


def subjects_of(manifest: Manifest) -> list[Subject]:
    """The subjects of a manifest, in its order."""
    return [
        Subject(
            str(manifest.paths[i]),
            manifest.resolve(i),
            Label.FAKE if manifest.is_fake[i] else Label.REAL,
            manifest.generators[i],
            manifest.sources[i],
            manifest.splits[i],
        )
        for i in range(len(manifest))
    ]
