"""Fitting a calibration to a detector, writing it beside the weights, finding it again."""

import json

import numpy as np
import pytest
from PIL import Image
from scripted import BrightnessDetector, SilentDetector

from defake.calibrate import draw_reliability, fit_calibration
from defake.detectors.calibrations import read_calibration, write_calibration
from defake.errors import BadConfig, BadDataset, WeightsMismatch
from defake.metrics.calibration import Calibration
from defake.store import Scores


def made(seed=0, n=600, sources=12, slope=3.0, shift=1.0):
    """Scores of a detector that is too sure and leans to fake, of n images."""
    rng = np.random.default_rng(seed)
    fake = np.arange(n) < n // 2
    z = slope * (2 * rng.normal(np.where(fake, 0.8, -0.8), 1) * 0.8) + shift
    none = np.full(n, None, dtype=object)
    return Scores(
        path=np.array([f"{i}.jpg" for i in range(n)], dtype=object),
        is_fake=fake,
        generator=none,
        source=np.array([f"s{i % sources}" for i in range(n)], dtype=object),
        split=none,
        fake_score=1 / (1 + np.exp(-z)),
        error=none,
    )


def test_calibration_mends_what_is_wrong():
    """On sources it was not fitted to, the calibration error and the log-loss fall; the ranking stays."""
    fit = fit_calibration(made(), Calibration())
    quality = fit.quality()
    assert fit.by_source
    assert quality["before"].calibration_error > 0.1
    assert quality["after"].calibration_error < 0.06
    assert quality["after"].balanced_nll < quality["before"].balanced_nll
    assert fit.calibration.slope == pytest.approx(1 / 3, rel=0.25)


def test_the_band_holds_on_the_fitted_scores():
    """At most the declared share of each class on the wrong side."""
    scores = made()
    fit = fit_calibration(scores, Calibration(), error=0.03)
    found = fit.calibration.score(Calibration().logit(scores.fake_score))
    assert (found[~scores.is_fake] >= fit.calibration.fake_above).mean() <= 0.03
    assert (found[scores.is_fake] < fit.calibration.real_below).mean() <= 0.03
    assert 0 < fit.unsure < 1


def test_fitting_again_changes_nothing():
    """The new map is of the detector's logit, not of its old score: a calibrated detector keeps its map."""
    scores = made()
    first = fit_calibration(scores, Calibration()).calibration
    logit = Calibration().logit(scores.fake_score)
    columns = scores.columns() | {"fake_score": first.score(logit)}
    second = fit_calibration(Scores(**columns), first).calibration
    assert second.slope == pytest.approx(first.slope, rel=1e-6)
    assert second.intercept == pytest.approx(first.intercept, abs=1e-6)


def test_few_sources_fall_back_to_images():
    """A class of one source cannot leave it out: folds are of images, and the fit says so."""
    scores = made(n=60)
    source = np.where(scores.is_fake, "fakes", "reals").astype(object)
    assert not fit_calibration(Scores(**(scores.columns() | {"source": source})), Calibration()).by_source


def test_what_cannot_be_calibrated():
    """One class, one image of each, reversed labels."""
    scores = made(n=20)
    with pytest.raises(BadDataset, match="fakes and reals"):
        fit_calibration(scores.where(scores.is_fake), Calibration())
    with pytest.raises(BadDataset, match="too few"):
        fit_calibration(scores.where(np.array([0, 19])), Calibration())
    with pytest.raises(BadDataset, match="check the labels"):
        fit_calibration(Scores(**(scores.columns() | {"is_fake": ~scores.is_fake})), Calibration())


def test_a_calibration_is_read_as_it_was_written(tmp_path):
    """From the file, or from its folder."""
    detector, calibration = BrightnessDetector(), Calibration(0.5, -0.25, 0.3, 0.7)
    write_calibration(tmp_path / "calibration.json", calibration, detector, {"data": "m.csv"})
    assert read_calibration(tmp_path / "calibration.json", detector) == calibration
    assert read_calibration(tmp_path, detector) == calibration
    assert json.loads((tmp_path / "calibration.json").read_text())["fitted_on"] == {"data": "m.csv"}


class OtherWeights(BrightnessDetector):
    """The same detector with other weights."""

    def weights_hash(self):
        """Not the empty one."""
        return "abc"


def test_another_detectors_calibration_is_refused(tmp_path):
    """Other weights, another detector, a damaged or missing file."""
    write_calibration(tmp_path / "calibration.json", Calibration(), BrightnessDetector(), {})
    for other in (OtherWeights(), SilentDetector()):
        with pytest.raises(WeightsMismatch, match="was fitted for brightness"):
            read_calibration(tmp_path, other)
    with pytest.raises(BadConfig, match="defake calibrate"):
        read_calibration(tmp_path / "nowhere.json", BrightnessDetector())
    for text in ("{", "[]", '{"slope": "steep"}', '{"slope": -1, "intercept": 0, "real_below": 0, "fake_above": 1}'):
        (tmp_path / "calibration.json").write_text(text)
        with pytest.raises(BadConfig):
            read_calibration(tmp_path, BrightnessDetector())


def test_the_picture_is_drawn(tmp_path):
    """A PNG that is not one colour."""
    draw_reliability(fit_calibration(made(), Calibration()), tmp_path / "reliability.png", "brightness on m.csv")
    pixels = np.asarray(Image.open(tmp_path / "reliability.png").convert("RGB"))
    assert pixels.shape == (672, 624, 3)
    assert pixels.std() > 10
