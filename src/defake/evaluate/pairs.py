"""Detectors on the same images, two by two."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from defake.errors import BadConfig, BadDataset
from defake.metrics.comparison import Difference, McNemar, holm, in_words, mcnemar, paired_bootstrap
from defake.metrics.detection import Tally
from defake.metrics.intervals import clusters_of

from .protocol import Protocol, freeze_threshold, split_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from defake.store import Scores

    Tested: TypeAlias = tuple[str, str, int, Difference, Difference, McNemar]


# Below it a difference is called one. Source: convention.
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Pair:
    """First against second on the images both scored: AUC and balanced accuracy, first minus second, and McNemar.

    Each detector has its own frozen threshold. The p-values are Holm's, over all tests of one call; `says` puts each in
    words.
    """

    first: str
    second: str
    n_images: int
    auc: Difference
    balanced_accuracy: Difference
    right: McNemar
    adjusted: dict[str, float | None]
    says: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def compare(
    runs: Mapping[str, Scores], protocol: Protocol | None = None, own_thresholds: Mapping[str, float] | None = None
) -> list[Pair]:
    """Every pair of detectors, name -> scores, on the tested rows that both have.

    Paired bootstrap by source (AUC, balanced accuracy) and McNemar's test (which of the two is right), Holm-corrected
    together.

    Raises: BadConfig for fewer than two; BadDataset if the runs share no image or call one differently.
    """
    if len(runs) < 2:
        raise BadConfig(f"a comparison needs two detectors or more, but got {', '.join(runs) or 'none'}")
    protocol = protocol or Protocol()
    own = own_thresholds or {}
    # The smallest p-value that n resamples can give is 2 / (n + 1): Holm's correction must leave it below the level.
    tests = 3 * len(runs) * (len(runs) - 1) // 2
    protocol = replace(protocol, n_resamples=max(protocol.n_resamples, math.ceil(2 * tests / LEVEL)))
    parts = {}
    for name, scores in runs.items():
        is_test, is_val, _ = split_parts(scores.split, protocol)
        validation = None if is_val is None else scores.where(is_val)
        parts[name] = (scores.where(is_test), freeze_threshold(validation, protocol, own.get(name, 0.5)).value)
    found = [_pair(one, two, parts[one], parts[two], protocol) for one, two in combinations(runs, 2)]
    p_values = [p for _, _, _, auc, balanced, right in found for p in (auc.p_value, balanced.p_value, right.p_value)]
    adjusted = holm(p_values)
    return [_told(pair, adjusted[3 * i : 3 * i + 3]) for i, pair in enumerate(found)]


def _pair(one: str, two: str, first: tuple[Scores, float], second: tuple[Scores, float], protocol: Protocol) -> Tested:
    left, right = _same_images(one, two, first[0], second[0])
    clusters = clusters_of(left.source)

    def difference(*metrics: Any) -> Difference:
        # Each detector has its own threshold, so the metric is a pair.
        return paired_bootstrap(
            metrics,
            left.is_fake,
            left.fake_score,
            right.fake_score,
            clusters,
            rng=np.random.default_rng(protocol.seed),
            n_resamples=protocol.n_resamples,
            confidence=protocol.confidence,
            keep=([first[1]], [second[1]]),
        )

    balanced = [partial(Tally.balanced_accuracy, threshold=threshold) for threshold in (first[1], second[1])]
    both = left.answered & right.answered
    hits = [
        ((scores.fake_score >= threshold) == scores.is_fake)[both]
        for scores, threshold in ((left, first[1]), (right, second[1]))
    ]
    return (
        one, two, int(both.sum()), difference(Tally.auc, Tally.auc), difference(*balanced), mcnemar(hits[0], hits[1]),
    )  # fmt: skip


def _same_images(one: str, two: str, first: Scores, second: Scores) -> tuple[Scores, Scores]:
    place = {path: row for row, path in enumerate(second.path)}
    rows = [(i, place[path]) for i, path in enumerate(first.path) if path in place]
    if not rows:
        raise BadDataset(f"{one} and {two} share no image: compare runs of the same manifest")
    pairs = np.array(rows, dtype=np.intp)
    left, right = first.where(pairs[:, 0]), second.where(pairs[:, 1])
    unlike = left.is_fake != right.is_fake
    if unlike.any():
        named = ", ".join(map(str, left.path[unlike][:5]))
        raise BadDataset(f"{one} and {two} label {int(unlike.sum())} images differently: {named}")
    return left, right


def _told(tested: Tested, adjusted: list[float | None]) -> Pair:
    one, two, n, auc, balanced, right = tested
    gap = float(right.only_first - right.only_second) if n else None
    names = ("auc", "balanced_accuracy", "mcnemar")
    values = (auc.estimate.value, balanced.estimate.value, gap)
    says = {name: in_words(one, two, value, p, LEVEL) for name, value, p in zip(names, values, adjusted, strict=True)}
    return Pair(one, two, n, auc, balanced, right, dict(zip(names, adjusted, strict=True)), says)
