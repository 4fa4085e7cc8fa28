"""One door to labelled images: CSV, Parquet, JSON or folder in, Manifest out."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from defake.errors import BadDataset

from . import fakeclass, folders, ricker, vlm_detect
from .columns import FIXED, TAGS, Manifest, RowProblem, describe_problems, import_pyarrow

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Manifest", "RowProblem", "describe_problems", "read_manifest", "write_manifest"]

FORMATS = """a CSV or Parquet file with the columns path,label[,generator,source,split,...], \
a CSV with image,text,label (VLM-DETECT, label 1 = fake), FakeBench's FakeClass.json, \
or a folder with a folder per class (real/fake, 0_real/1_fake, nature/ai) or in the layout of Ricker et al."""


def read_manifest(path: str | Path, *, root: str | Path | None = None) -> Manifest:
    """Read a data set in any of the formats we know; the format is found from the content.

    Relative paths are taken from `root`, or else from the folder the file lies in. Rows that cannot be used are left
    out and all listed in `problems`.

    Raises: BadDataset if the format is unknown or no row is usable; MissingExtra without pyarrow.
    """
    path = Path(path)
    base = Path(root) if root is not None else (path if path.is_dir() else path.parent)
    if path.is_dir():
        return ricker.read_ricker(path) if ricker.is_ricker(path) else folders.read_class_folders(path)
    if not path.is_file():
        raise BadDataset(f"no such file or folder: {path}; expected {FORMATS}")
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return _from_table(_read_parquet(path), base, [], path)
    if suffix == ".json":
        return fakeclass.read_fakeclass(path, root=root)
    if suffix in (".csv", ".tsv", ".txt"):
        table, problems = _read_csv(path)
        return _from_table(table, base, problems, path)
    raise BadDataset(f"cannot tell the format of {path}; expected {FORMATS}")


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write a manifest as CSV or Parquet, by suffix; paths become relative to the new file's folder where they can.

    Raises: BadDataset for another suffix.
    """
    pa = import_pyarrow()
    path = Path(path)
    table = manifest.table.drop_columns(["row", "is_fake"])
    paths = manifest.paths
    if manifest.root.resolve() != path.parent.resolve():
        paths = np.array([_relative(manifest.root / p, path.parent) for p in paths], dtype=object)
    words = np.where(manifest.is_fake, "fake", "real")
    columns = {"path": pa.array(paths, pa.string()), "label": pa.array(words)}
    columns |= {name: table[name].cast(pa.string()) for name in TAGS}
    columns |= {name: table[name] for name in manifest.extra_columns}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".csv":
        import pyarrow.csv as pacsv

        pacsv.write_csv(pa.table(columns), path, pacsv.WriteOptions(quoting_style="needed"))
    elif path.suffix.lower() in (".parquet", ".pq"):
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns), path)
    else:
        raise BadDataset(f"a manifest is written as .csv or .parquet, but got {path.name!r}")


def _relative(file: Path, folder: Path) -> str:
    try:
        return file.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return file.resolve().as_posix()


def _from_table(table: Any, base: Path, problems: list[RowProblem], path: Path) -> Manifest:
    """Tell our columns from VLM-DETECT's and label every row."""
    pa = import_pyarrow()
    columns = {name: table[name] for name in table.column_names}
    if "row" not in columns:
        columns["row"] = pa.array(np.arange(1, len(table) + 1))
    elif path.suffix.lower() in (".parquet", ".pq"):
        columns["row (file)"], columns["row"] = columns["row"], pa.array(np.arange(1, len(table) + 1))
    kind = "manifest"
    if "path" not in columns and {"image", "label"} <= set(columns):
        columns, found = vlm_detect.turn_labels(columns)
        kind = "vlm-detect"
    elif {"path", "label"} <= set(columns):
        columns, found = _parse_labels(columns)
    else:
        raise BadDataset(f"{path} has the columns {', '.join(table.column_names)}; expected {FORMATS}")
    return Manifest.from_columns(columns, base, problems=[*problems, *found], kind=kind)


def _parse_labels(columns: Mapping[str, Any]) -> tuple[dict[str, Any], list[RowProblem]]:
    """`label` (fake or real, any case) turned into `is_fake`."""
    pa = import_pyarrow()
    words = pa.compute.utf8_lower(pa.compute.utf8_trim_whitespace(columns["label"].cast(pa.string()).fill_null("")))
    is_fake, is_real = pa.compute.equal(words, "fake"), pa.compute.equal(words, "real")
    known = pa.compute.or_(is_fake, is_real)
    turned = {name: column for name, column in columns.items() if name != "label"}
    turned["is_fake"] = pa.compute.if_else(known, is_fake, pa.scalar(None, pa.bool_()))
    bad = np.flatnonzero(~known.to_numpy())
    hint = " (0 and 1 mean different things in different data sets: write the word)"
    rows = turned["row"].to_numpy()
    return turned, [
        RowProblem(int(rows[i]), f"label {word!r} is not 'fake' or 'real'{hint if word in ('0', '1') else ''}")
        for i, word in zip(bad, words.take(pa.array(bad)).to_pylist(), strict=True)
    ]


def _read_parquet(path: Path) -> Any:
    pa = import_pyarrow()
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadDataset(f"{path} cannot be read as Parquet: {error}") from error


def _read_csv(path: Path) -> tuple[Any, list[RowProblem]]:
    """The rows as text, with their number in `row`, and the rows whose width does not fit."""
    pa = import_pyarrow()
    import pyarrow.csv as pacsv

    names, delimiter, encoding = _header(path)
    problems: list[RowProblem] = []
    if encoding != "utf8":
        problems.append(RowProblem(0, "the file is not UTF-8; read as Latin-1, names with accents may be wrong"))

    def note(row: Any) -> str:
        problems.append(RowProblem(row.number - 1, f"{row.actual_columns} fields, expected {row.expected_columns}"))
        return "skip"

    try:
        table = pacsv.read_csv(
            path,
            # Single-threaded, so that a bad row knows its number.
            read_options=pacsv.ReadOptions(column_names=names, skip_rows=1, use_threads=False, encoding=encoding),
            parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note),
            convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except pa.ArrowInvalid as error:
        raise BadDataset(f"{path} cannot be read as CSV: {error}") from error
    numbers = np.arange(1, table.num_rows + len(problems) + 1)
    skipped = {problem.row for problem in problems}
    numbers = numbers[~np.isin(numbers, list(skipped))][: table.num_rows]
    if "row" in names:
        table = table.rename_columns(["row (file)" if name == "row" else name for name in names])
    return table.append_column("row", pa.array(numbers)), problems


def _header(path: Path) -> tuple[list[str], str, str]:
    """Column names (the fixed ones in lower case), the delimiter and the encoding of a CSV file."""
    with path.open("rb") as file:
        first = file.readline(1 << 20)
        encoding = "utf8"
        for block in iter(lambda: file.read(1 << 20) + file.readline(), b""):
            try:
                block.decode()
            except UnicodeDecodeError:
                encoding = "latin1"
                break
    line = first.decode("utf-8-sig", errors="replace").strip("\r\n")
    delimiter = max(",;\t", key=line.count)
    names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    names = [name.lower() if name.lower() in (*FIXED, "image", "text") else name for name in names]
    if len(set(names)) != len(names) or not any(names):
        raise BadDataset(f"{path} needs a header line with distinct column names, but starts with {line[:80]!r}")
    return names, delimiter, encoding
