"""Two detectors on the same images: which is better, and whether these images can tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from defake.errors import BadDataset

from .detection import Tally, defined
from .intervals import Estimate, draw, levels_of, percentile_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from .intervals import Codes, Floats

# Up to this many disagreements McNemar's test is exact; above, chi-squared with continuity correction. Source: ours;
# the two agree to three digits there.
EXACT_UP_TO = 1000


@dataclass(frozen=True, slots=True)
class McNemar:
    """How often only one of two is right, and the p-value of "equally often"; None where they never disagree."""

    only_first: int
    only_second: int
    p_value: float | None
    kind: str


def mcnemar(first_right: ArrayLike, second_right: ArrayLike) -> McNemar:
    """McNemar's test on the same images, (n,) and (n,) booleans. It takes images as independent.

    Source: McNemar (1947); Edwards (1948) for the correction.
    """
    first, second = np.asarray(first_right, dtype=np.bool_), np.asarray(second_right, dtype=np.bool_)
    if first.shape != second.shape or first.ndim != 1:
        raise BadDataset(f"both answers must be (n,) of the same images, but got {first.shape} and {second.shape}")
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    if b + c == 0:
        return McNemar(b, c, None, "never disagree")
    if b + c <= EXACT_UP_TO:
        tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))
        return McNemar(b, c, min(1.0, 2 * tail / 2 ** (b + c)), "exact")
    statistic = max(0, abs(b - c) - 1) ** 2 / (b + c)
    return McNemar(b, c, math.erfc(math.sqrt(statistic / 2)), "chi-squared")


@dataclass(frozen=True, slots=True)
class Difference:
    """First minus second, with its paired interval and two-sided bootstrap p-value."""

    estimate: Estimate
    p_value: float | None


def paired_bootstrap(
    metrics: tuple[Callable[[Tally], Floats], Callable[[Tally], Floats]],
    is_fake: NDArray[np.bool_],
    first: Floats,
    second: Floats,
    clusters: Codes,
    *,
    rng: np.random.Generator,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    keep: tuple[Sequence[float], Sequence[float]] = ((), ()),
) -> Difference:
    """Difference between two score columns (n,) of the same images, drawn together, by source and class.

    `metrics`: what is measured of the first and of the second (each may have its own threshold, named in `keep`). Rows
    that either left unanswered are out. The p-value is twice the smaller share of resamples on either side of 0,
    with one added to both counts. Source: Davison & Hinkley (1997) 4.4, with draws of `intervals.draw`.
    """
    answered = ~(np.isnan(first) | np.isnan(second))
    labels, groups, pair = is_fake[answered], clusters[answered], (first[answered], second[answered])
    values = [defined(metric(Tally.of(labels, scores))) for metric, scores in zip(metrics, pair, strict=True)]
    if values[0] is None or values[1] is None:
        return Difference(Estimate(None), None)
    placed = [levels_of(scores, labels, edges) for scores, edges in zip(pair, keep, strict=True)]
    counts = [np.zeros((2, n_resamples, len(levels)), dtype=np.float32) for levels, _ in placed]
    for kind, rows in enumerate((labels, ~labels)):
        _, codes = np.unique(groups[rows], return_inverse=True)
        for b in range(n_resamples):
            times = draw(codes, rng)
            for count, (levels, where) in zip(counts, placed, strict=True):
                count[kind, b] = np.bincount(where[rows], weights=times, minlength=len(levels))
    drawn = [metric(Tally(levels, *count)) for metric, (levels, _), count in zip(metrics, placed, counts, strict=True)]
    gap, value = drawn[0] - drawn[1], values[0] - values[1]
    gap = gap[~np.isnan(gap)]
    low, high = percentile_interval(gap, value, confidence)
    side = min((gap <= 0).sum(), (gap >= 0).sum())
    return Difference(Estimate(value, low, high, "bootstrap"), min(1.0, float(2 * (side + 1) / (len(gap) + 1))))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values in the same order; None stays None and does not count. Source: Holm (1979)."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[i] = highest
    return adjusted


def in_words(first: str, second: str, value: float | None, p_value: float | None, alpha: float = 0.05) -> str:
    """A comparison as a sentence; `p_value` after Holm."""
    if value is None:
        return f"{first} and {second} cannot be compared here: the figure is undefined"
    if p_value is None or p_value >= alpha or value == 0:
        return f"{first} and {second} cannot be separated on these images"
    better, worse = (first, second) if value > 0 else (second, first)
    return f"{better} is better than {worse}"
