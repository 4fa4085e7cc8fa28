"""Detection metrics against slow twins, scikit-learn, and by hand."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn import metrics as sk

from defake.errors import BadConfig, BadDataset
from defake.metrics import detection as d

# By hand: fakes 0.9 0.6 0.6 0.2, reals 0.6 0.4 0.2 0.1.
HAND_FAKE = np.array([1, 1, 1, 1, 0, 0, 0, 0], dtype=bool)
HAND_SCORE = np.array([0.9, 0.6, 0.6, 0.2, 0.6, 0.4, 0.2, 0.1])


def draws(seed, n=200, decimals=1):
    """Labelled scores with many ties."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    labels[:2] = [True, False]
    return labels, np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), decimals)


CASES = [draws(seed, n, decimals) for seed, (n, decimals) in enumerate([(200, 1), (200, 6), (7, 1), (2, 1), (50, 0)])]


def slow_auc(labels, scores):
    """Every pair, one by one."""
    wins = [(f > r) + (f == r) / 2 for f in scores[labels] for r in scores[~labels]]
    return sum(wins) / len(wins)


def slow_average_precision(labels, scores):
    """Each distinct threshold, one by one."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        called = scores >= threshold
        recall = (called & labels).sum() / labels.sum()
        total += (recall - before) * (called & labels).sum() / called.sum()
        before = recall
    return total


def slow_tpr_at_fpr(labels, scores, fpr):
    """The best of all thresholds that keep the promise."""
    best = 0.0
    for threshold in [*set(scores), np.inf]:
        if (scores[~labels] >= threshold).mean() <= fpr:
            best = max(best, (scores[labels] >= threshold).mean())
    return best


def slow_equal_error_rate(labels, scores):
    """The crossing of the two rates, found between neighbouring thresholds."""
    points = [
        ((scores[~labels] >= t).mean(), (scores[labels] < t).mean()) for t in [np.inf, *sorted(set(scores))[::-1]]
    ]
    for (fpr0, fnr0), (fpr1, fnr1) in pairwise(points):
        if fpr1 >= fnr1:
            share = (fnr0 - fpr0) / ((fnr0 - fpr0) - (fnr1 - fpr1))
            return fpr0 + share * (fpr1 - fpr0)
    raise AssertionError("the rates always cross")


def test_hand_worked_case():
    """Sixteen pairs: 0.9 wins 4, each 0.6 wins 3.5, 0.2 wins 1.5: AUC 12.5 / 16."""
    assert d.auc(HAND_FAKE, HAND_SCORE) == 12.5 / 16
    assert d.average_precision(HAND_FAKE, HAND_SCORE) == pytest.approx(0.25 * 1 + 0.5 * 3 / 4 + 0.25 * 4 / 7)
    assert d.accuracy(HAND_FAKE, HAND_SCORE, 0.6) == 6 / 8
    assert d.balanced_accuracy(HAND_FAKE, HAND_SCORE, 0.5) == 0.75
    assert d.f1(HAND_FAKE, HAND_SCORE, 0.6) == 0.75
    assert d.tpr_at_fpr(HAND_FAKE, HAND_SCORE, 0.01) == 0.25
    assert d.tpr_at_fpr(HAND_FAKE, HAND_SCORE, 0.25) == 0.75
    assert d.equal_error_rate(HAND_FAKE, HAND_SCORE) == 0.25


@pytest.mark.parametrize(("labels", "scores"), CASES)
def test_fast_equals_slow(labels, scores):
    """The vectorised metrics are the obvious ones."""
    assert d.auc(labels, scores) == pytest.approx(slow_auc(labels, scores))
    assert d.average_precision(labels, scores) == pytest.approx(slow_average_precision(labels, scores))
    assert d.equal_error_rate(labels, scores) == pytest.approx(slow_equal_error_rate(labels, scores))
    for fpr in (0, 0.01, 0.05, 0.3, 1):
        assert d.tpr_at_fpr(labels, scores, fpr) == pytest.approx(slow_tpr_at_fpr(labels, scores, fpr))


@pytest.mark.parametrize(("labels", "scores"), CASES)
def test_agrees_with_scikit_learn(labels, scores):
    """AUC, AP, accuracies, F1 and the ROC points are scikit-learn's."""
    assert d.auc(labels, scores) == pytest.approx(sk.roc_auc_score(labels, scores))
    assert d.average_precision(labels, scores) == pytest.approx(sk.average_precision_score(labels, scores))
    for threshold in (0.0, 0.3, 0.5, 0.7, 1.1):
        called = scores >= threshold
        assert d.accuracy(labels, scores, threshold) == pytest.approx(sk.accuracy_score(labels, called))
        assert d.balanced_accuracy(labels, scores, threshold) == pytest.approx(
            sk.balanced_accuracy_score(labels, called)
        )
        assert d.f1(labels, scores, threshold) == pytest.approx(sk.f1_score(labels, called, zero_division=0))
    ours, theirs = d.roc_curve(labels, scores), sk.roc_curve(labels, scores, drop_intermediate=False)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other)


@pytest.mark.parametrize("label", [True, False])
def test_one_class_is_undefined_not_zero(label):
    """Without both classes a ranking metric is None; accuracy still counts."""
    labels, scores = np.full(3, label), np.array([0.1, 0.5, 0.9])
    for value in (d.auc, d.average_precision, d.equal_error_rate, d.oracle_threshold):
        assert value(labels, scores) is None
    assert d.tpr_at_fpr(labels, scores, 0.05) is None
    assert d.balanced_accuracy(labels, scores, 0.5) is None
    assert d.accuracy(labels, scores, 0.5) == (2 / 3 if label else 1 / 3)
    assert (d.f1(labels, scores, 0.5) is None) == (not label)
    with pytest.raises(BadDataset, match="one class is missing"):
        d.roc_curve(labels, scores)


def test_no_scores_at_all():
    """Nothing scored: everything is undefined."""
    for scores in (np.array([]), np.full(3, np.nan)):
        labels = np.ones(len(scores), dtype=bool)
        assert d.auc(labels, scores) is None
        assert d.accuracy(labels, scores, 0.5) is None
        assert d.f1(labels, scores, 0.5) is None


def test_unanswered_are_left_out():
    """NaN is no answer: the rest is measured as if it were not there."""
    scores = np.append(HAND_SCORE, [np.nan, np.nan])
    labels = np.append(HAND_FAKE, [True, False])
    assert d.auc(labels, scores) == d.auc(HAND_FAKE, HAND_SCORE)


def test_bad_arrays_are_refused():
    """Shapes that differ, labels that are no labels, infinite scores."""
    with pytest.raises(BadDataset, match=r"\(n,\)"):
        d.auc([True, False], [0.5])
    with pytest.raises(BadDataset, match="labels"):
        d.auc([2, 0], [0.5, 0.1])
    with pytest.raises(BadDataset, match="infinite"):
        d.auc([1, 0], [np.inf, 0.1])
    with pytest.raises(BadConfig, match="fpr"):
        d.tpr_at_fpr(HAND_FAKE, HAND_SCORE, 5)


@pytest.mark.parametrize(("labels", "scores"), CASES)
@pytest.mark.parametrize("fpr", [0.0, 0.01, 0.05, 0.3, 1.0])
def test_threshold_keeps_its_promise(labels, scores, fpr):
    """At most the declared share of these reals is called fake, and no lower threshold does it."""
    threshold = d.threshold_at_fpr(labels, scores, fpr)
    reals = scores[~labels]
    assert (reals >= threshold).mean() <= fpr
    if fpr < 1:
        assert (reals >= np.nextafter(threshold, -np.inf)).mean() > fpr
    else:
        assert (scores >= threshold).all()


def test_threshold_needs_reals():
    """Fakes alone say nothing of false alarms."""
    with pytest.raises(BadDataset, match="reals"):
        d.threshold_at_fpr([True, True], [0.1, 0.9], 0.05)


@pytest.mark.parametrize(("labels", "scores"), CASES)
def test_oracle_is_the_best_there_is(labels, scores):
    """No threshold has a better balanced accuracy on the same images."""
    best = max(d.balanced_accuracy(labels, scores, t) for t in scores)
    assert d.balanced_accuracy(labels, scores, d.oracle_threshold(labels, scores)) == pytest.approx(best)


def test_all_resamples_at_once():
    """A tally with a leading axis gives each row's metric."""
    rng = np.random.default_rng(3)
    tally = d.Tally(np.array([0.1, 0.4, 0.9]), rng.integers(0, 4, (5, 3)) * 1.0, rng.integers(0, 4, (5, 3)) * 1.0)
    for name, options in [
        ("auc", ()), ("average_precision", ()), ("equal_error_rate", ()), ("tpr_at_fpr", (0.3,)),
        ("accuracy", (0.4,)), ("balanced_accuracy", (0.4,)), ("f1", (0.4,)),
    ]:  # fmt: skip
        together = getattr(tally, name)(*options)
        alone = [
            getattr(d.Tally(tally.levels, f, r), name)(*options) for f, r in zip(tally.fakes, tally.reals, strict=True)
        ]
        np.testing.assert_allclose(together, alone)
