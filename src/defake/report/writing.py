"""The page: what goes where, and the template that sets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from defake.errors import BadConfig, BadDataset, MissingExtra
from defake.evaluate import FIGURES
from defake.evaluate.matrix import cross_generator
from defake.evaluate.pairs import compare
from defake.published import load_table, misprints, printed
from defake.published.tables import TABLES

from . import pictures
from .gallery import worst_mistakes
from .runs import Run, read_runs
from .words import bounds, conclude, estimate_of, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defake.metrics.intervals import Estimate

# Pairs of images whose verdict changed, named in the diff of two runs.
CHANGES_NAMED = 10
COMPARED_AT_MOST = 6


def write_report(
    paths: Sequence[str | Path], out: str | Path, *, thumbnails: bool = True, mistakes: int = 12, title: str = ""
) -> Path:
    """Write the report of runs and give its path.

    A run is a folder of `defake evaluate` or `defake robustness`, or a file of scores. The page asks nobody for
    anything. `mistakes`: worst errors shown of each kind.

    Raises: BadConfig, BadDataset as `read_runs`; MissingExtra without Jinja2 or matplotlib.
    """
    runs, curves = read_runs(paths)
    html = _template().render(
        title=title or _title(runs, curves),
        runs=[_shown(run, thumbnails=thumbnails, mistakes=mistakes) for run in runs],
        figures=[{"key": key, "name": name, "lower": lower} for key, (name, lower) in FIGURES.items()],
        pictures=[pictures.roc(runs), pictures.roc(runs, low_fpr=True)] if runs else [],
        matrix=_matrix(runs),
        comparison=_comparison(runs),
        curves=[_curve(name, record) for name, record in curves.items()],
        published=[_published(name) for name in TABLES],
        thumbnails=thumbnails,
    )
    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise BadConfig(f"the report cannot be written to {path}: {error.strerror}") from error
    return path


def _template() -> Any:
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise MissingExtra("a report", "evaluate", "jinja2") from error
    # Names, paths and messages come from files: everything is escaped.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("defake.report", "."), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": percent, "bounds": bounds}
    return environment.get_template("page.html.j2")


def _title(runs: Sequence[Run], curves: dict[str, Any]) -> str:
    names = [run.name for run in runs] or list(curves)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _shown(run: Run, *, thumbnails: bool, mistakes: int) -> dict[str, Any]:
    evaluation = run.evaluation
    generators = [row for row in evaluation.rows if row.kind != "overall"]
    galleries = []
    for is_fake, heading in ((False, "Photographs called fake"), (True, "Generated images missed")):
        count, worst = worst_mistakes(run, is_fake=is_fake, limit=mistakes, thumbnails=thumbnails)
        galleries.append({"heading": heading, "count": count, "worst": worst})
    return {
        "name": run.name,
        "evaluation": evaluation,
        "whole": evaluation.overall,
        "generators": generators,
        "null": estimate_of(evaluation.zero_pixel_null),
        "conclusion": conclude(evaluation),
        "histogram": pictures.histogram(run),
        "reliability": pictures.reliability(run),
        "risk": pictures.risk(run),
        "galleries": galleries,
        "trained_on": (run.config.get("context") or {}).get("trained_on"),
        "config": json.dumps(run.config, indent=2, ensure_ascii=False),
        "versions": run.config.get("versions") or {},
        "errors": _errors(run),
    }


def _errors(run: Run) -> list[str]:
    """Images without a score and why, the first fifty."""
    tested = run.tested
    rows = np.flatnonzero(~tested.answered)
    return [f"{tested.path[row]}: {tested.error[row] or 'no answer'}" for row in rows[:50]]


def _matrix(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Detectors by generators as coloured cells; None where no generator is named."""
    rows = [(run.name, (run.config.get("context") or {}).get("trained_on"), run.evaluation) for run in runs]
    if not rows:
        return None
    matrix = cross_generator(rows)
    if not matrix.generators:
        return None
    return {
        "matrix": matrix,
        "rows": [
            {
                "name": row.detector,
                "trained_on": row.trained_on or (),
                "cells": [
                    _heat(row.cells.get(generator), seen=generator in (row.trained_on or ()))
                    for generator in matrix.generators
                ],
            }
            for row in matrix.rows
        ],
    }


def _heat(estimate: Estimate | None, *, seen: bool) -> dict[str, Any]:
    """A cell with its colour: white at chance, deep blue at 1, red below chance."""
    if estimate is None or estimate.value is None:
        return {"estimate": estimate, "background": "#f4f4f2", "ink": "#777", "seen": seen}
    strength = min(1.0, abs(estimate.value - 0.5) * 2) ** 1.5
    hue = (213, 94, 0) if estimate.value < 0.5 else (0, 90, 150)
    colour = [round(255 + (channel - 255) * strength) for channel in hue]
    return {
        "estimate": estimate,
        "background": "#{:02x}{:02x}{:02x}".format(*colour),
        "ink": "#fff" if strength > 0.55 else "#222",
        "seen": seen,
    }


def _comparison(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Every pair of the first six runs that share images, and which verdicts differ between the first two."""
    if len(runs) < 2:
        return None
    chosen = runs[:COMPARED_AT_MOST]
    thresholds = {run.name: run.evaluation.threshold.value for run in chosen}
    try:
        pairs = compare({run.name: run.scores for run in chosen}, runs[0].evaluation.protocol, thresholds)
    except (BadDataset, BadConfig) as error:
        return {"pairs": [], "why": str(error), "changes": None, "left_out": 0}
    return {"pairs": pairs, "why": "", "changes": _changes(runs[0], runs[1]), "left_out": len(runs) - len(chosen)}


def _changes(first: Run, second: Run) -> dict[str, Any]:
    """Images that both scored and only one got right, the largest change of score first."""
    one, two = first.tested, second.tested
    place = {path: row for row, path in enumerate(two.path)}
    rows = [(i, place[path]) for i, path in enumerate(one.path) if path in place]
    left, right = np.array(rows, dtype=np.intp).reshape(-1, 2).T
    before, after, is_fake = one.fake_score[left], two.fake_score[right], one.is_fake[left]
    both = ~np.isnan(before) & ~np.isnan(after)
    was_right = (before >= first.evaluation.threshold.value) == is_fake
    is_right = (after >= second.evaluation.threshold.value) == is_fake
    changed = np.flatnonzero(both & (was_right != is_right))
    order = changed[np.argsort(-np.abs(after - before)[changed], kind="stable")][:CHANGES_NAMED]
    return {
        "first": first.name,
        "second": second.name,
        "n_images": int(both.sum()),
        "only_first": int((both & was_right & ~is_right).sum()),
        "only_second": int((both & is_right & ~was_right).sum()),
        "worst": [
            {
                "path": one.path[left[i]],
                "label": "generated" if is_fake[i] else "photograph",
                "before": float(before[i]),
                "after": float(after[i]),
                "right": second.name if is_right[i] else first.name,
            }
            for i in order
        ],
    }


def _curve(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """The curves of one detector: pictures by family and a table, a row a perturbation."""
    points = record["points"]
    rows = []
    for spec in dict.fromkeys(point["spec"] for point in points[1:]):
        side = {p["applied_to"]: p for p in points if p["spec"] == spec}
        cells = [side[of][key] for of, key in _COLUMNS if of in side]
        rows.append({"spec": spec, "cells": [estimate_of(cell) for cell in cells]})
    clean = points[0]
    untouched = [estimate_of(clean[key] if of == "both" or key in ("fpr", "tpr") else None) for of, key in _COLUMNS]
    threshold = record.get("threshold") or {}
    return {
        "name": name,
        "pictures": pictures.robustness(record),
        "rows": [{"spec": "none (untouched)", "cells": untouched}, *rows],
        "sentences": record.get("sentences") or [],
        "counts": f"{clean['n_fake']} generated, {clean['n_real']} photographs",
        "threshold": threshold.get("value"),
    }


# Side, figure: a false positive rate is of photographs touched alone, a detection rate of generated images alone.
_COLUMNS = (
    ("both", "auc"), ("real", "auc"), ("fake", "auc"), ("both", "balanced_accuracy"), ("real", "fpr"), ("fake", "tpr"),
    ("real", "shift"), ("fake", "shift"),
)  # fmt: skip


def _published(name: str) -> dict[str, Any]:
    """A published table as printed, each cell with the misprints found in it."""
    found = misprints(name)
    flagged = {(one.model, column): str(one) for one in found for column in (one.column, *one.suspects)}
    rows = load_table(name)
    return {
        "name": name,
        "card": TABLES[name],
        "columns": [column.replace("_", " ") for column in rows[0]],
        "rows": [
            [
                (printed(name, column, value), flagged.get((str(row.get("model")), column), ""))
                for column, value in row.items()
            ]
            for row in rows
        ],
        "misprints": [str(one) for one in found],
    }
