"""Trained on one generator, tested on another: the table that shows what a detector has learned."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from defake.errors import BadConfig

from .figures import FIGURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defake.metrics.intervals import Estimate

    from .figures import Evaluation


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One detector: the generators it was trained on (None: not known), and its figure per test generator."""

    detector: str
    trained_on: tuple[str, ...] | None
    cells: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows by detector, columns by test generator.

    `off_diagonal_mean` and `worst` look at the cells whose generator the detector was not trained on, of the detectors
    that say what they were trained on; the diagonal never enters. None where there is no such cell. `skipped` names
    what they leave out.
    """

    metric: str
    generators: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    off_diagonal_mean: float | None
    n_off_diagonal: int
    worst: tuple[str, str, float] | None
    skipped: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def cross_generator(evaluations: Sequence[tuple[str, Sequence[str] | None, Evaluation]], metric: str = "auc") -> Matrix:
    """The matrix of (detector, generators it was trained on, evaluation) rows.

    Raises: BadConfig for an unknown metric, no run, or a detector twice.
    """
    if metric not in FIGURES:
        raise BadConfig(f"unknown metric {metric!r}; known: {', '.join(FIGURES)}")
    names = [name for name, _, _ in evaluations]
    if not names or len(set(names)) < len(names):
        raise BadConfig(f"a matrix needs runs of distinct names, but got {', '.join(names) or 'none'}")
    rows = tuple(
        MatrixRow(
            name,
            tuple(trained) if trained else None,
            {row.name: row.figures[metric] for row in evaluation.rows if row.kind == "generator"},
        )
        for name, trained, evaluation in evaluations
    )
    unseen = [
        (row.detector, generator, cell.value)
        for row in rows
        if row.trained_on is not None
        for generator, cell in row.cells.items()
        if generator not in row.trained_on and cell.value is not None
    ]
    lower_is_better = FIGURES[metric][1]
    worst = (max if lower_is_better else min)(unseen, key=lambda cell: cell[2], default=None)
    return Matrix(
        metric,
        tuple(sorted({generator for row in rows for generator in row.cells})),
        rows,
        float(np.mean([value for _, _, value in unseen])) if unseen else None,
        len(unseen),
        worst,
        _skipped(rows),
    )


def _skipped(rows: Sequence[MatrixRow]) -> tuple[str, ...]:
    out = [f"{row.detector}: its training generators are not known" for row in rows if row.trained_on is None]
    out += [
        f"{row.detector} on {generator}: undefined"
        for row in rows
        for generator, cell in row.cells.items()
        if cell.value is None
    ]
    return tuple(out)
