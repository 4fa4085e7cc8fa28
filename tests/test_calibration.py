"""Probabilities: against slow twins, scikit-learn, and by hand."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from defake.errors import BadConfig, BadDataset
from defake.metrics import calibration as c


def draws(seed, n=400):
    """Labels and logits that overlap."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.3
    return labels, rng.normal(-1 + 2.5 * labels, 1.2)


def slow_calibration_error(labels, scores, n_bins):
    """Image by image into its bin."""
    bins = [[] for _ in range(n_bins)]
    for label, score in zip(labels, scores, strict=True):
        bins[sum(score >= (i + 1) / n_bins for i in range(n_bins - 1))].append((label, score))
    gaps = [len(b) * abs(np.mean([x for x, _ in b]) - np.mean([s for _, s in b])) for b in bins if b]
    return sum(gaps) / len(labels)


def test_calibration_error_by_hand():
    """Two bins: 0.2 and 0.4 with no fake, 0.8 with one of one: (2 * 0.3 + 1 * 0.2) / 3."""
    assert c.expected_calibration_error([0, 0, 1], [0.2, 0.4, 0.8], n_bins=2) == pytest.approx(0.8 / 3)


def test_a_score_on_an_edge_belongs_above():
    """Bins are closed below: 0.5 of two bins lies in the upper one, 1.0 in the last."""
    curve = c.reliability_curve([0, 1, 1], [0.49, 0.5, 1.0], n_bins=2)
    assert [(b.low, b.high, b.n) for b in curve] == [(0.0, 0.5, 1), (0.5, 1.0, 2)]
    assert curve[1].mean_score == 0.75
    assert curve[1].fake_share == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_fast_equals_slow_and_scikit_learn(seed):
    """ECE is the obvious one; Brier and the balanced log-likelihood are scikit-learn's."""
    labels, z = draws(seed)
    scores = np.round(c.probability_of(z), 2 if seed else 8)
    for n_bins in (1, 10, 15):
        slow = slow_calibration_error(labels, scores, n_bins)
        assert c.expected_calibration_error(labels, scores, n_bins) == pytest.approx(slow)
    assert c.brier(labels, scores) == pytest.approx(brier_score_loss(labels, scores))
    weights = np.where(labels, 1 / labels.sum(), 1 / (~labels).sum())
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    assert c.balanced_nll(labels, scores) == pytest.approx(log_loss(labels, clipped, sample_weight=weights))


def test_undefined_is_none():
    """No score, or one class where two are needed."""
    assert c.brier([], []) is None
    assert c.expected_calibration_error([1], [np.nan]) is None
    assert c.balanced_nll([1, 1], [0.4, 0.5]) is None
    assert c.reliability_curve([], []) == []


def test_scores_that_are_no_probabilities_are_refused():
    """A logit is no probability; bins are at least one."""
    with pytest.raises(BadDataset, match=r"\[0, 1\]"):
        c.brier([0, 1], [-3.0, 2.0])
    with pytest.raises(BadConfig, match="n_bins"):
        c.expected_calibration_error([0, 1], [0.3, 0.2], n_bins=0)


@pytest.mark.parametrize("seed", range(3))
def test_platt_is_the_weighted_logistic_regression_with_soft_targets(seed):
    """Without the prior it is scikit-learn's fit of every image as two weighted ones."""
    labels, z = draws(seed)
    n_fake, n_real = labels.sum(), (~labels).sum()
    target = np.where(labels, (n_fake + 1) / (n_fake + 2), 1 / (n_real + 2))
    weight = np.where(labels, 0.5 / n_fake, 0.5 / n_real) * len(z)
    model = LogisticRegression(C=1e12, tol=1e-10, max_iter=10_000).fit(
        np.concatenate([z, z])[:, None],
        np.repeat([1, 0], len(z)),
        np.concatenate([weight * target, weight * (1 - target)]),
    )
    slope, intercept = c.fit_platt(labels, z, spread=1e6)
    assert slope == pytest.approx(model.coef_[0, 0], rel=1e-3)
    assert intercept == pytest.approx(model.intercept_[0], abs=1e-3)
    assert c.fit_platt(labels, z)[0] == pytest.approx(slope, rel=0.02)


def test_platt_finds_the_truth():
    """Logits that are true log-odds at equal priors, scaled and shifted, are scaled and shifted back."""
    rng = np.random.default_rng(1)
    labels = np.arange(40_000) < 4000
    z = 2 * rng.normal(np.where(labels, 1.0, -1.0), 1)  # log-odds of two unit normals at -1 and 1
    slope, intercept = c.fit_platt(labels, 3 * z + 4)
    assert slope == pytest.approx(1 / 3, rel=0.05)
    assert intercept == pytest.approx(-4 / 3, abs=0.1)


def test_perfectly_separated_classes_give_a_finite_slope():
    """Five and five images a mile apart do not become certainty."""
    labels = np.arange(10) < 5
    slope, intercept = c.fit_platt(labels, np.where(labels, 8.0, -8.0))
    top = c.Calibration(slope, intercept).score(8.0)
    assert 0.5 < top < 0.95
    one, _ = c.fit_platt([True, False], [1000.0, -1000.0])
    assert np.isfinite(one)


def test_reversed_scores_are_not_calibrated():
    """A negative slope means swapped labels; one class gives nothing to fit."""
    labels, z = draws(5)
    with pytest.raises(BadDataset, match="labels"):
        c.fit_platt(labels, -z)
    with pytest.raises(BadDataset, match="fakes and reals"):
        c.fit_platt([True, True], [0.1, 0.2])


def test_logit_undoes_the_map():
    """The logit behind a calibrated score."""
    calibration = c.Calibration(slope=0.7, intercept=-0.4)
    np.testing.assert_allclose(calibration.logit(calibration.score([-3.0, 0.0, 2.5])), [-3.0, 0.0, 2.5])


@pytest.mark.parametrize("error", [0.0, 0.01, 0.05, 0.2])
def test_the_band_keeps_both_promises(error):
    """At most the declared share of reals is called fake, and of fakes real."""
    labels, z = draws(7)
    scores = c.probability_of(z)
    low, high = c.unsure_band(labels, scores, error)
    assert 0 <= low <= high <= 1
    assert (scores[~labels] >= high).mean() <= error
    assert (scores[labels] < low).mean() <= error


def test_no_band_where_none_is_needed():
    """Classes apart: one threshold, 0.5 if it does."""
    labels = np.arange(6) < 3
    assert c.unsure_band(labels, [0.8, 0.9, 0.7, 0.1, 0.2, 0.3]) == (0.5, 0.5)
    low, high = c.unsure_band(labels, [0.98, 0.99, 0.97, 0.1, 0.2, 0.8])
    assert low == high == pytest.approx(0.8)
    with pytest.raises(BadDataset, match="one class"):
        c.unsure_band([True], [0.5])
    with pytest.raises(BadConfig, match="error"):
        c.unsure_band(labels, [0.8, 0.9, 0.7, 0.1, 0.2, 0.3], 1.0)


def test_risk_coverage_by_hand():
    """Four images: the two surest come together, one of them is wrong; NaN is no image."""
    covered, wrong = c.risk_coverage([1, 0, 0, 1, 1], [0.9, 0.9, 0.2, 0.4, np.nan], 0.5)
    assert covered.tolist() == [0.5, 0.75, 1.0]
    assert wrong == pytest.approx([0.5, 1 / 3, 0.5])
    assert [len(x) for x in c.risk_coverage([], [], 0.5)] == [0, 0]


def test_abstaining_helps_where_certainty_is_earned():
    """Well separated scores: the surest half has fewer errors than all."""
    fake = np.arange(2000) % 2 == 0
    covered, wrong = c.risk_coverage(
        fake, c.probability_of(np.random.default_rng(0).normal(np.where(fake, 1.0, -1.0), 1.5)), 0.5
    )
    assert wrong[np.searchsorted(covered, 0.5)] < wrong[-1] / 2
