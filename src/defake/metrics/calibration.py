"""From a detector's logit to a probability and a word, and how true the probability is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from defake.errors import BadConfig, BadDataset
from defake.records import VerdictWord

from .detection import Tally, checked, defined, threshold_at_fpr

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Equal-width bins of the fake_score. Source: Guo et al. (2017) use 15.
CALIBRATION_BINS = 15
# How far a fitted map may stray from the identity before the prior pulls it back, in logit units: wide enough not to
# matter from some tens of images on, tight enough that perfectly separated classes give a finite slope. Source: ours.
PRIOR_SPREAD = 5.0


def logit_of(probability: ArrayLike, floor: float = 1e-7) -> NDArray[np.float64]:
    """Log-odds of probabilities, clipped to [floor, 1 - floor] so that 0 and 1 stay finite."""
    clipped = np.clip(np.asarray(probability, dtype=np.float64), floor, 1 - floor)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def probability_of(logit: ArrayLike) -> NDArray[np.float64]:
    """Logistic function, stable at both ends."""
    z = np.asarray(logit, dtype=np.float64)
    ez = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1 / (1 + ez), ez / (1 + ez)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """An affine map of the logit and the band in which no verdict is given.

    `fake_score = sigmoid(slope * logit + intercept)`; at least `fake_above` is `fake`, below `real_below` is `real`,
    between them `unsure`. Source: Platt (1999), with the band ours.
    """

    slope: float = 1.0
    intercept: float = 0.0
    real_below: float = 0.5
    fake_above: float = 0.5

    def __post_init__(self) -> None:
        if not all(np.isfinite([self.slope, self.intercept])) or self.slope <= 0:
            raise BadConfig(f"calibration must be finite with a positive slope, but got {self.slope}, {self.intercept}")
        if not 0 <= self.real_below <= self.fake_above <= 1:
            raise BadConfig(
                f"calibration needs 0 <= real_below <= fake_above <= 1, but got {self.real_below}, {self.fake_above}"
            )

    def score(self, logit: ArrayLike) -> NDArray[np.float64]:
        """Calibrated fake_score of each logit, same shape."""
        return probability_of(self.slope * np.asarray(logit, dtype=np.float64) + self.intercept)

    def logit(self, fake_score: ArrayLike) -> NDArray[np.float64]:
        """The detector's logit behind each calibrated fake_score; scores of exactly 0 or 1 are clipped."""
        return np.asarray((logit_of(fake_score) - self.intercept) / self.slope)

    def word(self, fake_score: float) -> VerdictWord:
        """The verdict of a calibrated fake_score."""
        if fake_score >= self.fake_above:
            return VerdictWord.FAKE
        return VerdictWord.REAL if fake_score < self.real_below else VerdictWord.UNSURE


def probabilities(is_fake: ArrayLike, fake_score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Labels and scores (n,) without the unanswered.

    Raises: BadDataset if a score lies outside [0, 1].
    """
    labels, scores = checked(is_fake, fake_score)
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        raise BadDataset(f"a fake_score lies in [0, 1], but got {scores.min():g} to {scores.max():g}")
    return labels, scores


def tally_brier(tally: Tally) -> NDArray[np.float64]:
    """Mean squared error of the probability, (...,); NaN without an image."""
    errors = tally.fakes * (1 - tally.levels) ** 2 + tally.reals * tally.levels**2
    total = (tally.fakes + tally.reals).sum(-1, dtype=np.float64)
    return np.asarray(np.divide(errors.sum(-1), total, out=np.full(total.shape, np.nan), where=total > 0))


def tally_calibration_error(tally: Tally, n_bins: int = CALIBRATION_BINS) -> NDArray[np.float64]:
    """Expected calibration error of the probability of "fake", (...,); NaN without an image. See the function below."""
    places = _bins_of(tally.levels, n_bins)
    weight = tally.fakes + tally.reals
    total = weight.sum(-1, dtype=np.float64)
    gap = np.zeros(total.shape)
    for place in np.unique(places):
        rows = places == place
        gap += np.abs((weight[..., rows] * tally.levels[rows]).sum(-1) - tally.fakes[..., rows].sum(-1))
    return np.asarray(np.divide(gap, total, out=np.full(total.shape, np.nan), where=total > 0))


def bin_edges(n_bins: int = CALIBRATION_BINS) -> NDArray[np.float64]:
    """Inner edges (n_bins - 1,) of the equal-width calibration bins.

    Raises: BadConfig for less than one bin.
    """
    if n_bins < 1:
        raise BadConfig(f"n_bins must be at least 1, but got {n_bins}")
    return np.arange(1, n_bins) / n_bins


def _bins_of(scores: NDArray[np.float64], n_bins: int) -> NDArray[np.intp]:
    return np.searchsorted(bin_edges(n_bins), scores, side="right")


def expected_calibration_error(
    is_fake: ArrayLike, fake_score: ArrayLike, n_bins: int = CALIBRATION_BINS
) -> float | None:
    """Mean over images of |share of fakes - mean fake_score| in their bin; None without a score.

    The bins are `n_bins` of equal width in [0, 1], closed below. This is the error of the probability of "fake", not of
    the confidence in the chosen class. Source: Naeini et al. (2015).
    """
    return defined(tally_calibration_error(Tally.of(*probabilities(is_fake, fake_score)), n_bins))


def brier(is_fake: ArrayLike, fake_score: ArrayLike) -> float | None:
    """Mean squared error of the probability; None without a score. Source: Brier (1950)."""
    return defined(tally_brier(Tally.of(*probabilities(is_fake, fake_score))))


def balanced_nll(is_fake: ArrayLike, fake_score: ArrayLike, floor: float = 1e-7) -> float | None:
    """Mean of the two classes' mean negative log-likelihood, in nats; ln 2 says nothing, above it misleads.

    None unless both classes are there. Over ln 2 it is Cllr. Source: Brummer & du Preez (2006).
    """
    labels, scores = probabilities(is_fake, fake_score)
    if not labels.any() or labels.all():
        return None
    clipped = np.clip(scores, floor, 1 - floor)
    return float((-np.log(clipped[labels]).mean() - np.log1p(-clipped[~labels]).mean()) / 2)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One bin of a reliability curve: [low, high), mean score, share of fakes, number of images."""

    low: float
    high: float
    mean_score: float
    fake_share: float
    n: int


def reliability_curve(
    is_fake: ArrayLike, fake_score: ArrayLike, n_bins: int = CALIBRATION_BINS
) -> list[ReliabilityBin]:
    """The bins of the calibration error that hold an image, in order."""
    labels, scores = probabilities(is_fake, fake_score)
    places = _bins_of(scores, n_bins)
    return [
        ReliabilityBin(
            float(place / n_bins),
            float((place + 1) / n_bins),
            float(scores[rows].mean()),
            float(labels[rows].mean()),
            int(rows.sum()),
        )
        for place in np.unique(places)
        for rows in [places == place]
    ]


def risk_coverage(
    is_fake: ArrayLike, fake_score: ArrayLike, threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What giving no verdict on the least certain images buys: (coverage, risk), each (t,), coverage ascending to 1.

    `coverage` is the share of the scored images that get a verdict, the most certain first; `risk` the share of these
    that the threshold calls wrongly. Certainty is the distance of the score from the threshold in log-odds; images of
    equal certainty come together. Empty without scores. Source: Geifman & El-Yaniv (2017).

    Raises: BadDataset if a score lies outside [0, 1].
    """
    labels, scores = probabilities(is_fake, fake_score)
    certainty = np.abs(logit_of(scores) - logit_of(threshold))
    order = np.argsort(-certainty, kind="stable")
    wrong = np.cumsum(((scores >= threshold) != labels)[order])
    last = np.flatnonzero(np.diff(certainty[order], append=-1.0))
    return (last + 1) / max(1, len(scores)), wrong[last] / (last + 1)


def fit_platt(is_fake: ArrayLike, logit: ArrayLike, spread: float = PRIOR_SPREAD) -> tuple[float, float]:
    """(slope, intercept) that make `sigmoid(slope * logit + intercept)` a probability at equal priors.

    Newton's method on the class-balanced negative log-likelihood with Platt's smoothed targets and a Gaussian prior
    N(1, spread) on the slope, N(0, spread) on the intercept. Source: Platt (1999); Lin et al. (2007); the prior ours.

    Raises: BadDataset unless both classes are there, or if the logits rank reals above fakes.
    """
    labels, z = checked(is_fake, logit)
    n_fake, n_real = int(labels.sum()), int((~labels).sum())
    if not (n_fake and n_real):
        raise BadDataset(f"a calibration needs fakes and reals, but got {n_fake} and {n_real}")
    targets = np.where(labels, (n_fake + 1) / (n_fake + 2), 1 / (n_real + 2))
    weights = np.where(labels, 0.5 / n_fake, 0.5 / n_real) * len(z)
    design = np.stack([z, np.ones_like(z)], axis=1)
    prior, start = 1 / spread**2, np.array([1.0, 0.0])

    def loss(beta: NDArray[np.float64]) -> float:
        line = design @ beta
        return float(
            (weights * (np.logaddexp(0, line) - targets * line)).sum() + prior * ((beta - start) ** 2).sum() / 2
        )

    beta = start.copy()
    for _ in range(200):
        p = probability_of(design @ beta)
        slope = design.T @ (weights * (p - targets)) + prior * (beta - start)
        curve = design.T @ (design * (weights * p * (1 - p))[:, None]) + prior * np.eye(2)
        step, now = np.linalg.solve(curve, slope), loss(beta)
        # Halved until it helps: from far away a full Newton step may overshoot.
        scale = next((s for s in 0.5 ** np.arange(40) if loss(beta - s * step) <= now), 0.0)
        beta = beta - scale * step
        if np.abs(scale * step).max() < 1e-10:
            break
    if beta[0] <= 0:
        raise BadDataset(
            "these scores rank photographs above generated images: check the labels, nothing is calibrated"
        )
    return float(beta[0]), float(beta[1])


def unsure_band(is_fake: ArrayLike, fake_score: ArrayLike, error: float = 0.05) -> tuple[float, float]:
    """(real_below, fake_above): at most `error` of the reals are called fake, and of the fakes real.

    Where one threshold keeps both promises there is no band: 0.5, or the permitted value nearest to it. Source: ours.

    Raises: BadDataset unless both classes are there; BadConfig unless 0 <= error < 1.
    """
    if not 0 <= error < 1:
        raise BadConfig(f"the declared error must lie in [0, 1), but got {error!r}")
    labels, scores = probabilities(is_fake, fake_score)
    if not labels.any() or labels.all():
        raise BadDataset("the unsure band needs scored fakes and scored reals, but one class is missing")
    fake_above = min(1.0, threshold_at_fpr(labels, scores, error))
    fakes = np.sort(scores[labels])
    real_below = float(fakes[int(np.floor(error * len(fakes) + 1e-9))])
    if real_below > fake_above:
        both = min(max(0.5, fake_above), real_below)
        return both, both
    return real_below, fake_above
