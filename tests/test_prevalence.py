"""What a verdict is worth where fakes are rare."""

import numpy as np
import pytest

from defake.errors import BadConfig
from defake.metrics import prevalence as p


def test_a_published_detector_at_one_percent():
    """TPR 56.8 %, FPR 1.45 % at 1 % fakes: 28 % of the alarms are right, as in the field notes."""
    found = p.predictive_values(0.568, 0.0145, 0.01)
    assert round(found.ppv, 2) == 0.28
    assert found.npv == pytest.approx(0.99 * 0.9855 / (0.99 * 0.9855 + 0.01 * 0.432))


@pytest.mark.parametrize("prevalence", p.PREVALENCES)
def test_equals_counting(prevalence):
    """Bayes' rule is counting a million images."""
    fakes, reals = 1e6 * prevalence, 1e6 * (1 - prevalence)
    found = p.predictive_values(0.8, 0.1, prevalence)
    assert found.ppv == pytest.approx(fakes * 0.8 / (fakes * 0.8 + reals * 0.1))
    assert found.npv == pytest.approx(reals * 0.9 / (reals * 0.9 + fakes * 0.2))


def test_never_called_is_undefined():
    """A threshold that calls nothing fake has no ppv; one that calls all fake no npv."""
    assert p.predictive_values(0, 0, 0.1).ppv is None
    assert p.predictive_values(1, 1, 0.1).npv is None
    with pytest.raises(BadConfig, match="tpr"):
        p.predictive_values(80, 0.1, 0.1)


def test_rogan_gladen_by_hand():
    """30 of 100 called fake at TPR 0.8, FPR 0.1: (0.3 - 0.1) / 0.7."""
    found = p.rogan_gladen(30, 100, p.Rate(0.8, 200), p.Rate(0.1, 200))
    assert found.value == pytest.approx(0.2 / 0.7)
    assert found.called_fake == 0.3
    assert found.low < found.value < found.high


def test_the_share_stays_a_share():
    """Fewer alarms than the FPR promises is none, not less than none."""
    found = p.rogan_gladen(7, 100, p.Rate(0.8, 200), p.Rate(0.1, 200))
    assert found.value == 0
    assert found.low == 0
    assert 0 < found.high < 0.2
    assert p.rogan_gladen(99, 100, p.Rate(0.8, 200), p.Rate(0.1, 200)).value == 1


@pytest.mark.parametrize(
    ("tpr", "fpr", "n"), [(p.Rate(0.3, 50), p.Rate(0.3, 50), 10), (p.Rate(0.9, 0), p.Rate(0.1, 5), 10),
                          (p.Rate(0.9, 9), p.Rate(0.1, 5), 0)]
)  # fmt: skip
def test_a_detector_that_cannot_tell_says_so(tpr, fpr, n):
    """Equal rates, no labelled images, an empty folder: None and the reason."""
    found = p.rogan_gladen(0, n, tpr, fpr)
    assert found.value is None
    assert found.why


def test_too_few_labelled_images_bound_nothing():
    """One and one labelled image: the interval is everything."""
    found = p.rogan_gladen(5, 10, p.Rate(1.0, 1), p.Rate(0.9, 1))
    assert (found.low, found.high) == (0.0, 1.0)


def test_rates_that_do_not_fit_the_folder():
    """Far fewer alarms than the FPR promises: no interval, and the reason."""
    found = p.rogan_gladen(1, 100, p.Rate(0.8, 200), p.Rate(0.1, 200))
    assert (found.value, found.low, found.high) == (0.0, None, None)
    assert "photographs are not like" in found.why
    assert "generated images are not like" in p.rogan_gladen(99, 100, p.Rate(0.8, 200), p.Rate(0.1, 200)).why


def test_impossible_counts_are_refused():
    """More alarms than images; a rate that is no share."""
    with pytest.raises(BadConfig, match="called fake"):
        p.rogan_gladen(11, 10, p.Rate(0.8, 10), p.Rate(0.1, 10))
    with pytest.raises(BadConfig, match="rate"):
        p.Rate(1.1, 4)


@pytest.mark.parametrize("truth", [0.02, 0.2, 0.7])
def test_interval_covers_the_truth(truth):
    """In 1,000 worlds the 95 % interval holds the true share in at least 93 %."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        tpr, fpr = rng.binomial(80, 0.8) / 80, rng.binomial(120, 0.1) / 120
        called = rng.binomial(300, truth * 0.8 + (1 - truth) * 0.1)
        found = p.rogan_gladen(called, 300, p.Rate(tpr, 80), p.Rate(fpr, 120))
        covered += found.low is not None and found.low <= truth <= found.high
    assert covered >= 930
