"""A table as text: Markdown, CSV, JSON, or columns for a terminal."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from defake.published import GENERATORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defake.metrics.intervals import Estimate

    from .tables import Line, Table

_HEADS = {
    "yes_or_no": "yes/no",
    "auto_avg": "auto avg",
    "judge_avg": "judge avg",
    "d_prime": "d'",
    "criterion_c": "c",
    "auc": "AUC",
    "answered_only": "answered only",
    "fault_rate": "fault rate",
    "clue_precision": "clue precision",
    "clue_recall": "clue recall",
}
_SHORT = {
    "completeness": "compl.",
    "preciseness": "precis.",
    "relevance": "relev.",
    "auto_avg": "auto",
    "judge_avg": "judge",
    "clue_recall": "clues",
    "fault_rate": "faults",
}
# What fits into 80 columns; everything is in the other forms.
_NARROW = {
    True: ("fake", "real", "what", "yes_or_no", "overall"),
    False: ("auto_avg", "completeness", "preciseness", "relevance", "judge_avg", "overall"),
}


def number(table: Table, column: str, found: Estimate | None) -> str:
    """A value as the paper prints its kind: two decimals for percentages, three for shares, a dash for none."""
    if found is None or found.value is None:
        return "-"
    return f"{found.value:.2f}" if table.percent or column in ("d_prime", "criterion_c") else f"{found.value:.3f}"


def cell(table: Table, line: Line, column: str, *, interval: bool = False) -> str:
    """A value, `*` behind a misprint, and on request its interval."""
    found = line.cells.get(column)
    text = (
        f"{found.value:.3f}" if column == "auc" and found and found.value is not None else number(table, column, found)
    )
    if column in line.misprinted:
        text += "*"
    # Rounding is no uncertainty anyone wants to read twice in one cell.
    shown = interval and found is not None and found.interval != "rounding"
    if shown and found is not None and found.low is not None and found.high is not None:
        places = 2 if table.percent else 3
        text += f" [{found.low:.{places}f}, {found.high:.{places}f}]"
    return text


def head(column: str, *, short: bool = False) -> str:
    """A column's heading; `short` for a terminal."""
    if short and column in _SHORT:
        return _SHORT[column]
    return _HEADS.get(column, column)


def rows(table: Table, columns: Sequence[str]) -> list[list[str]]:
    """The cells of every line as text: rank, model, the columns (the ranking one with its interval), n."""
    found = []
    for line in table.lines:
        place = "" if line.rank is None else str(line.rank)
        group = "" if line.rank is None else str(line.rank.group)
        name = f"{line.model} (ours)" if line.ours and table.ranked_by else line.model
        values = [cell(table, line, c, interval=c == table.ranked_by) for c in columns]
        found.append([place, group, name, *values, "" if line.n is None else str(line.n)])
    return found


def to_markdown(table: Table) -> str:
    """The whole table with its notes; ranks with the places they may truly be, and groups of ties."""
    heads = ["rank", "tie group", "model", *(head(c) for c in table.columns), "n"]
    lines = [f"### {table.title}", "", "| " + " | ".join(heads) + " |"]
    lines.append("|" + "|".join(" --- " if h == "model" else " ---: " for h in heads) + "|")
    lines += ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in rows(table, table.columns)]
    lines += ["", *(f"- {note}" for note in table.notes)]
    return "\n".join(lines).rstrip() + "\n"


def to_csv(table: Table) -> str:
    """One line a model with unrounded values; `<column>_low` and `<column>_high` where there is an interval."""
    names = [
        "model",
        "ours",
        "group",
        "n",
        "rank",
        "rank_best",
        "rank_worst",
        "tie_group",
        "printed_rank",
        "misprinted",
    ]
    names += [f"{c}{end}" for c in table.columns for end in ("", "_low", "_high")]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for line in table.lines:
        fixed = _fixed(line) | {"misprinted": " ".join(sorted(line.misprinted))}
        cells = {f"{c}{end}": value for c in table.columns for end, value in _ends(line.cells.get(c))}
        writer.writerow({key: "" if value is None else value for key, value in (fixed | cells).items()})
    return out.getvalue()


def to_json(table: Table) -> str:
    """The table as one JSON object; undefined values are null."""
    lines = []
    for line in table.lines:
        cells = {c: line.cells[c].as_dict() for c in table.columns if c in line.cells}
        lines.append(_fixed(line) | {"misprinted": sorted(line.misprinted), "cells": cells})
    whole = {"table": table.name, "title": table.title, "percent": table.percent, "ranked_by": table.ranked_by}
    return json.dumps(whole | {"lines": lines, "notes": list(table.notes)}, indent=2, ensure_ascii=False) + "\n"


def narrow_columns(table: Table) -> tuple[str, ...]:
    """The columns a terminal of 80 places has room for."""
    if set(GENERATORS) & set(table.columns) or "auto_avg" in table.columns:
        extra = () if table.ranked_by else ("clue_recall", "fault_rate")
        return tuple(c for c in (*_NARROW[table.percent], *extra) if c in table.columns)
    return tuple(c for c in table.columns if c != "answered_only" or not table.ranked_by)


def _ends(found: Estimate | None) -> list[tuple[str, float | None]]:
    if found is None:
        return [("", None), ("_low", None), ("_high", None)]
    return [("", found.value), ("_low", found.low), ("_high", found.high)]


def _fixed(line: Line) -> dict[str, Any]:
    return {
        "model": line.model,
        "ours": line.ours,
        "group": line.group,
        "n": line.n,
        "rank": line.rank.place if line.rank else None,
        "rank_best": line.rank.best if line.rank else None,
        "rank_worst": line.rank.worst if line.rank else None,
        "tie_group": line.rank.group if line.rank else None,
        "printed_rank": line.printed_rank,
    }
