"""How far a figure could be off: Wilson for shares, bootstrap by source for the rest.

Images of one collection resemble each other, so the source is what is drawn again, not the image. Which kind a figure
has is written beside it (`Estimate.interval`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from defake.errors import BadConfig

from .detection import Tally, defined

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Codes: TypeAlias = NDArray[np.int64]

# Below this many sources, drawing whole sources alone gives intervals that are too narrow: with two of them that happen
# to agree, none at all. The images within a drawn source are then drawn as well. Source: ours (checked in the tests).
FEW_SOURCES = 10
# Resamples count scores at quantiles of each class where there are more distinct ones; the estimate itself is exact.
# The top of the reals is finer, for TPR at a small FPR is read there. Source: ours (checked in the tests).
QUANTILES = np.linspace(0, 1, 129)[1:-1]
TOP_QUANTILES = np.linspace(0.94, 1, 121)[:-1]
MAX_DISTINCT = 1024
# Up to this many sources their counts are held as a table (sources, levels).
MAX_TABLED_SOURCES = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; `value` None is undefined, `interval` names the kind: `wilson`, `bootstrap`, both."""

    value: float | None
    low: float | None = None
    high: float | None = None
    interval: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def z_of(confidence: float) -> float:
    """Two-sided normal quantile.

    Raises: BadConfig unless 0 < confidence < 1.
    """
    if not 0 < confidence < 1:
        raise BadConfig(f"confidence must lie between 0 and 1, but got {confidence!r}")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson(hits: float, n: float, confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval of a share `hits / n`; None if n is 0. Fractional n is an effective sample size.

    Source: Wilson (1927).
    """
    z = z_of(confidence)
    if n <= 0:
        return None
    if not 0 <= hits <= n:
        raise BadConfig(f"hits must lie in [0, {n}], but got {hits}")
    share, grow = hits / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / grow
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / grow
    # At 0 and n the formula is exact on paper and off by a rounding error in floats.
    return (0.0 if hits == 0 else float(centre - half), 1.0 if hits == n else float(centre + half))


def clusters_of(sources: Sequence[str | None] | NDArray[Any], n: int | None = None) -> Codes:
    """An integer code (n,) per row: rows of one source share it, a row without a source has its own."""
    n = len(sources) if n is None else n
    names = np.asarray(sources, dtype=object)
    codes = np.zeros(n, dtype=np.int64)
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        codes[row] = seen.setdefault(name, len(seen)) if name else -1
    lonely = codes < 0
    codes[lonely] = len(seen) + np.arange(int(lonely.sum()))
    return codes


def effective_size(hit: ArrayLike, clusters: Codes) -> float:
    """Number of independent images that would give a share as uncertain as these clustered ones: in (0, n].

    n over the design effect (at least 1) of the linearised cluster variance. A single cluster, or a share of 0 or 1,
    tells nothing about the effect: n itself. Source: Korn & Graubard (1998); with Wilson, Dean & Pagano (2015).
    """
    hits = np.asarray(hit, dtype=np.float64)
    n = len(hits)
    if not n:
        return 0.0
    share = hits.mean()
    _, rows = np.unique(clusters, return_inverse=True)
    k = int(rows.max()) + 1
    if k < 2 or share in (0.0, 1.0):
        return float(n)
    sums = np.bincount(rows, weights=hits - share)
    clustered = k / (k - 1) * (sums**2).sum() / n**2
    return float(n / max(1.0, clustered / (share * (1 - share) / n)))


def share(hit: ArrayLike, clusters: Codes, confidence: float = 0.95) -> Estimate:
    """A share of images (n,) with the Wilson interval at its effective sample size."""
    hits = np.asarray(hit, dtype=np.float64)
    if not len(hits):
        return Estimate(None)
    value, size = float(hits.mean()), effective_size(hits, clusters)
    low, high = wilson(value * size, size, confidence) or (None, None)
    return Estimate(value, low, high, "wilson")


def wider(one: Estimate, other: Estimate) -> Estimate:
    """The value of the first with the hull of both intervals, and both kinds named."""
    lows = [e.low for e in (one, other) if e.low is not None]
    highs = [e.high for e in (one, other) if e.high is not None]
    kinds = "+".join(e.interval for e in (one, other) if e.interval)
    return Estimate(one.value, min(lows, default=None), max(highs, default=None), kinds)


def draw(clusters: Codes, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each image (n,) occurs in one resample of one class.

    As many sources are drawn with replacement as there are, each with all of its images; with fewer than FEW_SOURCES,
    the images of a drawn source are drawn too (Poisson, so the total varies; every metric is a ratio).
    `clusters` (n,) are codes 0..k-1. Source: Davison & Hinkley (1997) 3.8; Hanley & MacGibbon (2006).
    """
    k = int(clusters.max()) + 1
    times = np.bincount(rng.integers(0, k, k), minlength=k)[clusters]
    return times if k >= FEW_SOURCES else rng.poisson(times)


def levels_of(scores: Floats, is_fake: NDArray[np.bool_], keep: Sequence[float] = ()) -> tuple[Floats, Codes]:
    """(levels (t,), index of each score's level (n,)): the distinct scores, or quantiles of each class if too many.

    A level stands at the mean of its scores; no level crosses a value of `keep` (thresholds, calibration bins).
    """
    distinct, where = np.unique(scores, return_inverse=True)
    if len(distinct) <= MAX_DISTINCT:
        return distinct, where
    steps = ((is_fake, QUANTILES), (~is_fake, np.concatenate([QUANTILES, TOP_QUANTILES])))
    cuts = [np.quantile(scores[rows], shares) for rows, shares in steps if rows.any()]
    edges = np.unique(np.concatenate([*cuts, np.asarray(keep, dtype=np.float64)]))
    bins, where = np.unique(np.searchsorted(edges, scores, side="right"), return_inverse=True)
    # A mean of equal scores may round below the edge they stand on.
    lowest = np.concatenate([[-np.inf], edges])[bins]
    return np.maximum(np.bincount(where, weights=scores) / np.bincount(where), lowest), where


def resampled_counts(
    where: Codes, n_levels: int, clusters: Codes, *, n_resamples: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Counts (n_resamples, n_levels) of one class's images at each level; `clusters` (n,) from `clusters_of`."""
    if not len(where):
        return np.zeros((n_resamples, n_levels), dtype=np.float32)
    _, codes = np.unique(clusters, return_inverse=True)
    k = int(codes.max()) + 1
    if k > MAX_TABLED_SOURCES:
        drawn = (np.bincount(where, weights=draw(codes, rng), minlength=n_levels) for _ in range(n_resamples))
        return np.stack(list(drawn)).astype(np.float32)
    # The same draws, source by source: counts add up, and so do Poisson variables.
    table = np.zeros((k, n_levels), dtype=np.float32)
    np.add.at(table, (codes, where), 1)
    counts = rng.multinomial(k, np.full(k, 1 / k), n_resamples).astype(np.float32) @ table
    return counts if k >= FEW_SOURCES else rng.poisson(counts).astype(np.float32)


def percentile_interval(
    values: Floats, estimate: float | None, confidence: float = 0.95
) -> tuple[float | None, float | None]:
    """Percentiles of the resamples' values (b,), undefined ones left out, widened to hold the estimate.

    The calibration error of a resample is biased upwards; without the widening its estimate may lie below the interval.
    """
    z_of(confidence)
    known = values[~np.isnan(values)]
    if estimate is None or not len(known):
        return None, None
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(min(low, estimate)), float(max(high, estimate))


def bootstrap(
    metric: Callable[[Tally], Floats],
    is_fake: NDArray[np.bool_],
    fake_score: Floats,
    clusters: Codes,
    *,
    rng: np.random.Generator,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    keep: Sequence[float] = (),
) -> Estimate:
    """A metric of labelled scores (n,) with its bootstrap interval; each class is drawn on its own, by source.

    `metric` takes a Tally, e.g. `Tally.auc`. `keep`: thresholds it looks at.
    """
    answered = ~np.isnan(fake_score)
    labels, scores, groups = is_fake[answered], fake_score[answered], clusters[answered]
    value = defined(metric(Tally.of(labels, scores)))
    if value is None:
        return Estimate(None)
    levels, where = levels_of(scores, labels, keep)
    fakes, reals = (
        resampled_counts(where[rows], len(levels), groups[rows], n_resamples=n_resamples, rng=rng)
        for rows in (labels, ~labels)
    )
    low, high = percentile_interval(metric(Tally(levels, fakes, reals)), value, confidence)
    return Estimate(value, low, high, "bootstrap")
