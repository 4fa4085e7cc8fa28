"""FakeBench's detection queries (`FakeClass.json`) as a manifest; the images may be absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from defake.errors import BadDataset

from .columns import Manifest, RowProblem


def read_fakeclass(path: str | Path, *, root: str | Path | None = None) -> Manifest:
    """The 6,000 images FakeClass asks about; `authenticity` 0 is fake, 1 is real.

    The generator is the part of a fake's file name before its last `-`. The source is left open: FakeBench names none.
    The question and its expected answer are kept as further columns.

    Raises: BadDataset if the file is no list of queries.
    """
    path = Path(path)
    try:
        queries = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BadDataset(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(queries, list) or not any(isinstance(q, dict) and "authenticity" in q for q in queries):
        raise BadDataset(f"{path} is not FakeClass.json: expected a list of objects with image_id and authenticity")
    rows, problems = [], []
    for number, query in enumerate(queries, start=1):
        row = _row(query)
        if isinstance(row, str):
            problems.append(RowProblem(number, row))
        else:
            rows.append({**row, "row": number})
    names = ("path", "is_fake", "generator", "question", "answer", "row")
    columns = {name: [row[name] for row in rows] for name in names}
    base = Path(root) if root is not None else path.parent
    return Manifest.from_columns(columns, base, problems=problems, kind="fakebench")


def _row(query: Any) -> dict[str, Any] | str:
    """The columns of one query, or what is wrong with it."""
    if not isinstance(query, dict):
        return f"expected an object, got {type(query).__name__}"
    name, authenticity = query.get("image_id"), query.get("authenticity")
    if not isinstance(name, str) or not name:
        return "no image_id"
    if isinstance(authenticity, bool) or authenticity not in (0, 1):
        return f"authenticity {authenticity!r} is not 0 (fake) or 1 (real)"
    stem, dash, _ = name.rpartition("-")
    return {
        "path": name,
        "is_fake": authenticity == 0,
        "generator": stem if authenticity == 0 and dash else None,
        "question": str(query.get("question") or ""),
        "answer": str(query.get("answer") or ""),
    }
