"""Intervals: against textbooks, slow twins and their own promise."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from defake.errors import BadConfig
from defake.metrics import detection as d
from defake.metrics import intervals as iv


def test_wilson_by_hand():
    """8 of 10 at 95 %: (0.8 + 0.19207 -/+ 1.96 sqrt(0.016 + 0.0096037)) / 1.384146 = 0.4902, 0.9433."""
    low, high = iv.wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)


def test_wilson_of_a_published_cell():
    """17,048 of 20,000 right is 85.24 % with 84.74 to 85.72, as in the field notes."""
    low, high = iv.wilson(17048, 20000)
    assert (round(100 * low, 2), round(100 * high, 2)) == (84.74, 85.72)


def test_wilson_at_the_ends():
    """No hit and only hits still leave doubt on the other side; no image leaves nothing."""
    assert iv.wilson(0, 20)[0] == 0.0
    assert 0.1 < iv.wilson(0, 20)[1] < 0.2
    assert iv.wilson(20, 20)[1] == 1.0
    assert iv.wilson(0, 0) is None
    with pytest.raises(BadConfig, match="hits"):
        iv.wilson(5, 4)
    with pytest.raises(BadConfig, match="confidence"):
        iv.wilson(1, 4, 95)


def test_rows_without_a_source_stand_alone():
    """Named sources share a code, None and empty do not."""
    codes = iv.clusters_of(["a", None, "b", "a", "", None])
    assert codes[0] == codes[3]
    assert len(set(codes.tolist())) == 5


def test_effective_size_of_copies_is_the_number_of_sources():
    """Ten images repeated ten times are worth about ten."""
    rng = np.random.default_rng(0)
    hit = np.repeat(rng.random(40) < 0.5, 10)
    clusters = np.repeat(np.arange(40), 10)
    assert iv.effective_size(hit, clusters) == pytest.approx(40, rel=0.05)
    assert iv.effective_size(hit, np.arange(400)) == pytest.approx(400, rel=0.01)
    assert iv.effective_size(hit, np.zeros(400, dtype=int)) == 400
    assert iv.effective_size(np.array([]), np.array([], dtype=int)) == 0


def test_clustered_share_is_wider():
    """A share whose sources disagree has a wider interval than the same share of independent images."""
    hit = np.repeat([1, 1, 1, 0, 1, 0, 1, 1], 50)
    apart = iv.share(hit, np.arange(400))
    together = iv.share(hit, np.repeat(np.arange(8), 50))
    assert apart.value == together.value == 0.75
    assert together.high - together.low > 3 * (apart.high - apart.low)
    assert iv.share(np.array([]), np.array([], dtype=int)).value is None


def slow_bootstrap(labels, scores, rng, n):
    """Draw indices of each class, call scikit-learn."""
    fakes, reals = np.flatnonzero(labels), np.flatnonzero(~labels)
    values = []
    for _ in range(n):
        rows = np.concatenate([rng.choice(fakes, len(fakes)), rng.choice(reals, len(reals))])
        values.append(roc_auc_score(labels[rows], scores[rows]))
    return np.quantile(values, [0.025, 0.975])


def test_bootstrap_equals_drawing_images_one_by_one():
    """With a source per image it is the classic bootstrap, up to its own noise."""
    rng = np.random.default_rng(1)
    labels = np.arange(300) < 120
    scores = rng.normal(0.4 + 0.2 * labels, 0.2)
    found = iv.bootstrap(d.Tally.auc, labels, scores, np.arange(300), rng=rng, n_resamples=600)
    assert found.value == pytest.approx(roc_auc_score(labels, scores))
    np.testing.assert_allclose([found.low, found.high], slow_bootstrap(labels, scores, rng, 600), atol=0.015)


def test_quantile_levels_change_nothing_that_matters():
    """30,000 distinct scores counted at some hundred levels give the interval of the exact scores."""
    rng = np.random.default_rng(2)
    labels = np.arange(30_000) < 3000
    scores = 1 / (1 + np.exp(-rng.normal(2 * labels, 1.5)))
    levels, where = iv.levels_of(scores, labels, keep=[0.5])
    assert len(levels) <= iv.MAX_DISTINCT
    assert ((levels[where] >= 0.5) == (scores >= 0.5)).all()
    assert d.auc(labels, levels[where]) == pytest.approx(d.auc(labels, scores), abs=1e-4)
    assert d.tpr_at_fpr(labels, levels[where], 0.01) == pytest.approx(d.tpr_at_fpr(labels, scores, 0.01), abs=0.003)


def test_drawn_sources_come_whole():
    """With ten sources or more, all images of one source occur equally often."""
    clusters = np.repeat(np.arange(12), 5)
    times = iv.draw(clusters, np.random.default_rng(3)).reshape(12, 5)
    assert (times == times[:, :1]).all()
    assert times[:, 0].sum() == 12


def test_one_source_still_has_doubt():
    """A class of one source draws its images: the interval is not a point."""
    rng = np.random.default_rng(4)
    labels = np.arange(100) < 50
    found = iv.bootstrap(
        d.Tally.auc, labels, rng.normal(labels * 1.0, 1), np.zeros(100, dtype=int), rng=rng, n_resamples=200
    )
    assert found.low < found.value < found.high
    assert found.interval == "bootstrap"


def test_undefined_stays_undefined():
    """One class only: no figure, no interval."""
    rng = np.random.default_rng(5)
    found = iv.bootstrap(d.Tally.auc, np.ones(3, dtype=bool), np.ones(3), np.arange(3), rng=rng, n_resamples=10)
    assert found == iv.Estimate(None)
    assert iv.percentile_interval(np.full(4, np.nan), None) == (None, None)


def test_same_seed_same_interval():
    """Randomness comes in by the generator alone."""
    labels, scores = np.arange(60) < 30, np.random.default_rng(6).random(60)
    a, b = (
        iv.bootstrap(d.Tally.auc, labels, scores, np.arange(60), rng=np.random.default_rng(7), n_resamples=50)
        for _ in range(2)
    )
    assert a == b


@pytest.mark.parametrize("n_sources", [4, 30])
def test_interval_covers_the_truth(n_sources):
    """Sources that differ: 95 % intervals hold the true AUC in at least 85 % of 60 worlds, naive ones do not."""
    rng = np.random.default_rng(8)
    covered, naive = 0, 0
    truth = 0.7365  # P(N(1, 1.25) > N(0, 1.25)) = Phi(1 / sqrt(2.5))
    for _ in range(60):
        clusters = np.tile(np.repeat(np.arange(n_sources), 20), 2)
        labels = np.arange(len(clusters)) < len(clusters) // 2
        shift = rng.normal(0, 0.5, (2, n_sources))
        scores = rng.normal(labels + shift[labels.astype(int), clusters], 1)
        found = iv.bootstrap(d.Tally.auc, labels, scores, clusters, rng=rng, n_resamples=200)
        covered += found.low <= truth <= found.high
        alone = iv.bootstrap(d.Tally.auc, labels, scores, np.arange(len(labels)), rng=rng, n_resamples=200)
        naive += alone.low <= truth <= alone.high
    assert covered >= 51
    assert covered > naive + 3
