"""Curves as inline SVG pictures, so that the page asks nobody for anything."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from defake.errors import MissingExtra
from defake.metrics.calibration import risk_coverage
from defake.metrics.detection import roc_curve
from defake.metrics.intervals import wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .runs import Run

# Okabe & Ito (2008): told apart by readers with any colour vision, and in greyscale by their order.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
FAKE, REAL = "#d55e00", "#0072b2"
SIDES = {
    "both": ("both classes", "#333333", "o"),
    "real": ("photographs only", REAL, "s"),
    "fake": ("generated only", FAKE, "^"),
}
_STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "axes.labelcolor": "#333333",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "defake",  # the same runs give the same file
}


class Drawing:
    """One figure with a single axes; leave the block and `uri` is the picture."""

    def __init__(self, width_in: float = 4.2, height_in: float = 3.6) -> None:
        try:
            import matplotlib as mpl
            from matplotlib.figure import Figure
        except ModuleNotFoundError as error:
            raise MissingExtra("the pictures of a report", "evaluate", error.name or "matplotlib") from error
        self._context = mpl.rc_context(_STYLE)
        self._context.__enter__()
        self.figure = Figure(figsize=(width_in, height_in), layout="constrained")
        self.axes: Any = self.figure.add_subplot()
        self.uri = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            if exception[0] is None:
                out = io.BytesIO()
                self.figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
                self.uri = "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()
        finally:
            self._context.__exit__(None, None, None)


def roc(runs: Sequence[Run], *, low_fpr: bool = False) -> str:
    """ROC curves with the frozen threshold as a dot; `low_fpr`: on a logarithmic axis, where deployment happens."""
    with Drawing() as drawing:
        axes = drawing.axes
        smallest = min((1 / max(1, run.evaluation.overall.n_real) for run in runs), default=1e-3)
        left = max(1e-4, min(0.01, smallest)) if low_fpr else 0.0
        grid = np.geomspace(1e-4, 1, 50) if low_fpr else np.array([0, 1])
        axes.plot(grid, grid, color="#bbbbbb", lw=0.8, ls=":")
        for run, colour in zip(runs, _cycle(len(runs)), strict=True):
            tested, auc = run.tested, run.evaluation.overall.figures["auc"].value
            if auc is None:
                continue
            fpr, tpr, _ = roc_curve(tested.is_fake, tested.fake_score)
            label = f"{_plain(run.name)}  {100 * auc:.1f}"
            axes.plot(fpr, tpr, color=colour, lw=1.6, label=label, drawstyle="steps-post")
            at = run.evaluation.overall.figures
            if at["fpr"].value is not None and at["tpr"].value is not None:
                # A rate of 0 has no place on a logarithmic axis: the dot stands at its edge.
                axes.plot(max(left, at["fpr"].value), at["tpr"].value, "o", color=colour, ms=5, clip_on=False)
        if low_fpr:
            axes.set(xscale="log", xlim=(left, 1))
        else:
            axes.set(xlim=(0, 1))
        axes.set(ylim=(0, 1), xlabel="photographs called fake (FPR)", ylabel="generated images caught (TPR)")
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="lower right", title="AUC, %" if not low_fpr else None, title_fontsize=8)
    return drawing.uri


def histogram(run: Run) -> str:
    """How the scores of both classes lie, with the threshold."""
    tested = run.tested
    with Drawing(4.2, 2.9) as drawing:
        for label, mask, colour in (("photographs", ~tested.is_fake, REAL), ("generated", tested.is_fake, FAKE)):
            scores = tested.fake_score[mask & tested.answered]
            if len(scores):
                weights = np.full(len(scores), 100 / len(scores))
                style = {"histtype": "stepfilled", "alpha": 0.45, "color": colour, "edgecolor": colour}
                drawing.axes.hist(
                    scores, np.linspace(0, 1, 31), weights=weights, label=f"{label} ({len(scores)})", **style
                )
        drawing.axes.axvline(run.evaluation.threshold.value, color="#333333", lw=1, ls="--", label="threshold")
        drawing.axes.set(xlim=(0, 1), xlabel="fake_score", ylabel="% of the class")
        drawing.axes.legend(loc="upper center")
    return drawing.uri


def reliability(run: Run) -> str:
    """Share of generated images among those with about the same score, with Wilson intervals."""
    with Drawing(4.2, 3.2) as drawing:
        axes = drawing.axes
        axes.plot([0, 1], [0, 1], color="#bbbbbb", lw=0.8, ls=":")
        bins = run.evaluation.reliability
        for one in bins:
            low, high = wilson(one["fake_share"] * one["n"], one["n"]) or (np.nan, np.nan)
            axes.plot([one["mean_score"]] * 2, [low, high], color=REAL, lw=1)
        most = max((one["n"] for one in bins), default=1)
        axes.scatter(
            [one["mean_score"] for one in bins], [one["fake_share"] for one in bins],
            s=[12 + 60 * one["n"] / most for one in bins], color=REAL, zorder=3,
        )  # fmt: skip
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="mean fake_score", ylabel="share that is generated")
    return drawing.uri


def risk(run: Run) -> str:
    """Share of wrong verdicts among the most certain images, against how many get a verdict."""
    with Drawing(4.2, 2.9) as drawing:
        axes, tested = drawing.axes, run.tested
        covered, wrong = risk_coverage(tested.is_fake, tested.fake_score, run.evaluation.threshold.value)
        axes.plot(100 * covered, 100 * wrong, color=REAL, lw=1.6)
        if len(wrong):
            axes.plot(100, 100 * wrong[-1], "o", color=REAL, ms=5, clip_on=False)
        axes.set(
            xlim=(0, 100), ylim=(0, None), xlabel="% of images with a verdict, most certain first", ylabel="% wrong"
        )
    return drawing.uri


def robustness(record: dict[str, Any]) -> list[tuple[str, str]]:
    """(family, picture) of each family: AUC from untouched to the last level, one line a side, 95 % intervals."""
    clean = record["points"][0]
    families: dict[str, list[dict[str, Any]]] = {}
    for point in record["points"][1:]:
        families.setdefault(point["family"], []).append(point)
    floor = min((p["auc"]["low"] for p in record["points"] if p["auc"]["low"] is not None), default=0.0)
    return [(family, _family(points, clean, max(0.0, floor - 0.03))) for family, points in families.items()]


def _family(points: Sequence[dict[str, Any]], clean: dict[str, Any], floor: float) -> str:
    specs = list(dict.fromkeys(point["spec"] for point in points))
    with Drawing(3.4, 2.7) as drawing:
        axes = drawing.axes
        for offset, (side, (label, colour, marker)) in zip((-0.09, 0, 0.09), SIDES.items(), strict=True):
            line = [clean, *(p for p in points if p["applied_to"] == side)]
            known = [(x, p["auc"]) for x, p in enumerate(line) if p["auc"]["value"] is not None]
            if not known:
                continue
            x = np.array([x for x, _ in known]) + offset
            y = np.array([auc["value"] for _, auc in known])
            spread = np.array([[auc["value"] - auc["low"], auc["high"] - auc["value"]] for _, auc in known]).T
            style = {"color": colour, "marker": marker, "ms": 4, "lw": 1.3, "elinewidth": 0.8, "label": label}
            axes.errorbar(x, y, yerr=np.maximum(spread, 0), **style)
        names = ["none", *(spec.partition(":")[2] if "+" not in spec else spec for spec in specs)]
        axes.set_xticks(range(len(names)), names)
        axes.set(ylim=(floor, 1.01), ylabel="AUC")
        axes.legend(loc="lower left", fontsize=7)
    return drawing.uri


def _cycle(n: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def _plain(text: str) -> str:
    """A legend entry: no mathtext, no hidden entry."""
    return text.replace("$", r"\$").lstrip("_")[:40]
