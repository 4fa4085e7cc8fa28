"""What every detector promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from defake.metrics.calibration import Calibration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defake.records import Reason, TileScore

RGB = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Examination:
    """A score with the parts it is a function of."""

    fake_score: float
    reasons: tuple[Reason, ...] = ()
    tiles: tuple[TileScore, ...] = ()


class Detector(ABC):
    """Scores images; higher means more likely generated.

    An image is an upright RGB array `(h, w, 3)` of dtype uint8 (`defake.images.read_image` makes one of any file).
    A score never depends on the other images of its batch.
    """

    name: str
    calibration: Calibration = Calibration()
    # Whether several threads may call it at once.
    is_thread_safe: bool = False

    @abstractmethod
    def score(self, images: Sequence[RGB]) -> NDArray[np.float64]:
        """Calibrated fake_score of each image: `(n,)`, in [0, 1]; NaN where the model gave no answer."""

    def examine(self, images: Sequence[RGB]) -> list[Examination]:
        """Scores with reasons and tiles; a detector without parts gives the score alone."""
        return [Examination(float(score)) for score in self.score(images)]

    def shared_by(self, threads: int) -> Detector:  # noqa: ARG002 - for those that can
        """The same detector set for calls from that many threads at once; scores do not change."""
        return self

    def weights_hash(self) -> str:
        """SHA-256 of what the scores depend on, or an empty string if the detector cannot tell."""
        return ""
