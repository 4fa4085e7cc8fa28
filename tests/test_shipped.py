"""The weights in the package: that they are the ones described, and that they score as they did when they were made."""

import hashlib
import json

import numpy as np
import pytest

from defake import load_detector
from defake.detectors.default import TOWER_FILE, WEIGHTS
from defake.records import VerdictWord

# Scores of the pictures below on the machine that made the weights.
REFERENCE = {"default": [0.8844, 0.035, 0.0775, 0.0731], "fast": [0.9721, 0.1928, 0.2817, 0.1939]}
NAMES = sorted(REFERENCE)


def picture(seed):
    """A smooth random colour field with a texture, no photograph: (400 + 100 * seed, 640, 3)."""
    rng = np.random.default_rng(seed)
    height, width = 400 + 100 * seed, 640
    y, x = np.mgrid[0:height, 0:width] / 100
    waves = [np.sin(a * x + b * y + c) for a, b, c in rng.uniform(0.5, 4, (3, 3))]
    field = 128 + 80 * np.stack(waves, 2) + rng.normal(0, 4 * seed, (height, width, 3))
    return np.clip(field, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module", params=NAMES)
def detector(request):
    """Each shipped detector."""
    return load_detector(request.param)


def test_scores_are_those_of_the_day(detector):
    """Within 0.03 of the stored scores: another processor rounds otherwise, another decoder or graph does not pass."""
    scores = detector.score([picture(seed) for seed in range(4)])
    assert scores == pytest.approx(REFERENCE[detector.name], abs=0.03)


def test_no_batch_mate_changes_a_score(detector):
    """Alone or among others, the last bit is the same."""
    pictures = [picture(seed) for seed in range(3)]
    assert detector.score(pictures).tolist() == [float(detector.score([p])[0]) for p in pictures]


def test_shared_cores_do_not_change_a_score(detector):
    """One thread or all of them: equal to five decimals."""
    pictures = [picture(seed) for seed in range(2)]
    assert detector.shared_by(64).score(pictures) == pytest.approx(detector.score(pictures), abs=1e-5)


def test_clean_photographs_it_never_learnt_from_are_not_called_fake():
    """Of the colour photographs in scikit-image and scikit-learn, never compressed or reduced cleanly, at most one.

    A detector that learnt how its crops were shrunk calls most of these generated (docs/experiments.md).
    """
    skimage, sklearn = pytest.importorskip("skimage.data"), pytest.importorskip("sklearn.datasets")
    names = ("astronaut", "chelsea", "coffee", "rocket")
    pictures = [np.asarray(getattr(skimage, name)()) for name in names] + list(sklearn.load_sample_images().images)
    default = load_detector("default")
    assert sum(default.calibration.word(score) is VerdictWord.FAKE for score in default.score(pictures)) <= 1


def test_the_files_are_the_ones_in_the_record(detector):
    """The SHA-256 of the ONNX file and the tower's stands in the JSON beside them, with the figures of the card."""
    record = json.loads((WEIGHTS / f"{detector.name}.json").read_text())
    files = [(WEIGHTS / name).read_bytes() for name in (f"{detector.name}.onnx", TOWER_FILE)]
    assert hashlib.sha256(b"".join(files)).hexdigest() == record["sha256"]
    assert detector.weights_hash() == record["sha256"]
    assert 0.5 < record["degradations"]["as stored"]["auc"] < 1


def test_the_files_stay_small():
    """Together at most 64 MB."""
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) <= 64_000_000
