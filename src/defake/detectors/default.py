"""The detectors that ship in the package: ONNX on tiles of the reduced image."""

from __future__ import annotations

import hashlib
import json
import os
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from defake.errors import WeightsMismatch
from defake.metrics.calibration import Calibration
from defake.records import Reason, TileScore

from .base import RGB, Detector, Examination
from .tiles import REDUCED_SIDE_PX, View, views_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WEIGHTS = Path(__file__).parents[1] / "weights"
TOWER_FILE = "tower.bin"  # the blocks that default and fast share


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an image becomes a score: the calibration of the mean logit of `tiles.views_of` it."""

    tile_px: int
    tiles: int
    whole: bool
    sha256: str
    calibration: Calibration

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """The recipe beside the weights.

        Raises: WeightsMismatch if it is missing or damaged.
        """
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                tile_px=int(fields["tile_px"]),
                tiles=int(fields["tiles"]),
                whole=bool(fields["whole"]),
                sha256=str(fields["sha256"]),
                calibration=Calibration(**fields["calibration"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsMismatch(
                f"cannot read {path}: {error}; reinstall: pip install --force-reinstall defake"
            ) from error


class EmbeddedDetector(Detector):
    """A tile model in ONNX, run on the CPU.

    `weights` names a pair `NAME.onnx`, `NAME.json` of the package, `folder` another place for it; `tower.bin` lies
    beside. The SHA-256 of both files must be the one in the recipe. An image is scored by `threads` threads; 0 is one a
    core.

    Raises: WeightsMismatch if a file is missing, corrupted or does not belong to its recipe.
    """

    is_thread_safe = True

    def __init__(self, weights: str = "default", folder: str | Path | None = None, threads: int = 0) -> None:
        self.name = weights
        place = Path(folder) if folder else WEIGHTS
        self.recipe = Recipe.read(place / f"{weights}.json")
        self.calibration = self.recipe.calibration
        self._graph = place / f"{weights}.onnx"
        _check_weights(self._graph, self.recipe.sha256)
        self._sessions: dict[int, Any] = {}
        self.threads = threads

    def shared_by(self, threads: int) -> EmbeddedDetector:
        """A detector that gives each of that many callers its share of the cores."""
        # Several images at once keep the cores busier than one image spread over all of them.
        other = copy(self)
        other.threads = max(1, (os.cpu_count() or 1) // threads)
        other.session()  # before the callers come, who would each open one
        return other

    def weights_hash(self) -> str:
        """SHA-256 of the ONNX file and the tower's."""
        return self.recipe.sha256

    def score(self, images: Sequence[RGB]) -> NDArray[np.float64]:
        """Calibrated fake_score of each image: `(n,)`."""
        return np.array([found.fake_score for found in self.examine(images)], dtype=np.float64)

    def examine(self, images: Sequence[RGB]) -> list[Examination]:
        """Scores with the tiles they are a stated function of (`Recipe`)."""
        return [self._examine(image) for image in images]

    def logits_of(self, views: Sequence[View]) -> NDArray[np.float64]:
        """The model's raw logit of each view: `(n,)`."""
        # One view a run: a score cannot depend on its batch mates, and on a CPU larger batches gain nothing.
        session = self.session()
        rows = [
            session.run(["logits"], {"views": view.pixels.transpose(2, 0, 1)[None].astype(np.float32)})[0]
            for view in views
        ]
        return np.concatenate(rows).astype(np.float64).reshape(-1)

    def session(self) -> Any:
        """The model, opened when first used: how many threads it gets is known then. Copies share what is open."""
        if self.threads not in self._sessions:
            self._sessions[self.threads] = _open_session(self._graph, self.threads)
        return self._sessions[self.threads]

    def _examine(self, image: RGB) -> Examination:
        views = views_of(image, self.recipe.tiles, self.recipe.tile_px, whole=self.recipe.whole)
        logits = self.logits_of(views)
        score = float(self.calibration.score(logits.mean()))
        tiles = tuple(
            TileScore(view.x, view.y, view.width, view.height, float(own))
            for view, own in zip(views, self.calibration.score(logits), strict=True)
        )
        seen = "tiles and whole" if self.recipe.whole else f"tiles at {REDUCED_SIDE_PX} px"
        reason = Reason("reduced_tiles", f"{seen}: {score:.2f}", score)
        return Examination(score, (reason,), tiles)


def _check_weights(graph: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    for path in (graph, graph.with_name(TOWER_FILE)):
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise WeightsMismatch(f"cannot read the weights {path}: {error.strerror}; reinstall defake") from error
    if digest.hexdigest() != sha256:
        raise WeightsMismatch(
            f"the weights {graph} or {TOWER_FILE} beside it are corrupted: expected sha256 {sha256[:12]}…, "
            f"got {digest.hexdigest()[:12]}…; reinstall: pip install --force-reinstall defake"
        )


def _open_session(graph: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
