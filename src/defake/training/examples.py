"""The labelled images of a training run, every file read and checked before the first step."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

from defake.datasets.manifest import Manifest, RowProblem, read_manifest
from defake.errors import BadDataset, BadImage
from defake.images import read_image

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SHOWN = 20  # bad rows named in an error; the rest is counted
VAL_SPLITS = ("val", "valid", "validation", "dev")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows are used: a subset of generators, FakeBench or not, and what bad rows mean."""

    generators: tuple[str, ...] = ()
    allow_fakebench: bool = False
    skip_bad_rows: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """Checked rows of one manifest and the SHA-256 of each file, `(n,)`."""

    manifest: Manifest
    file_hashes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.manifest)

    def sha256(self) -> str:
        """Hash of every file's content and label, in order: what the weights were fitted to."""
        digest = hashlib.sha256()
        for file_hash, fake in zip(self.file_hashes, self.manifest.is_fake, strict=True):
            digest.update(f"{file_hash} {int(fake)}\n".encode())
        return digest.hexdigest()

    def where(self, mask: NDArray[np.bool_]) -> Part:
        """The rows of a boolean mask `(n,)`."""
        kept = tuple(h for h, keep in zip(self.file_hashes, mask, strict=True) if keep)
        return Part(self.manifest.where(mask), kept)

    def describe(self) -> dict[str, Any]:
        """Counts and hashes for the card and for telling one run from another."""
        fakes, sha256 = int(self.manifest.is_fake.sum()), self.sha256()
        return {
            "images": len(self),
            "fake": fakes,
            "real": len(self) - fakes,
            "generators": sorted({g for g in self.manifest.generators if g is not None}),
            "sha256": sha256,
        }


@dataclass(frozen=True, slots=True)
class Examples:
    """What is trained on and what selects the checkpoint; `val` is None where nothing was held out."""

    train: Part
    val: Part | None
    notes: tuple[str, ...] = field(default=())

    def describe(self) -> dict[str, Any]:
        """Both parts for the card."""
        return {"train": self.train.describe(), "val": None if self.val is None else self.val.describe()}


class LabelledImages(Dataset):  # type: ignore[misc] # torch is untyped here
    """Rows as `{"image": uint8 (h, w, 3), "is_fake": bool}`, decoded when asked for."""

    def __init__(self, part: Part) -> None:
        self.manifest = part.manifest
        self.is_fake = part.manifest.is_fake

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels = read_image(self.manifest.resolve(int(index))).pixels
        return {"image": pixels, "is_fake": bool(self.is_fake[index])}


def gather_examples(
    train: str | Path,
    val: str | Path | None = None,
    *,
    root: str | Path | None = None,
    val_fraction: float = 0.1,
    seed: int = 42,
    choice: Choice | None = None,
) -> Examples:
    """Read, check and split the images of a run.

    A manifest with splits gives its `train` rows (and those without a split); its `val` rows validate where no `val`
    file is named. Without either, `val_fraction` of the rows of each class is held out by the seed.

    Raises: BadDataset that names up to 20 bad rows, or one class only, or FakeBench's images.
    """
    choice = choice or Choice()
    whole, problems = _read(train, root, choice)
    train_rows, val_rows = _split(whole)
    train_part = check_rows(train_rows, str(train), choice, problems)
    if val is not None:
        whole, problems = _read(val, root, choice)
        val_rows = _split(whole)[1] or whole
    if val_rows is not None:
        val_part: Part | None = check_rows(val_rows, str(val or train), choice, problems if val is not None else ())
    else:
        train_part, val_part = hold_out(train_part, val_fraction, np.random.default_rng(seed))
    return Examples(train_part, val_part, _notes(train_part, val_part))


def _read(path: str | Path, root: str | Path | None, choice: Choice) -> tuple[Manifest, tuple[RowProblem, ...]]:
    """The chosen rows, and what was wrong with the rows of the whole file."""
    manifest = read_manifest(path, root=root)
    problems = manifest.problems
    if _is_fakebench(manifest) and not choice.allow_fakebench:
        raise BadDataset(
            f"{path} holds FakeBench images, whose licence allows testing only; pass --allow-fakebench if you hold "
            "the authors' permission to train on them"
        )
    if choice.generators:
        manifest = manifest.where(generators=list(choice.generators))
    return manifest, problems


def _is_fakebench(manifest: Manifest) -> bool:
    named = any(source is not None and source.lower() == "fakebench" for source in set(manifest.sources))
    return manifest.kind == "fakebench" or named


def _split(manifest: Manifest) -> tuple[Manifest, Manifest | None]:
    """The rows to train on, and those marked for validation."""
    words = np.array(["" if split is None else split.lower() for split in manifest.splits], dtype=object)
    chosen = np.isin(words.astype(str), VAL_SPLITS)
    train = manifest.where(np.isin(words.astype(str), ["", "train"]))
    return train, manifest.where(chosen) if chosen.any() else None


def check_rows(
    manifest: Manifest, name: str, choice: Choice | None = None, problems: Sequence[RowProblem] = ()
) -> Part:
    """Read and decode every file once, so that no row fails after an hour of training; `problems` are known already.

    Raises: BadDataset that names up to 20 bad rows, or that only one class is left.
    """
    choice = choice or Choice()
    workers = min(16, (os.cpu_count() or 1) + 1)
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(lambda i: _hash_or_problem(manifest, i), range(len(manifest))))
    problems = sorted([*problems, *(item for item in found if isinstance(item, RowProblem))])
    if problems and not choice.skip_bad_rows:
        raise BadDataset(_describe(problems, name, is_file=not manifest.kind.endswith("folders")))
    good = np.array([isinstance(item, str) for item in found], dtype=bool)
    part = Part(manifest.where(good), tuple(item for item in found if isinstance(item, str)))
    _require_both(part.manifest.is_fake, name)
    return part


def _hash_or_problem(manifest: Manifest, index: int) -> str | RowProblem:
    try:
        return read_image(manifest.resolve(index)).sha256
    except BadImage as error:
        return RowProblem(int(manifest.rows[index]), f"{manifest.paths[index]}: {error}")


def _describe(problems: Sequence[RowProblem], name: str, *, is_file: bool) -> str:
    lines = [f"{len(problems)} bad row(s) in {name}; mend them, or go on without them with --skip-bad-rows:"]
    for problem in problems[:SHOWN]:
        # The header is line 1 of a text file, and row 1 stands below it.
        where = f"line {problem.row + 1}: " if is_file and problem.row else ""
        lines.append(f"  {where}{problem.message}")
    if len(problems) > SHOWN:
        lines.append(f"  and {len(problems) - SHOWN} more")
    return "\n".join(lines)


def _require_both(is_fake: NDArray[np.bool_], name: str) -> None:
    if not len(is_fake):
        raise BadDataset(f"no row of {name} is left to use; check its split column and --generators")
    if is_fake.all() or not is_fake.any():
        word = "fake" if is_fake.all() else "real"
        raise BadDataset(f"{name} holds one class only: all {len(is_fake)} images are {word}; both are needed")


def hold_out(part: Part, fraction: float, rng: np.random.Generator) -> tuple[Part, Part | None]:
    """Split off `fraction` of each class, at least one image; nothing if the fraction is 0 or a class has one image."""
    is_fake = part.manifest.is_fake
    if fraction == 0 or min(is_fake.sum(), (~is_fake).sum()) < 2:
        return part, None
    held = np.zeros(len(part), dtype=bool)
    for label in (False, True):
        members = np.flatnonzero(is_fake == label)
        held[rng.permutation(members)[: max(1, round(fraction * len(members)))]] = True
    return part.where(~held), part.where(held)


def _notes(train: Part, val: Part | None) -> tuple[str, ...]:
    notes = []
    if val is None:
        notes.append("nothing was held out: the last epoch is kept, and no validation figure exists")
    elif shared := _count_shared(train.file_hashes, set(val.file_hashes)):
        notes.append(f"{shared} training file(s) also stand in the validation set: its figures are too good")
    by_label: dict[str, set[bool]] = {}
    for file_hash, fake in zip(train.file_hashes, train.manifest.is_fake, strict=True):
        by_label.setdefault(file_hash, set()).add(bool(fake))
    if clashes := sum(len(labels) > 1 for labels in by_label.values()):
        notes.append(f"{clashes} file content(s) stand in the training set as fake and as real")
    return tuple(notes)


def _count_shared(hashes: Sequence[str], others: Collection[str]) -> int:
    return sum(file_hash in others for file_hash in hashes)
