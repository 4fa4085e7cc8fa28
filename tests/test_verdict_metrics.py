"""Signal detection and the figures of text verdicts."""

import csv
import math
from statistics import NormalDist

import pytest

from defake.errors import BadConfig, BadDataset
from defake.metrics.signal import sensitivity
from defake.metrics.verdicts import flip_rate, verdict_figures
from defake.questions import Outcome
from defake.records import Label

F, R = Label.FAKE, Label.REAL
OK, NO, REFUSED, LOST = Outcome.OK, Outcome.UNPARSED, Outcome.REFUSAL, Outcome.INFRASTRUCTURE


def test_d_prime_by_hand():
    """84.13 % hits and 15.87 % false alarms are one standard deviation to either side: d' = 2, c = 0."""
    got = sensitivity(8413, 10_000, 1587, 10_000)
    assert got.d_prime == pytest.approx(2, abs=1e-3)
    assert got.criterion == pytest.approx(0, abs=1e-3)


def test_d_prime_of_the_published_table():
    """Gemini Pro's row of the paper's Table V: 35.83 % of fakes, 99.27 % of photographs: d' 2.08, c +1.40."""
    got = sensitivity(1075, 3000, 22, 3000)
    assert (round(got.d_prime, 2), round(got.criterion, 2)) == (2.08, 1.40)


def test_d_prime_against_a_slow_twin():
    """The two figures agree with a bisection of the normal distribution."""

    def z(p):
        low, high = -10.0, 10.0
        while high - low > 1e-12:
            middle = (low + high) / 2
            low, high = (middle, high) if NormalDist().cdf(middle) < p else (low, middle)
        return low

    for hits, alarms in ((3, 5), (9, 1), (5, 5)):
        got = sensitivity(hits, 10, alarms, 10)
        assert got.d_prime == pytest.approx(z(hits / 10) - z(alarms / 10), abs=1e-9)
        assert got.criterion == pytest.approx(-(z(hits / 10) + z(alarms / 10)) / 2, abs=1e-9)


def test_extreme_rates_stay_finite_and_missing_kinds_undefined():
    """All right is finite; without fakes or photographs there is no figure; impossible counts raise."""
    assert math.isfinite(sensitivity(10, 10, 0, 10).d_prime)
    assert sensitivity(0, 0, 1, 2) is None
    assert sensitivity(1, 2, 0, 0) is None
    with pytest.raises(BadConfig, match="expected 0 <= hits"):
        sensitivity(3, 2, 0, 1)


def test_figures_by_hand():
    """Four fakes and four photographs: 5 answered, 4 right; paper mode counts the silent wrong; one was never asked."""
    labels = [F, F, F, F, R, R, R, R, R]
    outcomes = [OK, OK, NO, REFUSED, OK, OK, OK, NO, LOST]
    verdicts = [F, R, None, None, R, R, R, None, None]
    got = verdict_figures(labels, outcomes, verdicts)
    assert got["n"] == 8
    assert got["answered"] == 5 / 8
    assert got["accuracy_answered"] == 4 / 5
    assert got["accuracy_paper"] == 4 / 8
    assert (got["fake_paper"], got["real_paper"]) == (1 / 4, 3 / 4)
    assert (got["n_infrastructure"], got["n_unparsed"], got["n_refusal"], got["n_ok"]) == (1, 2, 1, 5)
    assert got["auc"] is None


def test_auc_stands_beside_accuracy():
    """P(fake) ranks both kinds though every verdict says real: AUC 1, accuracy one half."""
    got = verdict_figures([F, F, R, R], [OK] * 4, [R] * 4, [0.4, 0.3, 0.1, None])
    assert (got["auc"], got["auc_n"], got["accuracy_answered"]) == (1.0, 3, 0.5)


def test_nothing_asked_is_undefined_not_zero():
    """Without answers the shares are None."""
    got = verdict_figures([F], [LOST], [None])
    assert (got["n"], got["answered"], got["accuracy_paper"], got["d_prime"]) == (0, None, None, None)
    assert verdict_figures([F], [NO], [None])["accuracy_answered"] is None
    with pytest.raises(BadDataset, match="columns differ"):
        verdict_figures([F], [], [])


def test_flips_by_hand():
    """One of two complete pairs flips; a pair with a silent half does not count."""
    assert flip_rate({"a": [F, F], "b": [F, R], "c": [F, None], "d": [R]}) == {"flip_rate": 0.5, "flip_n": 2}
    assert flip_rate({})["flip_rate"] is None


@pytest.mark.shared
def test_the_published_overall_is_paper_mode(shared):
    """With equally many fakes and photographs, paper-mode accuracy is the paper's (Fake + Real) / 2 in its own rows."""
    rows = list(csv.DictReader((shared / "published" / "fakebench_detection.csv").read_text().splitlines()))
    assert rows
    for row in rows:
        values = {k.lower(): v for k, v in row.items()}
        if not all(values.get(k) for k in ("fake", "real")):
            continue
        hits, right = round(30 * float(values["fake"])), round(30 * float(values["real"]))
        labels = [F] * 3000 + [R] * 3000
        verdicts = [F] * hits + [None] * (3000 - hits) + [R] * right + [None] * (3000 - right)
        outcomes = [OK if v else NO for v in verdicts]
        got = verdict_figures(labels, outcomes, verdicts)
        assert 100 * got["accuracy_paper"] == pytest.approx(
            (float(values["fake"]) + float(values["real"])) / 2, abs=0.04
        )
