"""Two detectors on the same images."""

import numpy as np
import pytest
from scipy.stats import binomtest, chi2

from defake.errors import BadDataset
from defake.metrics import comparison as c
from defake.metrics import detection as d

AUCS = (d.Tally.auc, d.Tally.auc)


def pair(b, c_, agree=5):
    """Answers of which only the first is right b times, only the second c times."""
    first = [True] * b + [False] * c_ + [True] * agree
    second = [False] * b + [True] * c_ + [True] * agree
    return np.array(first), np.array(second)


def test_mcnemar_by_hand():
    """1 against 5: twice (1 + 6) / 64."""
    found = c.mcnemar(*pair(1, 5))
    assert found == c.McNemar(1, 5, 14 / 64, "exact")


@pytest.mark.parametrize(("b", "c_"), [(0, 1), (3, 3), (10, 25), (400, 455), (600, 690), (900, 900)])
def test_mcnemar_agrees_with_scipy(b, c_):
    """Exact up to a thousand disagreements, corrected chi-squared above."""
    found = c.mcnemar(*pair(b, c_))
    if b + c_ <= c.EXACT_UP_TO:
        assert found.p_value == pytest.approx(binomtest(b, b + c_, 0.5).pvalue)
    else:
        assert found.p_value == pytest.approx(chi2.sf(max(0, abs(b - c_) - 1) ** 2 / (b + c_), 1))
        assert found.p_value == pytest.approx(binomtest(b, b + c_, 0.5).pvalue, abs=0.001)


def test_mcnemar_without_disagreement():
    """Never apart: no test, and no p-value."""
    assert c.mcnemar(*pair(0, 0)).p_value is None
    with pytest.raises(BadDataset, match="same images"):
        c.mcnemar([True], [True, False])


def slow_paired(labels, a, b, rng, n):
    """The same drawn rows for both."""
    fakes, reals = np.flatnonzero(labels), np.flatnonzero(~labels)
    gaps = []
    for _ in range(n):
        rows = np.concatenate([rng.choice(fakes, len(fakes)), rng.choice(reals, len(reals))])
        gaps.append(d.auc(labels[rows], a[rows]) - d.auc(labels[rows], b[rows]))
    return np.quantile(gaps, [0.025, 0.975])


def test_paired_bootstrap_equals_drawing_rows():
    """The interval is the obvious one; pairing makes it narrower than two separate ones."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) < 100
    truth = rng.normal(labels * 1.0, 1)
    a, b = truth + rng.normal(0, 0.2, 200), truth + rng.normal(0, 0.6, 200)
    found = c.paired_bootstrap(AUCS, labels, a, b, np.arange(200), rng=rng, n_resamples=800)
    assert found.estimate.value == pytest.approx(d.auc(labels, a) - d.auc(labels, b))
    np.testing.assert_allclose(
        [found.estimate.low, found.estimate.high], slow_paired(labels, a, b, rng, 800), atol=0.015
    )
    assert found.estimate.high - found.estimate.low < 0.1


def test_a_detector_equals_itself():
    """No difference, p of 1, and the sentence says so."""
    rng = np.random.default_rng(1)
    labels, a = np.arange(50) < 20, rng.random(50)
    found = c.paired_bootstrap(AUCS, labels, a, a, np.arange(50), rng=rng, n_resamples=100)
    assert (found.estimate.value, found.estimate.low, found.estimate.high, found.p_value) == (0, 0, 0, 1.0)
    assert "cannot be separated" in c.in_words("a", "b", 0.0, found.p_value)


def test_unanswered_by_either_are_out():
    """A row counts where both answered; with one class left nothing is compared."""
    rng = np.random.default_rng(2)
    labels = np.array([True, True, False, False])
    a, b = np.array([0.9, np.nan, 0.1, 0.2]), np.array([0.8, 0.7, 0.9, 0.1])
    found = c.paired_bootstrap(AUCS, labels, a, b, np.arange(4), rng=rng, n_resamples=20)
    assert found.estimate.value == 0.5
    b[0] = np.nan
    found = c.paired_bootstrap(AUCS, labels, a, b, np.arange(4), rng=rng, n_resamples=20)
    assert found.estimate.value is None
    assert "cannot be compared" in c.in_words("a", "b", None, None)


def test_false_alarms_stay_near_the_level():
    """Two equally good detectors are told apart in at most 12 of 100 worlds at 5 %."""
    rng = np.random.default_rng(3)
    labels = np.arange(120) < 60
    wrong = 0
    for _ in range(100):
        a, b = rng.normal(labels * 1.0, 1), rng.normal(labels * 1.0, 1)
        found = c.paired_bootstrap(AUCS, labels, a, b, np.arange(120), rng=rng, n_resamples=150)
        wrong += found.p_value < 0.05
    assert wrong <= 12


def test_holm_by_hand():
    """0.01, 0.04, 0.03 of three: 0.03, 0.06, 0.06; a missing one does not count."""
    assert c.holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert c.holm([0.9, 0.8]) == [1.0, 1.0]
    assert c.holm([]) == []


def test_words():
    """Who is better, or that nobody knows."""
    assert c.in_words("a", "b", 0.1, 0.01) == "a is better than b"
    assert c.in_words("a", "b", -0.1, 0.01) == "b is better than a"
    assert c.in_words("a", "b", 0.1, 0.2) == "a and b cannot be separated on these images"
