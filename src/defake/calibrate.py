"""Fit a calibration and the unsure band to a detector's scores, and say how well they hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from defake.errors import BadDataset, MissingExtra
from defake.metrics.calibration import (
    Calibration,
    balanced_nll,
    brier,
    expected_calibration_error,
    fit_platt,
    probability_of,
    reliability_curve,
    unsure_band,
)
from defake.metrics.intervals import clusters_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from defake.store import Scores

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Quality:
    """How true probabilities are: calibration error, Brier score, balanced negative log-likelihood in nats."""

    calibration_error: float | None
    brier: float | None
    balanced_nll: float | None

    @classmethod
    def of(cls, is_fake: NDArray[np.bool_], fake_score: NDArray[np.float64]) -> Quality:
        """The three figures of labelled scores (n,)."""
        return cls(
            expected_calibration_error(is_fake, fake_score),
            brier(is_fake, fake_score),
            balanced_nll(is_fake, fake_score),
        )


@dataclass(frozen=True, slots=True)
class Fit:
    """A calibration, and the scores (n,) before it and, from the other folds' fit, after it.

    `after` is what the calibration does to images it has not seen; `by_source` says whether whole sources were left out
    for it. `unsure` is the share of images in the band.
    """

    calibration: Calibration
    is_fake: NDArray[np.bool_]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    by_source: bool
    unsure: float

    def quality(self) -> dict[str, Quality]:
        """Figures before and after."""
        return {"before": Quality.of(self.is_fake, self.before), "after": Quality.of(self.is_fake, self.after)}

    def as_dict(self) -> dict[str, Any]:
        """What is recorded beside the calibration."""
        figures = {name: asdict(quality) for name, quality in self.quality().items()}
        n_fake = int(self.is_fake.sum())
        counts = {"n_fake": n_fake, "n_real": len(self.is_fake) - n_fake}
        return {**counts, **figures, "after_is_cross_fitted_by_source": self.by_source, "unsure_share": self.unsure}


def fit_calibration(
    scores: Scores, now: Calibration, *, error: float = 0.05, rng: np.random.Generator | None = None
) -> Fit:
    """Fit to scores that a detector gave under its calibration `now`; rows without a score are left out.

    The band holds at most `error` of the photographs above it and of the fakes below it.

    Raises: BadDataset unless both classes have scores, or if these rank photographs above fakes.
    """
    rng = rng or np.random.default_rng(0)
    rows = scores.where(scores.answered)
    labels, before = rows.is_fake, rows.fake_score
    logits = now.logit(before)
    slope, intercept = fit_platt(labels, logits)
    fitted = Calibration(slope, intercept).score(logits)
    low, high = unsure_band(labels, fitted, error)
    folds, by_source = _folds(labels, clusters_of(rows.source), rng)
    after = np.empty(len(labels))
    for fold in np.unique(folds):
        held = folds == fold
        a, b = fit_platt(labels[~held], logits[~held])
        after[held] = probability_of(a * logits[held] + b)
    unsure = float(((fitted >= low) & (fitted < high)).mean())
    return Fit(Calibration(slope, intercept, low, high), labels, before, after, by_source, unsure)


def _folds(
    is_fake: NDArray[np.bool_], clusters: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], bool]:
    """(fold of each row, whether whole sources share one); every fold's complement holds both classes."""
    for by_source, codes in ((True, clusters), (False, np.arange(len(is_fake)))):
        _, units = np.unique(codes, return_inverse=True)
        order = rng.permutation(int(units.max()) + 1)
        folds = np.asarray(order[units] % FOLDS)
        if all(0 < is_fake[folds != fold].sum() < (folds != fold).sum() for fold in np.unique(folds)):
            return folds, by_source
    raise BadDataset(
        "too few images to check a calibration on others than it was fitted to: give at least 2 of each class"
    )


def draw_reliability(fit: Fit, path: Path, title: str) -> None:
    """Write the reliability picture (PNG): share of fakes against fake_score, before and after, and where scores lie.

    Raises: MissingExtra without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtra("the reliability picture", "evaluate", "matplotlib") from error
    figure = Figure(figsize=(5.2, 5.6), dpi=120, layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="a true probability")
    low, high = fit.calibration.real_below, fit.calibration.fake_above
    if high > low:
        top.axvspan(low, high, color="gold", alpha=0.25, linewidth=0, label=f"unsure: {low:.2f} to {high:.2f}")
    for name, scores, colour in (("before", fit.before, "tab:gray"), ("after", fit.after, "tab:blue")):
        curve = reliability_curve(fit.is_fake, scores)
        gap = expected_calibration_error(fit.is_fake, scores)
        label = f"{name}: calibration error {gap:.3f}"
        top.plot([b.mean_score for b in curve], [b.fake_share for b in curve], "o-", ms=4, color=colour, label=label)
        bottom.hist(scores, bins=30, range=(0, 1), histtype="step", color=colour)
    top.set(title=title, ylabel="share of generated images", xlim=(0, 1), ylim=(-0.02, 1.02))
    top.legend(loc="upper left", fontsize=8, frameon=False)
    bottom.set(xlabel="fake_score", ylabel="images")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
