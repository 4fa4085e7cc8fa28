"""Bars with intervals and radars, as PNG or SVG."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defake.errors import BadConfig, MissingExtra

from .judge_prompts import DIMENSIONS
from .rendering import head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .tables import Line, Table

FORMATS = (".png", ".svg", ".pdf")
_OURS, _THEIRS, _REFERENCE = "#c0392b", "#7f8c9b", "#c9d1d9"
_LINES = ("#c0392b", "#1f77b4", "#2e8b57", "#8e5ea2", "#d98c00", "#444444")


def draw_bars(table: Table, path: str | Path, column: str = "") -> Path:
    """One bar a model by the ranking column, with its interval; ours stand out.

    Raises: BadConfig for an unknown column or file type; MissingExtra without matplotlib.
    """
    column = column or table.ranked_by or table.columns[-1]
    if column not in table.columns:
        raise BadConfig(f"unknown column {column!r}; known: {', '.join(table.columns)}")
    shown = [line for line in table.lines if column in line.cells and line.cells[column].value is not None]
    shown.sort(key=lambda line: line.cells[column].value or 0.0)
    if not shown:
        raise BadConfig(f"no model has a value for {column!r}: nothing to draw")
    figure, axes = _figure(7, 1.2 + 0.27 * len(shown))
    values = [line.cells[column].value or 0.0 for line in shown]
    bars = axes.barh([line.model for line in shown], values, color=[_colour(line) for line in shown], height=0.72)
    errors = [_error(line, column) for line in shown]
    for row, (value, error) in enumerate(zip(values, errors, strict=True)):
        if any(error):  # a figure without an interval gets no mark that looks like a narrow one
            axes.errorbar([value], [row], xerr=[[error[0]], [error[1]]], ecolor="#222222", elinewidth=1, capsize=2)
    furthest = max(v + e[1] for v, e in zip(values, errors, strict=True))
    for bar, line, (_, above) in zip(bars, shown, errors, strict=True):
        text = f"{line.cells[column].value:.{2 if table.percent else 3}f}"
        place = (line.cells[column].value or 0.0) + above + 0.01 * furthest
        axes.text(place, bar.get_y() + bar.get_height() / 2, text, va="center", fontsize=8)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    axes.set_xlim(min(0.0, *values), furthest * 1.12)
    axes.set_xlabel(head(column) + (", %" if table.percent and column not in ("d_prime", "criterion_c") else ""))
    axes.set_title(table.title.partition(". ")[0], fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", labelsize=8, length=0)
    return _save(figure, path)


def draw_radar(table: Table, path: str | Path, columns: Sequence[str], models: Sequence[str] = ()) -> Path:
    """One polygon a model over some columns: generators of Table V, or the metrics of Tables VI-VIII.

    `models` picks lines by name; none picks ours and the best published ones, six in all. A missing value breaks the
    polygon. Raises: BadConfig for fewer than three columns or no line; MissingExtra without matplotlib.
    """
    spokes = [c for c in columns if c in table.columns]
    if len(spokes) < 3:
        known = ", ".join(table.columns)
        raise BadConfig(f"a radar needs at least 3 columns of {known}; got {', '.join(columns) or 'none'}")
    lines = _chosen(table, models)
    judged = all(c in DIMENSIONS for c in spokes)
    limit = 100.0 if table.percent else 2.0 if judged else 1.0
    polygons = [(line.model, [_value(line, c) for c in spokes]) for line in lines]
    return _polygons(polygons, [head(c) for c in spokes], limit, table.title, path)


def draw_radar_of_parts(table: Table, path: str | Path, column: str) -> Path:
    """A radar of a breakdown: one spoke a value (criterion, generator), one polygon a model.

    Raises: as `draw_radar`.
    """
    if column not in table.columns:
        raise BadConfig(f"unknown column {column!r}; known: {', '.join(table.columns)}")
    spokes = list(dict.fromkeys(line.group for line in table.lines))
    models: dict[str, dict[str, float]] = {}
    for line in table.lines:
        name = line.model.rpartition(" | ")[0]
        models.setdefault(name, {})[line.group] = _value(line, column)
    if len(spokes) < 3:
        raise BadConfig(f"a radar needs at least 3 values, but {table.name} has {len(spokes)}; draw bars")
    polygons = [(name, [found.get(s, math.nan) for s in spokes]) for name, found in list(models.items())[: len(_LINES)]]
    highest = max((v for _, values in polygons for v in values if not math.isnan(v)), default=0.0)
    limit = 100.0 if table.percent else highest or 1.0
    return _polygons(polygons, spokes, limit, f"{table.title}: {head(column)}", path)


def _chosen(table: Table, models: Sequence[str]) -> list[Line]:
    if models:
        known = {line.model: line for line in table.lines}
        if unknown := [m for m in models if m not in known]:
            raise BadConfig(f"no line for {', '.join(unknown)}; known: {', '.join(known)}")
        return [known[m] for m in models][: len(_LINES)]
    ours = [line for line in table.lines if line.ours]
    theirs = [line for line in table.lines if not line.ours and line.group == "lmm"]
    chosen = (ours + theirs)[: len(_LINES)]
    if not chosen:
        raise BadConfig("the table has no line to draw")
    return chosen


def _value(line: Line, column: str) -> float:
    found = line.cells.get(column)
    return math.nan if found is None or found.value is None else found.value


def _polygons(
    polygons: Sequence[tuple[str, Sequence[float]]], spokes: Sequence[str], limit: float, title: str, path: str | Path
) -> Path:
    figure, axes = _figure(7.5, 6, polar=True)
    angles = [2 * math.pi * i / len(spokes) for i in range(len(spokes))]
    for (name, values), colour in zip(polygons, _LINES, strict=False):
        around, closed = [*angles, angles[0]], [*values, values[0]]
        axes.plot(around, closed, color=colour, linewidth=1.6, marker="o", markersize=3, label=name)
        axes.fill(around, [0 if math.isnan(v) else v for v in closed], color=colour, alpha=0.06)
    axes.set_theta_offset(math.pi / 2)
    axes.set_theta_direction(-1)
    axes.set_xticks(angles, [spoke.replace("_", " ") for spoke in spokes], fontsize=8)
    axes.set_ylim(0, limit)
    axes.tick_params(axis="x", pad=9)
    axes.tick_params(axis="y", labelsize=7, labelcolor="#666666")
    axes.set_title(title.partition(". ")[0], fontsize=10, pad=22)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncol=2, fontsize=8, frameon=False)
    return _save(figure, path)


def _colour(line: Line) -> str:
    if line.ours:
        return _OURS
    return _REFERENCE if line.group == "reference" else _THEIRS


def _error(line: Line, column: str) -> tuple[float, float]:
    found = line.cells[column]
    if found.value is None or found.low is None or found.high is None:
        return 0.0, 0.0
    return max(found.value - found.low, 0.0), max(found.high - found.value, 0.0)


def _figure(width: float, height: float, *, polar: bool = False) -> tuple[Any, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtra("charts", "bench", error.name or "matplotlib") from error
    # A figure of its own, no global state: charts are drawn in servers and tests alike.
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot(projection="polar" if polar else None)


def _save(figure: Any, path: str | Path) -> Path:
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise BadConfig(f"cannot draw {path.name!r}; expected a name that ends with {', '.join(FORMATS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
