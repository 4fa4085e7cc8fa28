"""How well scores tell fakes from reals: everything is a function of the counts at each distinct score.

Scores are `fake_score`s, higher = more likely generated; a score of at least the threshold is called fake. NaN is "no
answer" and left out here; who calls reports the coverage. A metric that is undefined is None, or NaN inside an array.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from defake.errors import BadConfig, BadDataset

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats: TypeAlias = NDArray[np.float64]


def checked(is_fake: ArrayLike, fake_score: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    """Labels (n,) and scores (n,) as arrays, with the unanswered (NaN) left out.

    Raises: BadDataset if the shapes differ, a label is not true or false, or a score is infinite.
    """
    labels, scores = np.asarray(is_fake), np.asarray(fake_score, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise BadDataset(f"labels and scores must be (n,) and (n,), but got {labels.shape} and {scores.shape}")
    if labels.dtype != np.bool_ and not np.isin(labels, (0, 1)).all():
        raise BadDataset("labels must be true (fake) or false (real), but others occur")
    if np.isinf(scores).any():
        raise BadDataset("scores must be finite, or NaN for no answer, but an infinite one occurs")
    answered = ~np.isnan(scores)
    return labels.astype(np.bool_)[answered], scores[answered]


@dataclass(frozen=True)
class Tally:
    """How many fakes and reals have each distinct score.

    `levels` (t,) ascending; `fakes` and `reals` (..., t) counts or weights. The leading axes are resamples: every
    method works on all of them at once and gives (...,), NaN where undefined.
    """

    levels: Floats
    fakes: NDArray[np.floating]
    reals: NDArray[np.floating]

    @classmethod
    def of(cls, is_fake: ArrayLike, fake_score: ArrayLike) -> Tally:
        """Counts of labelled scores, both (n,); NaN scores are left out."""
        labels, scores = checked(is_fake, fake_score)
        levels, where = np.unique(scores, return_inverse=True)
        fakes = np.bincount(where[labels], minlength=len(levels)).astype(np.float64)
        reals = np.bincount(where[~labels], minlength=len(levels)).astype(np.float64)
        return cls(levels, fakes, reals)

    def auc(self) -> Floats:
        """Area under the ROC curve: P(fake > real) + P(tie) / 2. Source: Hanley & McNeil (1982)."""
        below = np.cumsum(self.reals, axis=-1) - self.reals / 2
        return _ratio((self.fakes * below).sum(-1), self.fakes.sum(-1) * self.reals.sum(-1))

    def average_precision(self) -> Floats:
        """Mean precision over the fakes, one step a distinct score, no interpolation. Source: as scikit-learn."""
        hits, alarms = self._fakes_above, self._reals_above
        precision = np.divide(hits, hits + alarms, out=np.zeros_like(hits), where=hits + alarms > 0)
        return _ratio((self.fakes[..., ::-1] * precision).sum(-1), self._where_both(self.fakes.sum(-1)))

    def roc(self) -> tuple[Floats, Floats]:
        """(fpr, tpr), each (..., t + 1), from "nothing is fake" to "everything is"."""
        return self._roc

    def tpr_at_fpr(self, fpr: float) -> Floats:
        """Largest share of fakes caught by a threshold that calls at most `fpr` of the reals fake; no interpolation."""
        _within("fpr", fpr)
        false, true = self.roc()
        # Counts are whole: the tolerance only undoes the rounding of the division.
        best = np.where(false <= fpr + 1e-12, true, -np.inf).max(-1)
        return np.where(np.isfinite(best), best, np.nan)

    def equal_error_rate(self) -> Floats:
        """Where the false positive and the false negative rate meet, linear between neighbouring thresholds."""
        false, true = self.roc()
        gap = (1 - true) - false
        after = np.maximum((gap <= 0).argmax(-1), 1)[..., None]
        gap_before, gap_after = np.take_along_axis(gap, after - 1, -1), np.take_along_axis(gap, after, -1)
        false_before, false_after = np.take_along_axis(false, after - 1, -1), np.take_along_axis(false, after, -1)
        share = np.divide(gap_before, gap_before - gap_after, out=np.zeros_like(gap_before), where=gap_before > 0)
        return np.asarray((false_before + share * (false_after - false_before))[..., 0])

    def confusion(self, threshold: float) -> tuple[Floats, Floats, Floats, Floats]:
        """(true positives, false positives, false negatives, true negatives), each (...,), fake being positive."""
        called = self.levels >= threshold
        tp, fp = self.fakes[..., called].sum(-1), self.reals[..., called].sum(-1)
        return tp, fp, self.fakes.sum(-1) - tp, self.reals.sum(-1) - fp

    def tpr(self, threshold: float) -> Floats:
        """Share of the fakes called fake."""
        tp, _, fn, _ = self.confusion(threshold)
        return _ratio(tp, tp + fn)

    def fpr(self, threshold: float) -> Floats:
        """Share of the reals called fake."""
        _, fp, _, tn = self.confusion(threshold)
        return _ratio(fp, fp + tn)

    def accuracy(self, threshold: float) -> Floats:
        """Share of all images that are called what they are."""
        tp, fp, fn, tn = self.confusion(threshold)
        return _ratio(tp + tn, tp + fp + fn + tn)

    def balanced_accuracy(self, threshold: float) -> Floats:
        """Mean of the two classes' accuracies."""
        return np.asarray((self.tpr(threshold) + 1 - self.fpr(threshold)) / 2)

    def f1(self, threshold: float) -> Floats:
        """Harmonic mean of precision and recall of the fakes; undefined without fakes."""
        tp, fp, fn, _ = self.confusion(threshold)
        return np.where(tp + fn > 0, _ratio(2 * tp, 2 * tp + fp + fn), np.nan)

    # Thousands of resamples share these between metrics.
    @cached_property
    def _fakes_above(self) -> Floats:
        return np.cumsum(self.fakes[..., ::-1], axis=-1, dtype=np.float64)

    @cached_property
    def _reals_above(self) -> Floats:
        return np.cumsum(self.reals[..., ::-1], axis=-1, dtype=np.float64)

    @cached_property
    def _roc(self) -> tuple[Floats, Floats]:
        return self._rates(self._reals_above), self._rates(self._fakes_above)

    def _rates(self, above: Floats) -> Floats:
        if not above.shape[-1]:
            return np.full((*above.shape[:-1], 1), np.nan)
        total = self._where_both(above[..., -1])[..., None]
        return np.concatenate([np.zeros_like(total) * total, _ratio(above, total)], axis=-1)

    def _where_both(self, total: Floats) -> Floats:
        # A curve needs both classes; NaN goes through every division below.
        return np.asarray(np.where((self.fakes.sum(-1) > 0) & (self.reals.sum(-1) > 0), total, np.nan))


def _ratio(part: ArrayLike, whole: ArrayLike) -> Floats:
    part, whole = np.broadcast_arrays(np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64))
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))


def _within(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise BadConfig(f"{name} must lie in [0, 1], but got {value!r}")


def defined(value: ArrayLike) -> float | None:
    """A number, or None for NaN."""
    number = float(np.asarray(value))
    return None if np.isnan(number) else number


def auc(is_fake: ArrayLike, fake_score: ArrayLike) -> float | None:
    """Area under the ROC curve, ties counted half; None unless both classes are there."""
    return defined(Tally.of(is_fake, fake_score).auc())


def average_precision(is_fake: ArrayLike, fake_score: ArrayLike) -> float | None:
    """Average precision of the fakes; None unless both classes are there."""
    return defined(Tally.of(is_fake, fake_score).average_precision())


def accuracy(is_fake: ArrayLike, fake_score: ArrayLike, threshold: float) -> float | None:
    """Share called right at a threshold; None without a score."""
    return defined(Tally.of(is_fake, fake_score).accuracy(threshold))


def balanced_accuracy(is_fake: ArrayLike, fake_score: ArrayLike, threshold: float) -> float | None:
    """Mean of the classes' accuracies at a threshold; None unless both are there."""
    return defined(Tally.of(is_fake, fake_score).balanced_accuracy(threshold))


def f1(is_fake: ArrayLike, fake_score: ArrayLike, threshold: float) -> float | None:
    """F1 of the fakes at a threshold; None without fakes."""
    return defined(Tally.of(is_fake, fake_score).f1(threshold))


def tpr_at_fpr(is_fake: ArrayLike, fake_score: ArrayLike, fpr: float) -> float | None:
    """Share of fakes caught where at most `fpr` of the reals are called fake; None unless both classes are there."""
    return defined(Tally.of(is_fake, fake_score).tpr_at_fpr(fpr))


def equal_error_rate(is_fake: ArrayLike, fake_score: ArrayLike) -> float | None:
    """Equal error rate; None unless both classes are there."""
    return defined(Tally.of(is_fake, fake_score).equal_error_rate())


def roc_curve(is_fake: ArrayLike, fake_score: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """(fpr, tpr, thresholds), each (t + 1,); the first threshold is infinite.

    Raises: BadDataset unless both classes are there.
    """
    tally = Tally.of(is_fake, fake_score)
    if not (tally.fakes.sum() and tally.reals.sum()):
        raise BadDataset("a ROC curve needs scored fakes and scored reals, but one class is missing")
    return (*tally.roc(), np.concatenate([[np.inf], tally.levels[::-1]]))


def threshold_at_fpr(is_fake: ArrayLike, fake_score: ArrayLike, fpr: float) -> float:
    """Lowest threshold that calls at most `fpr` of these reals fake: choose it on validation scores, then freeze it.

    It lies just above a real's score, so above 1 if even the top score belongs to more reals than allowed.

    Raises: BadDataset if no real has a score.
    """
    _within("fpr", fpr)
    labels, scores = checked(is_fake, fake_score)
    reals = np.sort(scores[~labels])[::-1]
    if not len(reals):
        raise BadDataset("a threshold at a declared FPR needs scored reals, but there is none")
    allowed = int(np.floor(fpr * len(reals) + 1e-9))
    if allowed >= len(reals):
        return float(min(scores.min(), reals[-1]))
    return float(np.nextafter(reals[allowed], np.inf))


def oracle_threshold(is_fake: ArrayLike, fake_score: ArrayLike) -> float | None:
    """The threshold that these very labels like best (balanced accuracy): a ceiling, never a result.

    Of equally good ones the lowest; None unless both classes are there.
    """
    tally = Tally.of(is_fake, fake_score)
    fpr, tpr = tally.roc()
    if np.isnan(fpr).any():
        return None
    # Index 0 calls nothing fake and has no level of its own; some level is always at least as good.
    gain = (tpr - fpr)[1:]
    return float(tally.levels[::-1][len(gain) - 1 - int(np.argmax(gain[::-1]))])
