"""FakeBench's released query files and its images, wherever they lie under a folder."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defake.errors import BadDataset
from defake.questions import (
    Ability,
    criterion_question,
    detection_question,
    fault_finding_question,
    inference_question,
    question_type,
)
from defake.records import Label

from .items import Asked, Item, ItemSet, Subject, detection_items

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOTICE = (
    "FakeBench (Li et al., IEEE TIFS 20, 2025): queries under the MIT licence, images CC BY-NC. Its authors forbid "
    "training on it and reserve the right to take all measures."
)
QUERY_FILES = ("FakeClass.json", "FakeClue.json", "FakeQA.json")
# Source: counted in the released files. Questions, and images per file.
COUNTS = {"FakeClass.json": (6_000, 6_000), "FakeClue.json": (3_000, 3_000), "FakeQA.json": (41_971, 3_000)}
GENERATORS = ("proGAN", "styleGAN", "cogview2", "FuseDream", "VQDM", "Glide", "sd", "dalle2", "dalle3", "midjourney")
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_FILE_OF = {
    Ability.FAKECLASS: "FakeClass.json",
    Ability.FAULTFINDING: "FakeClue.json",
    Ability.INFERENCE: "FakeClue.json",
    Ability.FAKEQA: "FakeQA.json",
}


@dataclass(frozen=True, slots=True)
class _Facts:
    """What FakeClue tells of an image beside its questions."""

    content: tuple[str, ...] = ()
    caption: str | None = None


def is_fakebench(folder: str | Path) -> bool:
    """Whether a folder holds FakeBench's query files."""
    return any((Path(folder) / name).is_file() for name in QUERY_FILES)


def read_fakebench(
    folder: str | Path,
    ability: Ability,
    asked: Asked | None = None,
    *,
    images: str | Path | None = None,
    missing: str = "error",
    partial: bool = False,
    for_training: bool = False,
    override_licence: bool = False,
) -> ItemSet:
    """The items of one ability from FakeBench's released files.

    The images may lie in one folder or in two (fakes and reals), at any depth under `images` (default: `folder`); they
    are found by name. `missing` is `error` or `skip`; the names of all absent files are in the result, or counted in
    the error. `partial` accepts query files with other counts than the release (6,000 / 3,000 / 41,971).
    Photographs are in FakeClass only, so `asked.reals` adds questions about FakeClass's photographs to FakeClue's.

    Raises: BadDataset for absent or damaged query files, other counts, or absent images; and always with
    `for_training`, because the licence forbids it, unless `override_licence`.
    """
    if for_training:
        refuse_training(override_licence=override_licence)
    asked = asked or Asked()
    folder = Path(folder)
    rows = _rows(folder / _FILE_OF[ability], partial=partial)
    found = find_images(Path(images) if images is not None else folder)
    facts = _facts(folder)
    if ability is Ability.FAKECLASS:
        items = _detection(rows, found, facts, asked)
    elif ability is Ability.FAKEQA:
        items = _criteria(rows, found, facts, asked)
    else:
        items = _clues(rows, found, facts, asked, ability)
        if asked.reals:
            items += _photographs(folder, found, asked, ability, partial=partial)
    absent = tuple(dict.fromkeys(item.subject.image for item in items if item.subject.image not in found))
    if absent and missing == "error":
        raise BadDataset(_absence(absent, len({i.subject.image for i in items}), images or folder))
    kept = tuple(item for item in items if item.subject.image in found)
    problems = (f"{len(absent)} images are missing; their questions are left out",) if absent else ()
    return ItemSet("FakeBench", kept, NOTICE, problems, absent)


def refuse_training(*, override_licence: bool = False) -> None:
    """Say no to training on FakeBench.

    Raises: BadDataset unless `override_licence`.
    """
    if not override_licence:
        raise BadDataset(
            f"{NOTICE} It is not handed to training. If you have the authors' permission, override it explicitly "
            "(override_licence=True)."
        )


def find_images(root: Path) -> dict[str, Path]:
    """Path of every image file under a folder, by file name; links to folders are followed.

    Raises: BadDataset if two different files share a name.
    """
    found: dict[str, Path] = {}
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            if Path(name).suffix.lower() in _IMAGE_SUFFIXES:
                path = Path(folder, name)
                if name in found and found[name].stat().st_size != path.stat().st_size:
                    raise BadDataset(f"two different files are called {name}: {found[name]} and {path}")
                found[name] = path
    return found


def _rows(file: Path, *, partial: bool) -> list[dict[str, Any]]:
    if not file.is_file():
        raise BadDataset(f"no {file.name} in {file.parent}; expected FakeBench's query files {', '.join(QUERY_FILES)}")
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadDataset(f"{file} is not JSON: {error}") from error
    if not (isinstance(rows, list) and all(isinstance(r, dict) and isinstance(r.get("image_id"), str) for r in rows)):
        raise BadDataset(f"{file} must be a list of objects with 'image_id'")
    questions = sum(len(_asked_slots(row)) for row in rows) if file.name == "FakeQA.json" else len(rows)
    got = (questions, len({row["image_id"] for row in rows}))
    if got != COUNTS[file.name] and not partial:
        want = COUNTS[file.name]
        raise BadDataset(
            f"{file} holds {got[0]:,} questions about {got[1]:,} images; the release holds {want[0]:,} about "
            f"{want[1]:,}. Get the released file, or say that a part is meant (partial)."
        )
    return rows


def _facts(folder: Path) -> dict[str, _Facts]:
    """Content tags and captions, which are in FakeClue.json only; empty without it."""
    file = folder / "FakeClue.json"
    if not file.is_file():
        return {}
    return {
        row["image_id"]: _Facts(
            tuple(tag.strip() for tag in str(row.get("content_categories", "")).split(",") if tag.strip()),
            row.get("image_caption") or None,
        )
        for row in _rows(file, partial=True)
    }


def _subject(
    image: str, label: Label, found: Mapping[str, Path], facts: Mapping[str, _Facts], generator: str | None = None
) -> Subject:
    known = facts.get(image, _Facts())
    if label is Label.REAL:
        generator = None
    elif generator is None:
        generator = image.rpartition("-")[0] or None
    source = _source(image) if label is Label.REAL else None
    return Subject(image, found.get(image, Path(image)), label, generator, source, "test", known.content, known.caption)


def _source(image: str) -> str | None:
    """Collection of a photograph, inferred from its name: ImageNet, COCO or DIV2K."""
    stem = Path(image).stem
    if stem.startswith("n") and "_" in stem:
        return "imagenet"
    if stem.isdigit():
        return "coco"
    return "div2k" if stem.endswith("x4") else None


def _detection(
    rows: Sequence[dict[str, Any]], found: Mapping[str, Path], facts: Mapping[str, _Facts], asked: Asked
) -> list[Item]:
    items: list[Item] = []
    for row in rows:
        # FakeBench writes 0 for fake and 1 for real.
        if row.get("authenticity") not in (0, 1):
            raise BadDataset(
                f"{row['image_id']}: authenticity must be 0 (fake) or 1 (real), got {row.get('authenticity')!r}"
            )
        label = Label.FAKE if row["authenticity"] == 0 else Label.REAL
        subject = _subject(row["image_id"], label, found, facts)
        kind = question_type(row["question"])
        question = detection_question(kind)
        if row.get("answer") != question.right_answer(label):
            raise BadDataset(f"{row['image_id']}: the answer {row.get('answer')!r} contradicts authenticity {label}")
        items += detection_items([subject], asked, [kind])
    return items


def _clues(
    rows: Sequence[dict[str, Any]],
    found: Mapping[str, Path],
    facts: Mapping[str, _Facts],
    asked: Asked,
    ability: Ability,
) -> list[Item]:
    make = fault_finding_question if ability is Ability.FAULTFINDING else inference_question
    question, released = make(asked.prompts), make()
    items = []
    for row in rows:
        if row.get(f"{ability}_mode", released.prompt) != released.prompt:
            raise BadDataset(f"{row['image_id']}: the {ability} question is not the released one")
        subject = _subject(row["image_id"], Label.FAKE, found, facts, row.get("generation_model"))
        items.append(Item(f"{subject.image}|{ability}", subject, question, row.get("telltale_clues") or None))
    return items


def _photographs(
    folder: Path, found: Mapping[str, Path], asked: Asked, ability: Ability, *, partial: bool
) -> list[Item]:
    make = fault_finding_question if ability is Ability.FAULTFINDING else inference_question
    return [
        Item(f"{row['image_id']}|{ability}", _subject(row["image_id"], Label.REAL, found, {}), make(asked.prompts))
        for row in _rows(folder / "FakeClass.json", partial=partial)
        if row.get("authenticity") == 1
    ]


def _asked_slots(row: Mapping[str, Any]) -> list[int]:
    return [k for k in range(1, 15) if isinstance(row.get(f"Q{k}"), str) and row[f"Q{k}"].strip()]


def _criteria(
    rows: Sequence[dict[str, Any]], found: Mapping[str, Path], facts: Mapping[str, _Facts], asked: Asked
) -> list[Item]:
    items = []
    for row in rows:
        subject = _subject(row["image_id"], Label.FAKE, found, facts)
        for k in _asked_slots(row):
            question = criterion_question(row[f"Q{k}"], asked.prompts)
            items.append(Item(f"{subject.image}|Q{k}", subject, question, row.get(f"A{k}") or None, slot=f"Q{k}"))
    return items


def _absence(absent: Sequence[str], total: int, where: str | Path) -> str:
    by_kind = Counter(name.rpartition("-")[0] or "photographs" for name in absent)
    kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(by_kind.items()))
    shown = ", ".join(absent[:5])
    return (
        f"{len(absent):,} of {total:,} images are not under {where} ({kinds}); first: {shown}. Put them there in one "
        "folder or several, or skip their questions (missing='skip')."
    )
