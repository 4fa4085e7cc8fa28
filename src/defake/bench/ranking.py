"""Ranks that say how sure they are: intervals, and groups of models that cannot be told apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from defake.metrics.intervals import Estimate, clusters_of, z_of

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Rank:
    """Place by value, the places the model may truly have, and its group of ties (1 is the best)."""

    place: int
    best: int
    worst: int
    group: int

    def __str__(self) -> str:
        span = "" if self.best == self.worst else f" ({self.best}-{self.worst})"
        return f"{self.place}{span}"


def is_better(first: Estimate, second: Estimate) -> bool:
    """Whether the first value is above the second by more than their intervals leave open.

    The lower limit of the difference is above 0: d - sqrt((v1 - low1)^2 + (high2 - v2)^2) > 0.

    Source: Newcombe (1998), method 10, for unpaired shares; used for any pair of intervals.
    """
    if first.value is None or second.value is None:
        return False
    low = first.value if first.low is None else first.low
    high = second.value if second.high is None else second.high
    return first.value - second.value > float(np.hypot(first.value - low, high - second.value))


def rank(values: Sequence[Estimate]) -> list[Rank | None]:
    """The rank of each value, higher is better; None for an undefined one.

    A place may truly be as good as one more than the number of models that are surely better, and as bad as the number
    that are not surely worse. A group holds all that are not surely worse than its best.
    """
    known = [i for i, v in enumerate(values) if v.value is not None]
    order = sorted(known, key=lambda i: -_value(values[i]))
    places = {i: 1 + sum(_value(values[j]) > _value(values[i]) for j in known) for i in known}
    groups: dict[int, int] = {}
    head, number = None, 0
    for i in order:
        if head is None or is_better(values[head], values[i]):
            head, number = i, number + 1
        groups[i] = number
    ranks: list[Rank | None] = [None] * len(values)
    for i in known:
        above = sum(is_better(values[j], values[i]) for j in known)
        below = sum(is_better(values[i], values[j]) for j in known)
        ranks[i] = Rank(places[i], above + 1, len(known) - below, groups[i])
    return ranks


def _value(estimate: Estimate) -> float:
    assert estimate.value is not None
    return estimate.value


def halves_mean(first: Estimate, second: Estimate) -> Estimate:
    """The mean of two independent estimates with the interval that follows from theirs.

    Source: the square-and-add rule of Newcombe (1998), as for a difference.
    """
    if first.value is None or second.value is None:
        return Estimate(None)
    value = (first.value + second.value) / 2
    if None in (first.low, first.high, second.low, second.high):
        return Estimate(value)
    below = float(np.hypot(first.value - (first.low or 0), second.value - (second.low or 0))) / 2
    above = float(np.hypot((first.high or 0) - first.value, (second.high or 0) - second.value)) / 2
    return Estimate(value, value - below, value + above, "wilson")


def mean_by_image(values: Sequence[float | None], images: Sequence[str], confidence: float = 0.95) -> Estimate:
    """The mean of answers with a normal interval that counts the answers about one image together.

    Undefined values are left out; the mean of none is None, the interval of a single image too.

    Source: cluster-robust standard error of a mean (Liang & Zeger 1986).
    """
    pairs = [(v, image) for v, image in zip(values, images, strict=True) if v is not None]
    if not pairs:
        return Estimate(None)
    numbers = np.array([v for v, _ in pairs], dtype=np.float64)
    mean = float(numbers.mean())
    codes = clusters_of([image for _, image in pairs])
    _, rows = np.unique(codes, return_inverse=True)
    count = int(rows.max()) + 1
    if count < 2:
        return Estimate(mean)
    sums = np.bincount(rows, weights=numbers - mean)
    error = float(np.sqrt(count / (count - 1) * (sums**2).sum())) / len(numbers)
    half = z_of(confidence) * error
    return Estimate(mean, mean - half, mean + half, "normal, by image")
