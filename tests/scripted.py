"""Detectors that do what the test says: public subclasses, no patching."""

import numpy as np

from defake.detectors import Detector
from defake.errors import BackendFailed
from defake.metrics.calibration import Calibration


class BrightnessDetector(Detector):
    """fake_score is the mean brightness, so that a test can choose it; counts its calls."""

    name = "brightness"

    def __init__(self, calibration=None):
        self.calls = 0
        self.calibration = calibration or Calibration(real_below=0.4, fake_above=0.6)

    def score(self, images):
        """Mean brightness of each image."""
        self.calls += 1
        return np.array([image.mean() / 255 for image in images])


class FailingDetector(Detector):
    """Fails on every image that is darker than half."""

    name = "failing"

    def score(self, images):
        """0.5, or BackendFailed."""
        if any(image.mean() < 128 for image in images):
            raise BackendFailed("out of memory: the device said so")
        return np.full(len(images), 0.5)


class SilentDetector(Detector):
    """Never gives an answer."""

    name = "silent"

    def score(self, images):
        """NaN each."""
        return np.full(len(images), np.nan)


class FineDetailDetector(Detector):
    """Calls fine detail fake and its absence real, so that compression turns the verdict."""

    name = "fine-detail"
    calibration = Calibration(real_below=0.4, fake_above=0.6)

    def score(self, images):
        """Mean step between neighbours, 12 of 255 and more being 1."""
        return np.array([min(1.0, np.abs(np.diff(image.astype(float), axis=1)).mean() / 12) for image in images])
