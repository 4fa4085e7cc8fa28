"""From a detector's logit to a probability and a word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from defake.errors import BadConfig
from defake.records import VerdictWord

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def logit_of(probability: ArrayLike, floor: float = 1e-7) -> NDArray[np.float64]:
    """Log-odds of probabilities, clipped to [floor, 1 - floor] so that 0 and 1 stay finite."""
    clipped = np.clip(np.asarray(probability, dtype=np.float64), floor, 1 - floor)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def probability_of(logit: ArrayLike) -> NDArray[np.float64]:
    """Logistic function, stable at both ends."""
    z = np.asarray(logit, dtype=np.float64)
    ez = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1 / (1 + ez), ez / (1 + ez)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """An affine map of the logit and the band in which no verdict is given.

    `fake_score = sigmoid(slope * logit + intercept)`; at least `fake_above` is `fake`, below `real_below` is `real`,
    between them `unsure`. Source: Platt (1999), with the band ours.
    """

    slope: float = 1.0
    intercept: float = 0.0
    real_below: float = 0.5
    fake_above: float = 0.5

    def __post_init__(self) -> None:
        if not all(np.isfinite([self.slope, self.intercept])) or self.slope <= 0:
            raise BadConfig(f"calibration must be finite with a positive slope, but got {self.slope}, {self.intercept}")
        if not 0 <= self.real_below <= self.fake_above <= 1:
            raise BadConfig(
                f"calibration needs 0 <= real_below <= fake_above <= 1, but got {self.real_below}, {self.fake_above}"
            )

    def score(self, logit: ArrayLike) -> NDArray[np.float64]:
        """Calibrated fake_score of each logit, same shape."""
        return probability_of(self.slope * np.asarray(logit, dtype=np.float64) + self.intercept)

    def word(self, fake_score: float) -> VerdictWord:
        """The verdict of a calibrated fake_score."""
        if fake_score >= self.fake_above:
            return VerdictWord.FAKE
        return VerdictWord.REAL if fake_score < self.real_below else VerdictWord.UNSURE
