"""Figures on collections a model never saw: AUC and rates with intervals, the calibration, the zero-pixel null."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from defake.metrics.detection import auc

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from .crops import Crop


def interval(
    measure: Callable[[NDArray[np.int64]], float | None], groups: NDArray[Any], rng: Generator, draws: int = 1000
) -> tuple[float, float] | None:
    """95 % percentile interval over resamples of indices within each group; None if the measure is undefined."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    found = [measure(np.concatenate([rng.choice(m, len(m)) for m in members])) for _ in range(draws)]
    known = [value for value in found if value is not None]
    if len(known) < draws:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def auc_rows(crops: Sequence[Crop], logit: NDArray[np.float64], seed: int = 0) -> dict[str, Any]:
    """AUC over all crops, its interval (images resampled within collection and class), and AUC per collection."""
    fake = np.array([crop.is_fake for crop in crops])
    source = np.array([crop.source for crop in crops])
    rng = np.random.default_rng(seed)
    groups = np.char.add(source, np.where(fake, "+", "-"))
    found: dict[str, Any] = {
        "auc": auc(fake, logit),
        "interval": interval(lambda i: auc(fake[i], logit[i]), groups, rng),
        "collections": {},
    }
    for name in sorted(set(source.tolist())):
        at = np.flatnonzero(source == name)
        own_fake, own = fake[at], logit[at]
        found["collections"][name] = {
            "fake": int(own_fake.sum()),
            "real": int((~own_fake).sum()),
            "auc": auc(own_fake, own),
            "interval": interval(_auc_of(own_fake, own), own_fake, rng, 500),
        }
    return found


def _auc_of(fake: NDArray[np.bool_], logit: NDArray[np.float64]) -> Callable[[NDArray[np.int64]], float | None]:
    return lambda i: auc(fake[i], logit[i])


def calibrate(
    crops: Sequence[Crop], logit: NDArray[np.float64], false_alarms: float = 0.05, set_aside: int = 1
) -> dict[str, float]:
    """Slope and intercept of a Platt fit at equal priors, and the band: see `metrics.calibration.Calibration`.

    Collections count alike within a class. `fake_above` is reached by at most `false_alarms` of the photographs, in the
    mean over collections without the `set_aside` worst (photographs of one unlike all others would else decide alone).
    Under `real_below` lie at most a fifth of the fakes, and it is at most 0.5.
    """
    fake = np.array([crop.is_fake for crop in crops])
    source = np.array([crop.source for crop in crops])
    weight = np.zeros(len(crops))
    for name in set(source.tolist()):
        for members in (fake, ~fake):
            own = members & (source == name)
            weight[own] = 1 / max(own.sum(), 1)
    for members in (fake, ~fake):
        weight[members] /= 2 * weight[members].sum()
    slope, intercept = _platt(fake, logit, weight)
    score = 1 / (1 + np.exp(-(slope * logit + intercept)))
    above = _edge(
        [score[(source == name) & ~fake] for name in sorted(set(source[~fake].tolist()))], false_alarms, set_aside
    )
    order = np.argsort(score[fake])
    below = score[fake][order][np.searchsorted(np.cumsum(weight[fake][order]), 0.5 * 0.2)]
    return {
        "slope": slope,
        "intercept": intercept,
        "real_below": float(min(below, 0.5, above)),
        "fake_above": above,
    }


def _platt(fake: NDArray[np.bool_], logit: NDArray[np.float64], weight: NDArray[np.float64]) -> tuple[float, float]:
    design, fit = np.stack([logit, np.ones_like(logit)], 1), np.zeros(2)
    for _ in range(100):  # Newton steps of the weighted logistic regression
        p = 1 / (1 + np.exp(-design @ fit))
        gradient = design.T @ (weight * (p - fake))
        curve = design.T @ (design * (weight * p * (1 - p))[:, None]) + 1e-9 * np.eye(2)
        fit = fit - np.linalg.solve(curve, gradient)
    return max(float(fit[0]), 1e-3), float(fit[1])


def _edge(scores: Sequence[NDArray[np.float64]], false_alarms: float, set_aside: int) -> float:
    aside = min(set_aside, len(scores) - 1)
    for edge in np.unique(np.concatenate(scores)):
        rates = sorted(float((own >= edge).mean()) for own in scores)
        if np.mean(rates[: len(rates) - aside]) <= false_alarms:
            return float(edge)
    return 1.0


def zero_pixel_null(crops: Sequence[Crop]) -> float | None:
    """AUC of the original's longest side alone: what a detector would reach that looks at no pixel."""
    side = np.array([crop.origin_side_px for crop in crops], dtype=np.float64)
    found = auc(np.array([crop.is_fake for crop in crops]), side)
    return None if found is None else max(found, 1 - found)
