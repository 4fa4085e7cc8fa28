"""What is left of a detector after images went through the world, and whom it then accuses.

Every perturbation is applied to both classes, to photographs only and to generated images only. The last two tell bias
from loss: if JPEG alone makes photographs look generated, the detector has learned compression.
Source: the three-way protocol follows BIAS-ID (arXiv 2605.31153).
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .errors import BadConfig, BadDataset
from .evaluate import Protocol, score_manifest, start_run
from .evaluate.protocol import Threshold, freeze_threshold, split_parts
from .metrics.detection import Tally
from .metrics.intervals import Estimate, bootstrap, clusters_of, draw, percentile_interval, share
from .perturb import parse_perturbation
from .store import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .datasets.manifest import Manifest
    from .detectors import Detector
    from .perturb import Perturbation
    from .store import Scores

    Floats: TypeAlias = NDArray[np.float64]

CLEAN = "none"
SIDES = ("both", "real", "fake")
RECORD = "robustness.json"
# A change of AUC by less than this is not worth a sentence. Source: ours.
NOTABLE = 0.02


@dataclass(frozen=True, slots=True)
class Point:
    """The figures with one perturbation applied to one side (`both`, `real`, `fake`).

    `shift` is the mean change of fake_score of the images that were touched, against the same images untouched.
    """

    spec: str
    family: str
    level: float | None
    applied_to: str
    n_fake: int
    n_real: int
    auc: Estimate
    balanced_accuracy: Estimate
    tpr: Estimate
    fpr: Estimate
    shift: Estimate


@dataclass(frozen=True, slots=True)
class Robustness:
    """The curves of one detector on one set; the first point is the untouched images."""

    detector: str
    threshold: Threshold
    points: tuple[Point, ...]
    sentences: tuple[str, ...]

    def point(self, spec: str, applied_to: str = "both") -> Point:
        """One point.

        Raises: BadConfig for a perturbation that was not measured.
        """
        for point in self.points:
            if (point.spec, point.applied_to) == (spec, applied_to):
                return point
        raise BadConfig(
            f"no point {spec!r} on {applied_to!r}; there are: {', '.join(sorted({p.spec for p in self.points}))}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, `robustness.json`."""
        return asdict(self)


def measure_robustness(
    detector: Detector,
    spec: str,
    manifest: Manifest,
    perturbations: Sequence[Perturbation],
    *,
    folder: str | Path,
    protocol: Protocol | None = None,
    skip_missing: bool = False,
    progress: Callable[[str, int], None] | None = None,
) -> Robustness:
    """Score the tested images untouched and after each perturbation, and gather the curves.

    Each perturbation's scores are a run folder below `folder`, so a killed measurement goes on where it was. Noise
    depends on the seed and the image alone. `progress(spec, images dealt with)`.

    Raises: as `score_manifest`; BadConfig without a perturbation.
    """
    wanted = [p for p in perturbations if p.spec != CLEAN]
    if not wanted:
        raise BadConfig("a robustness curve needs a perturbation, such as jpeg:90,70,50")
    protocol = protocol or Protocol()
    is_test, is_val, _ = split_parts(manifest.splits, protocol)
    tested = manifest.where(is_test)
    own = detector.calibration.fake_above

    def score(part: Manifest, perturbation: Perturbation, name: str) -> Scores:
        transform = None if perturbation.spec == CLEAN else perturbation.seeded(protocol.seed)
        named = perturbation.spec if "noise" not in perturbation.spec else f"{perturbation.spec} seed {protocol.seed}"
        run = start_run(Path(folder) / name, detector, spec, part, transform=named)
        tell = partial(progress, name) if progress else None
        return score_manifest(detector, part, run, transform=transform, skip_missing=skip_missing, progress=tell)

    untouched = parse_perturbation(CLEAN)
    needs_validation = is_val is not None and protocol.threshold is None
    validation = score(manifest.where(is_val), untouched, "validation") if needs_validation else None
    threshold = freeze_threshold(validation, protocol, own)
    clean = score(tested, untouched, CLEAN)
    touched = {p: score(tested, p, folder_name(p.spec)) for p in wanted}
    result = curves(detector.name, clean, touched, threshold, protocol)
    write_json(Path(folder) / RECORD, result.as_dict())
    return result


def folder_name(spec: str) -> str:
    """A perturbation's spec as a folder name."""
    return re.sub(r"[^\w.+-]", "-", spec)


def curves(
    detector: str, clean: Scores, touched: dict[Perturbation, Scores], threshold: Threshold, protocol: Protocol
) -> Robustness:
    """Points and sentences from the scores of the same images, untouched and touched.

    Raises: BadDataset if a run does not hold the same images.
    """
    rng = np.random.default_rng(protocol.seed)
    point = partial(_point, clean=clean, threshold=threshold.value, protocol=protocol, rng=rng)
    points = [point(parse_perturbation(CLEAN), "both", fake_score=clean.fake_score)]
    for perturbation, scores in touched.items():
        if not np.array_equal(scores.path, clean.path):
            raise BadDataset(f"the scores after {perturbation.spec} are not of the same images as the untouched ones")
        for side in SIDES:
            # A score never depends on other images, so the one-sided sets are put together from two runs.
            change = np.ones(len(clean), bool) if side == "both" else clean.is_fake == (side == "fake")
            mixed = np.where(change, scores.fake_score, clean.fake_score)
            points.append(point(perturbation, side, fake_score=mixed))
    return Robustness(detector, threshold, tuple(points), tuple(_in_words(points)))


def _point(
    perturbation: Perturbation,
    side: str,
    clean: Scores,
    fake_score: Floats,
    *,
    threshold: float,
    protocol: Protocol,
    rng: np.random.Generator,
) -> Point:
    # Only images with a score on both sides, so that a point differs from the first by the perturbation alone.
    known = clean.answered & ~np.isnan(fake_score)
    is_fake, scores, clusters = clean.is_fake[known], fake_score[known], clusters_of(clean.source[known])
    estimate = partial(
        bootstrap, is_fake=is_fake, fake_score=scores, clusters=clusters, rng=rng, n_resamples=protocol.n_resamples,
        confidence=protocol.confidence, keep=[threshold],
    )  # fmt: skip
    called = scores >= threshold
    changed = np.ones(len(scores), bool) if side == "both" else is_fake == (side == "fake")
    shift = (scores - clean.fake_score[known])[changed]
    return Point(
        spec=perturbation.spec,
        family=perturbation.family,
        level=perturbation.level,
        applied_to=side,
        n_fake=int(is_fake.sum()),
        n_real=int((~is_fake).sum()),
        auc=estimate(Tally.auc),
        balanced_accuracy=estimate(partial(Tally.balanced_accuracy, threshold=threshold)),
        tpr=share(called[is_fake], clusters[is_fake], protocol.confidence),
        fpr=share(called[~is_fake], clusters[~is_fake], protocol.confidence),
        shift=_mean(shift, clusters[changed], protocol, rng),
    )


def _mean(values: Floats, clusters: NDArray[np.int64], protocol: Protocol, rng: np.random.Generator) -> Estimate:
    """The mean (n,) with its bootstrap interval by source."""
    if not len(values):
        return Estimate(None)
    _, codes = np.unique(clusters, return_inverse=True)
    means = np.empty(protocol.n_resamples)
    for number in range(protocol.n_resamples):
        times = draw(codes, rng)
        means[number] = (times * values).sum() / times.sum() if times.any() else np.nan
    value = float(values.mean())
    return Estimate(value, *percentile_interval(means, value, protocol.confidence), "bootstrap")


def _in_words(points: Sequence[Point]) -> list[str]:
    """The steepest loss, and for each side the perturbation that does most harm to it."""
    clean = points[0]
    known = [p for p in points[1:] if p.auc.value is not None]
    if clean.auc.value is None or not known:
        return ["AUC is undefined: the tested images hold one class only, or none has a score."]
    base, both = clean.auc.value, [p for p in known if p.applied_to == "both"]
    worst = min(both, key=lambda p: p.auc.value or 0)
    assert worst.auc.value is not None
    lowest = f"{_told(worst.auc)}, after {worst.spec}"
    sentences = [f"Untouched, AUC is {_told(clean.auc)}; the lowest with both classes treated alike is {lowest}."]
    for side, whom in (("real", "photographs"), ("fake", "generated images")):
        one = min((p for p in known if p.applied_to == side), key=lambda p: p.auc.value or 0)
        assert one.auc.value is not None
        if base - one.auc.value >= NOTABLE:
            rate, before = (one.fpr, clean.fpr) if side == "real" else (one.tpr, clean.tpr)
            what = "photographs called fake" if side == "real" else "generated images caught"
            sentences.append(
                f"Bias: {one.spec} on {whom} alone takes AUC to {_told(one.auc)}; {what}: {_percent(before)}"
                f" before, {_percent(rate)} after."
            )
    return sentences


def _told(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "undefined"
    return f"{100 * estimate.value:.1f} % ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def _percent(estimate: Estimate) -> str:
    return "undefined" if estimate.value is None else f"{100 * estimate.value:.1f} %"
