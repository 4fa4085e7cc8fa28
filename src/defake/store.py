"""A run folder: the resolved config, and one row a scored image, kept through kills.

    RUN/config.json      schema version, what the scores depend on, versions, context
    RUN/scores.parquet   path, label, generator, source, split, fake_score, error
    RUN/parts/*.parquet  rows of a run that is not finished; read as well

Every file is written beside its place and renamed: a reader sees the old one or the new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .datasets.columns import import_pyarrow
from .errors import BadConfig, BadDataset
from .records import Label

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

SCHEMA_VERSION = 1
CONFIG, SCORES, PARTS = "config.json", "scores.parquet", "parts"
COLUMNS = ("path", "label", "generator", "source", "split", "fake_score", "error")
# What decodes and scores an image; another version may give another score, so a run is not continued with it.
LIBRARIES = ("defake", "numpy", "onnxruntime", "pillow", "torch", "transformers")
# Named in an error before "and N more".
QUOTED = 10


@dataclass(frozen=True, slots=True)
class Scores:
    """Scored images as columns of equal length (n,).

    `is_fake` bool; `fake_score` float64, NaN where there is no answer, with the reason in `error` if there is one; the
    others are object arrays of str or None.
    """

    path: NDArray[np.object_]
    is_fake: NDArray[np.bool_]
    generator: NDArray[np.object_]
    source: NDArray[np.object_]
    split: NDArray[np.object_]
    fake_score: NDArray[np.float64]
    error: NDArray[np.object_]

    def __post_init__(self) -> None:
        if len({len(column) for column in self.columns().values()}) > 1:
            raise BadDataset(f"columns must be of one length, but got {[len(c) for c in self.columns().values()]}")

    def __len__(self) -> int:
        return len(self.path)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns by name."""
        return {name: getattr(self, name) for name in self.__slots__}

    def where(self, mask: NDArray[np.bool_] | NDArray[np.intp]) -> Scores:
        """The rows of a mask (n,), or at these indices."""
        return Scores(**{name: column[mask] for name, column in self.columns().items()})

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Whether each row (n,) has a score."""
        return ~np.isnan(self.fake_score)


class RunFolder:
    """One detector's scores on one manifest. Make it with `start` or `open`."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = folder
        self.config = config
        self._parts_written = 0

    @classmethod
    def start(cls, folder: str | Path, depends_on: Mapping[str, Any], context: Mapping[str, Any] | None = None) -> Self:
        """Begin a run, or go on with the one that is there.

        `depends_on`: everything that a score is a function of (detector, weights hash, manifest hash, transform …), as
        plain JSON; it and the libraries' versions must equal those of a run already there. `context` is only recorded.

        Raises: BadConfig if the folder holds another run (every difference is named) or something else.
        """
        folder = Path(folder)
        wanted = json.loads(
            json.dumps({"schema_version": SCHEMA_VERSION, "depends_on": dict(depends_on), "versions": versions()})
        )
        if (folder / CONFIG).is_file():
            run = cls.open(folder)
            _require_same(folder, {key: run.config.get(key) for key in wanted}, wanted)
            return run
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadConfig(f"{folder} exists and holds no run (no {CONFIG}); name another folder")
        (folder / PARTS).mkdir(parents=True)
        config = {**wanted, "context": dict(context or {})}
        write_json(folder / CONFIG, config)
        return cls(folder, config)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """A run that is there.

        Raises: BadConfig if it is none, or of a newer schema.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            version = int(config["schema_version"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadConfig(f"{folder} is no run folder: {CONFIG} cannot be read ({error})") from error
        if version > SCHEMA_VERSION:
            raise BadConfig(f"{folder} has schema version {version}, this defake reads {SCHEMA_VERSION}; update defake")
        return cls(folder, config)

    def append(self, rows: Scores) -> None:
        """Add rows; they are on disk when this returns."""
        if not len(rows):
            return
        parts = self.folder / PARTS
        parts.mkdir(exist_ok=True)
        self._parts_written += 1
        name = f"{len(list(parts.iterdir())):08d}-{os.getpid()}-{self._parts_written}.parquet"
        write_scores(rows, parts / name)

    def scores(self) -> Scores:
        """All rows so far; of a path scored again (an error tried once more) the last.

        Raises: BadDataset if a file is damaged or there is no row.
        """
        found = [read_scores(path, repeated=True) for path in self._files()]
        if not found:
            raise BadDataset(f"{self.folder} holds no scores yet")
        columns = [scores.columns() for scores in found]
        together = Scores(**{name: np.concatenate([c[name] for c in columns]) for name in columns[0]})
        last = {path: row for row, path in enumerate(together.path)}
        return together if len(last) == len(together) else together.where(np.array(sorted(last.values())))

    def done(self) -> set[str]:
        """Paths that need no further try: scored, or left undecided by the detector."""
        if not self._files():
            return set()
        scores = self.scores()
        settled = scores.answered | np.array([error is None for error in scores.error])
        return set(scores.path[settled])

    def finish(self) -> None:
        """Gather all rows in one file; without a row there is nothing to gather."""
        if not self._files():
            return
        write_scores(self.scores(), self.folder / SCORES)
        # Killed here, the parts' rows are there twice, and read once.
        for part in sorted((self.folder / PARTS).glob("*")):
            part.unlink()
        with contextlib.suppress(OSError):
            (self.folder / PARTS).rmdir()

    def _files(self) -> list[Path]:
        whole = self.folder / SCORES
        return [*([whole] if whole.is_file() else []), *sorted((self.folder / PARTS).glob("*.parquet"))]


def _require_same(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    there, here = dict(_flat(found)), dict(_flat(wanted))
    unlike = [key for key in sorted({*there, *here}) if there.get(key) != here.get(key)]
    if unlike:
        named = "; ".join(f"{key} is {there.get(key)!r} there and {here.get(key)!r} here" for key in unlike[:6])
        raise BadConfig(f"{folder} holds another run: {named}. Name another folder, or delete it to start afresh")


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries a score may depend on, those that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object whole or not at all."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    draft.replace(path)


def write_scores(scores: Scores, path: Path) -> None:
    """Write scores as Parquet, whole or not at all; NaN becomes null."""
    pa = import_pyarrow()
    import pyarrow.parquet as pq

    text = {
        "path": scores.path,
        "label": np.where(scores.is_fake, Label.FAKE.value, Label.REAL.value),
        "generator": scores.generator,
        "source": scores.source,
        "split": scores.split,
        "error": scores.error,
    }
    columns = {name: pa.array(column, pa.string()) for name, column in text.items()}
    columns["fake_score"] = pa.array(scores.fake_score, pa.float64(), from_pandas=True)
    table = pa.table({name: columns[name] for name in COLUMNS})
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    pq.write_table(table, draft, compression="zstd")
    draft.replace(path)


def read_scores(path: str | Path, *, repeated: bool = False) -> Scores:
    """Scores from Parquet or CSV: the columns `path`, `label`, `fake_score`, and `generator` … where there are any.

    Further columns are left alone. An empty fake_score is no answer. `repeated` allows a path more than once.

    Raises: BadDataset if the file or a value cannot be read; all rows of one kind of fault are counted.
    """
    path = Path(path)
    table = _read_table(path)
    missing = [name for name in ("path", "label", "fake_score") if name not in table.column_names]
    if missing:
        raise BadDataset(f"{path} lacks {', '.join(missing)}; it has {', '.join(table.column_names) or 'no column'}")
    scores = Scores(
        path=_text(table, "path"),
        is_fake=_labels(table, path),
        fake_score=_numbers(table, path),
        **{name: _text(table, name) for name in ("generator", "source", "split", "error")},
    )
    _refuse(path, "without a path", np.array([not p for p in scores.path], dtype=bool), scores.path)
    known = scores.answered
    off = known & ~((scores.fake_score >= 0) & (scores.fake_score <= 1))
    _refuse(path, "whose fake_score is not in [0, 1]", off, scores.fake_score)
    if not repeated and len(set(scores.path)) < len(scores):
        first: dict[str, int] = {}
        again = np.array([first.setdefault(p, row) != row for row, p in enumerate(scores.path)])
        _refuse(path, "that repeat a path", again, scores.path)
    return scores


def _read_table(path: Path) -> Any:
    pa = import_pyarrow()
    try:
        if path.suffix.lower() != ".csv":
            import pyarrow.parquet as pq

            return pq.read_table(path)
        import pyarrow.csv as pacsv

        names = ("path", "label", "generator", "source", "split", "error")
        types = dict.fromkeys(names, pa.string())
        options = pacsv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
        return pacsv.read_csv(path, convert_options=options)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadDataset(f"cannot read the scores {path}: {error}; expected Parquet or .csv") from error


def _text(table: Any, name: str) -> NDArray[np.object_]:
    pa = import_pyarrow()
    if name not in table.column_names:
        return np.full(len(table), None, dtype=object)
    # Through the dictionary, so that a million rows share a handful of strings; paths are all different anyway.
    column = table[name].cast(pa.string())
    if name == "path":
        return np.array([*column.to_pylist(), None], dtype=object)[:-1]
    coded = column.combine_chunks().dictionary_encode()
    words = np.array([word or None for word in coded.dictionary.to_pylist()] + [None], dtype=object)
    return np.asarray(words[coded.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False)])


def _labels(table: Any, path: Path) -> NDArray[np.bool_]:
    words = np.array([str(word).strip().lower() for word in _text(table, "label")], dtype=object)
    is_fake = words == Label.FAKE.value
    _refuse(path, "whose label is neither fake nor real", ~(is_fake | (words == Label.REAL.value)), words)
    return np.asarray(is_fake, dtype=np.bool_)


def _numbers(table: Any, path: Path) -> NDArray[np.float64]:
    pa = import_pyarrow()
    try:
        column = table["fake_score"].cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise BadDataset(f"{path}: fake_score must be a number, or empty for no answer, but: {error}") from error
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _refuse(path: Path, what: str, bad: NDArray[np.bool_], values: Sequence[Any] | NDArray[Any]) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        named = ", ".join(f"row {row + 1}: {values[row]!s}" for row in rows[:QUOTED])
        more = f" and {len(rows) - QUOTED} more" if len(rows) > QUOTED else ""
        raise BadDataset(f"{path} has {len(rows)} rows {what}: {named}{more}")
