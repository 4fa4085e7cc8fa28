"""The Manifest: labelled images as columns, light enough for a million rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from defake.errors import BadDataset, MissingExtra
from defake.records import Label, Sample

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

TAGS = ("generator", "source", "split")
FIXED = ("path", "label", *TAGS)


def import_pyarrow() -> Any:
    """The module pyarrow.

    Raises: MissingExtra.
    """
    try:
        import pyarrow as pa
        import pyarrow.compute
    except ModuleNotFoundError as error:
        raise MissingExtra("reading a manifest", "evaluate", "pyarrow") from error
    return pa


@dataclass(frozen=True, slots=True, order=True)
class RowProblem:
    """Why a row was left out; `row` counts from 1 at the first row below the header (0: the file as a whole)."""

    row: int
    message: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}" if self.row else self.message


class Manifest:
    """Labelled images of one data set, columnar over a pyarrow Table.

    The table holds `path` (str, as written), `is_fake` (bool), `row` (int64, the row of the file), `generator`,
    `source` and `split` (dictionary-encoded, null where unknown), and every further column as it was found. Arrays
    below are `(n,)` in the order of the file. `problems` lists every row that was left out.
    """

    def __init__(self, table: Any, root: Path, *, problems: Sequence[RowProblem] = (), kind: str = "manifest") -> None:
        self.table = table
        self.root = root
        self.problems = tuple(problems)
        self.kind = kind

    @classmethod
    def from_columns(
        cls, columns: Mapping[str, Any], root: Path, *, problems: Sequence[RowProblem] = (), kind: str = "manifest"
    ) -> Self:
        """Build from columns of equal length: `path`, `is_fake` (bool; null = unreadable label, told in `problems`).

        `generator`, `source`, `split` and `row` may be missing; empty text is null. Rows without path or label are
        dropped, and so are repeated paths: of equal label all but the first, of contradicting labels all of them.

        Raises: BadDataset if no row is left.
        """
        pa = import_pyarrow()
        table = _typed(pa, columns)
        kept, found = _sound_rows(pa, table)
        problems = sorted([*problems, *found])
        if not kept.any():
            raise BadDataset(f"no usable row in {root}; {describe_problems(problems) or 'it is empty'}")
        return cls(table if kept.all() else table.filter(pa.array(kept)), root, problems=problems, kind=kind)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        fake = int(self.is_fake.sum())
        return f"<Manifest {self.kind} {self.root}: {fake} fake, {len(self) - fake} real>"

    @cached_property
    def paths(self) -> NDArray[np.object_]:
        """The path of each row as written."""
        return _objects(self.table["path"])

    @cached_property
    def is_fake(self) -> NDArray[np.bool_]:
        """Whether each row is generated."""
        return np.asarray(self.table["is_fake"].to_numpy(), dtype=bool)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The row of the file each row stood in, from 1."""
        return np.asarray(self.table["row"].to_numpy(), dtype=np.int64)

    @cached_property
    def generators(self) -> NDArray[np.object_]:
        """The generator of each row, None where unknown or a photograph."""
        return self._tag("generator")

    @cached_property
    def sources(self) -> NDArray[np.object_]:
        """The collection of each row, None where unknown; the unit by which intervals are clustered."""
        return self._tag("source")

    @cached_property
    def splits(self) -> NDArray[np.object_]:
        """The split of each row, None where unknown."""
        return self._tag("split")

    def _tag(self, name: str) -> NDArray[np.object_]:
        # Through the dictionary, so that a million rows share a handful of strings.
        coded = self.table[name].combine_chunks()
        words = np.array([*coded.dictionary.to_pylist(), None], dtype=object)
        return np.take(words, np.asarray(coded.indices.fill_null(len(words) - 1)))

    @property
    def extra_columns(self) -> list[str]:
        """Names of the columns that have no meaning to us and are kept."""
        return [name for name in self.table.column_names if name not in (*TAGS, "path", "is_fake", "row")]

    def extra(self, name: str) -> NDArray[np.object_]:
        """A further column, None where empty.

        Raises: BadDataset if there is none of that name.
        """
        if name not in self.extra_columns:
            raise BadDataset(f"no column {name!r}; there are: {', '.join(self.extra_columns) or 'none'}")
        return _objects(self.table[name])

    def resolve(self, index: int) -> Path:
        """Where the file of a row lies."""
        return self.root / str(self.table["path"][index])

    def where(
        self,
        mask: NDArray[np.bool_] | None = None,
        *,
        split: str | None = None,
        generators: Collection[str] | None = None,
        sources: Collection[str] | None = None,
        label: Label | None = None,
    ) -> Manifest:
        """The rows that meet every condition given; `problems` stay with the whole.

        `generators` keeps all photographs, and of the generated images those of the named generators. The result may be
        empty.

        Raises: BadDataset for a split, generator or source that no row has.
        """
        keep = np.ones(len(self), bool) if mask is None else np.asarray(mask, dtype=bool)
        if keep.shape != (len(self),):
            raise BadDataset(f"mask must have shape ({len(self)},), but got {keep.shape}")
        if split is not None:
            keep = keep & self._among("split", [split])
        if generators is not None:
            keep = keep & (~self.is_fake | self._among("generator", generators))
        if sources is not None:
            keep = keep & self._among("source", sources)
        if label is not None:
            keep = keep & (self.is_fake == (label is Label.FAKE))
        return Manifest(self.table.filter(import_pyarrow().array(keep)), self.root, kind=self.kind)

    def _among(self, name: str, wanted: Collection[str]) -> NDArray[np.bool_]:
        if isinstance(wanted, str):
            raise BadDataset(f"{name}s must be a collection of names, but got the one string {wanted!r}")
        known = {word for word in self._tag(name) if word is not None}
        if unknown := sorted(set(wanted) - known):
            raise BadDataset(
                f"no row has {name} {', '.join(map(repr, unknown))}; there are: {', '.join(sorted(known)) or 'none'}"
            )
        return np.isin(self._tag(name).astype(str), list(wanted))

    def samples(self) -> Iterator[Sample]:
        """Each row as a Sample; further columns become `extra`, empty ones left out."""
        extras = self.extra_columns
        for batch in self.table.to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                yield Sample(
                    path=row["path"],
                    label=Label.FAKE if row["is_fake"] else Label.REAL,
                    **{name: row[name] for name in TAGS},
                    extra={name: str(row[name]) for name in extras if row[name] is not None},
                )

    def missing(self) -> list[int]:
        """Indices of the rows whose file does not exist."""
        return [index for index, path in enumerate(self.paths) if not (self.root / path).is_file()]

    def require_files(self) -> None:
        """Pass if every file exists.

        Raises: BadDataset that counts the missing files and names the first ten with their rows.
        """
        if absent := self.missing():
            named = "".join(f"\n  row {self.rows[i]}: {self.paths[i]}" for i in absent[:10])
            more = f"\n  and {len(absent) - 10} more" if len(absent) > 10 else ""
            raise BadDataset(f"{len(absent)} of {len(self)} files are missing below {self.root}:{named}{more}")

    def sha256(self) -> str:
        """Hash of what an evaluation depends on: path, label, generator, source and split of every row, in order."""
        digest = hashlib.sha256()
        columns = (self.paths, self.is_fake, self.generators, self.sources, self.splits)
        for start in range(0, len(self), 65536):
            part = zip(*(column[start : start + 65536] for column in columns), strict=True)
            digest.update("".join(f"{row!r}\n" for row in ((p, bool(f), *rest) for p, f, *rest in part)).encode())
        return digest.hexdigest()


def describe_problems(problems: Sequence[RowProblem], limit: int = 5) -> str:
    """One line that counts the problems and quotes the first ones; empty if there are none."""
    if not problems:
        return ""
    quoted = "; ".join(str(problem) for problem in problems[:limit])
    more = f"; and {len(problems) - limit} more" if len(problems) > limit else ""
    return f"{len(problems)} row(s) left out: {quoted}{more}"


def _objects(column: Any) -> NDArray[np.object_]:
    out = np.empty(len(column), dtype=object)
    out[:] = column.to_pylist()
    return out


def _typed(pa: Any, columns: Mapping[str, Any]) -> Any:
    """The table with every fixed column present and typed, blank text turned into null."""
    table = pa.table(dict(columns))
    typed = {
        "path": _text(pa, table["path"]),
        "is_fake": table["is_fake"].cast(pa.bool_()),
        "row": table["row"].cast(pa.int64()) if "row" in table.column_names else pa.array(np.arange(1, len(table) + 1)),
    }
    for name in TAGS:
        column = _text(pa, table[name]) if name in table.column_names else pa.nulls(len(table), pa.string())
        typed[name] = column.dictionary_encode()
    for name in table.column_names:
        if name not in typed:
            is_text = pa.types.is_string(table[name].type) or pa.types.is_large_string(table[name].type)
            typed[name] = _text(pa, table[name]) if is_text else table[name]
    return pa.table(typed)


def _text(pa: Any, column: Any) -> Any:
    trimmed = pa.compute.utf8_trim_whitespace(column.cast(pa.string()))
    return pa.compute.if_else(pa.compute.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _sound_rows(pa: Any, table: Any) -> tuple[NDArray[np.bool_], list[RowProblem]]:
    """Which rows have a path and a label and say nothing twice, and what is wrong with the others."""
    rows = table["row"].to_numpy()
    has_path = table["path"].is_valid().to_numpy()
    kept = has_path & table["is_fake"].is_valid().to_numpy()
    problems = [RowProblem(int(row), "no path") for row in rows[~has_path]]
    # Counted in arrow: a million distinct paths need no Python dict.
    paths = table["path"].combine_chunks()
    counts = paths.filter(pa.array(kept)).value_counts()
    repeated = counts.field("values").filter(pa.compute.greater(counts.field("counts"), 1))
    if not len(repeated):
        return kept, problems
    inside = pa.compute.is_in(paths, value_set=repeated).to_numpy(zero_copy_only=False) & kept
    groups: dict[str, list[int]] = {}
    for index in np.flatnonzero(inside):
        groups.setdefault(paths[int(index)].as_py(), []).append(int(index))
    is_fake = table["is_fake"].to_numpy()
    for path, members in groups.items():
        first = int(rows[members[0]])
        if len({bool(is_fake[i]) for i in members}) == 1:
            drop, why = members[1:], f"path {path!r} stands in row {first} already"
        else:
            drop, why = members, f"path {path!r} is called both fake and real"
        kept[drop] = False
        problems += [RowProblem(int(rows[i]), why) for i in drop]
    return kept, problems
