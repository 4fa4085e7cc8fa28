"""From a path to the items of a task: FakeBench, an annotated set or any manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from defake.errors import BadDataset
from defake.questions import Ability

from .annotated import is_annotated_set, read_annotated
from .fakebench import is_fakebench, read_fakebench
from .items import Asked, ItemSet, open_items, rotated_kinds, subject_of, subjects_of

if TYPE_CHECKING:
    from .items import Subject


def read_items(
    path: str | Path,
    ability: Ability,
    asked: Asked | None = None,
    *,
    images: str | Path | None = None,
    missing: str = "error",
    partial: bool = False,
) -> ItemSet:
    """The items of one ability from any data set we know.

    FakeBench is known by its query files, an annotated set by its annotation file; everything else is read as a
    manifest, which can be asked FakeClass questions only. `missing` is `error` or `skip`; `partial` accepts FakeBench
    files with other counts than the release.

    Raises: BadDataset if there is nothing to ask, or if images are missing and `missing` is `error`.
    """
    if missing not in ("error", "skip"):
        raise BadDataset(f"missing must be 'error' or 'skip', but got {missing!r}")
    asked = asked or Asked()
    path = Path(path)
    if path.is_dir() and is_fakebench(path):
        return read_fakebench(path, ability, asked, images=images, missing=missing, partial=partial)
    if path.exists() and is_annotated_set(path):
        return _annotated_items(path, ability, asked, missing=missing)
    return _manifest_items(path, ability, asked, images=images, missing=missing)


def _annotated_items(path: Path, ability: Ability, asked: Asked, *, missing: str) -> ItemSet:
    annotated = read_annotated(path)
    problems = tuple(f"line {number}: {text}" for number, text in annotated.problems)
    if problems and missing == "error":
        raise BadDataset(
            f"{len(problems)} rows of {path} cannot be used; first: {problems[0]}. Mend them, or go on without "
            "(missing='skip')."
        )
    if ability is Ability.FAKECLASS:
        items = rotated_kinds([subject_of(image) for image in annotated.images], asked)
    else:
        items = open_items(ability, annotated.images, asked)
    if not items:
        raise BadDataset(f"{path} holds nothing to ask for {ability} (photographs are asked with reals)")
    notice = annotated.notice or (f"licence: {annotated.licence}" if annotated.licence else "")
    return ItemSet(annotated.name or path.name, tuple(items), notice, problems)


def _manifest_items(path: Path, ability: Ability, asked: Asked, *, images: str | Path | None, missing: str) -> ItemSet:
    from .manifest import read_manifest

    if ability is not Ability.FAKECLASS:
        raise BadDataset(
            f"{path} has labels only; {ability} needs reference clues and answers: an annotated set "
            "(docs/annotated-sets.md) or FakeBench"
        )
    manifest = read_manifest(path, root=images)
    subjects = subjects_of(manifest)
    present: list[Subject] = [s for s in subjects if s.path.is_file()]
    absent = tuple(s.image for s in subjects if not s.path.is_file())
    if absent and missing == "error":
        raise BadDataset(
            f"{len(absent):,} of {len(subjects):,} images of {path} are missing; first: {', '.join(absent[:5])}. "
            "Put them there, or skip them (missing='skip')."
        )
    if not present:
        raise BadDataset(f"none of the {len(subjects):,} images of {path} is there; first: {', '.join(absent[:5])}")
    problems = tuple(str(problem) for problem in manifest.problems)
    return ItemSet(path.name, tuple(rotated_kinds(present, asked)), "", problems, absent)
