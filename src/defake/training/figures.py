"""The figures of a trained detector on labelled images, each with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from defake.metrics.detection import Tally
from defake.metrics.intervals import Estimate, bootstrap, clusters_of, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from defake.datasets.manifest import Manifest
    from defake.detectors import Detector

AT_ONCE = 64  # images decoded before they are scored


def score_manifest(detector: Detector, manifest: Manifest) -> NDArray[np.float64]:
    """fake_score of every row `(n,)`; NaN where the detector gave none. Every file must decode (`check_rows`)."""
    from defake.images import read_image

    parts = [np.empty(0)]
    for start in range(0, len(manifest), AT_ONCE):
        rows = range(start, min(start + AT_ONCE, len(manifest)))
        parts.append(detector.score([read_image(manifest.resolve(i)).pixels for i in rows]))
    return np.concatenate(parts).astype(np.float64)


def measure_scores(
    is_fake: NDArray[np.bool_],
    fake_score: NDArray[np.float64],
    sources: Sequence[str | None] | NDArray[np.object_],
    *,
    rng: np.random.Generator,
    threshold: float = 0.5,
) -> dict[str, Estimate]:
    """Accuracy, recall of fakes, false positive rate, F1 and AUC of scores `(n,)`, with 95 % intervals.

    Shares have Wilson's interval at the effective sample size of the sources, AUC and F1 a bootstrap by source. An
    unanswered image counts as called wrong in the shares and is left out of AUC and F1; `answered` tells how many.
    """
    clusters = clusters_of(sources)
    answered = ~np.isnan(fake_score)
    right = answered & ((fake_score >= threshold) == is_fake)
    return {
        "accuracy": share(right, clusters),
        "recall": share(right[is_fake], clusters[is_fake]),
        "fpr": share(~right[~is_fake], clusters[~is_fake]),
        "f1": bootstrap(lambda t: t.f1(threshold), is_fake, fake_score, clusters, rng=rng, keep=[threshold]),
        "auc": bootstrap(Tally.auc, is_fake, fake_score, clusters, rng=rng),
        "answered": Estimate(float(answered.mean()) if len(answered) else None),
    }


def percent(estimate: Estimate) -> str:
    """An estimate in percent with its interval; a dash where it is undefined."""
    if estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{100 * estimate.value:.1f}"
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
