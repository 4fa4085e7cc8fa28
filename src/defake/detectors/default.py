"""The detector that ships in the package: ONNX on native tiles and a global view."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from defake.errors import WeightsMismatch
from defake.metrics.calibration import Calibration
from defake.records import Reason, TileScore

from .base import RGB, Detector, Examination
from .tiles import View, global_view, native_tiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WEIGHTS = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an image becomes a score: `logit = tile_weight * mean(tile logits) + global_weight * global logit + bias`."""

    max_tiles: int
    tile_weight: float
    global_weight: float
    bias: float
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
                max_tiles=int(fields["max_tiles"]),
                tile_weight=float(fields["tile_weight"]),
                global_weight=float(fields["global_weight"]),
                bias=float(fields["bias"]),
                sha256=str(fields["sha256"]),
                calibration=Calibration(**fields["calibration"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsMismatch(
                f"cannot read {path}: {error}; reinstall: pip install --force-reinstall defake"
            ) from error


class EmbeddedDetector(Detector):
    """A tile model in ONNX, run on the CPU.

    `weights` names a pair `NAME.onnx`, `NAME.json` of the package, `folder` another place for it. The file's SHA-256
    must be the one in the recipe. `threads=0` leaves the number of threads to ONNX Runtime.

    Raises: WeightsMismatch if a file is missing, corrupted or does not belong to its recipe.
    """

    def __init__(self, weights: str = "default", folder: str | Path | None = None, threads: int = 0) -> None:
        self.name = weights
        place = Path(folder) if folder else WEIGHTS
        self.recipe = Recipe.read(place / f"{weights}.json")
        self.calibration = self.recipe.calibration
        self._session = _open_session(place / f"{weights}.onnx", self.recipe.sha256, threads)

    def weights_hash(self) -> str:
        """SHA-256 of the ONNX file."""
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
        rows = [
            self._session.run(["logits"], {"views": view.pixels.transpose(2, 0, 1)[None].astype(np.float32)})[0]
            for view in views
        ]
        return np.concatenate(rows).astype(np.float64).reshape(-1)

    def _examine(self, image: RGB) -> Examination:
        recipe = self.recipe
        tiles = native_tiles(image, recipe.max_tiles)
        whole = [global_view(image)] if recipe.global_weight else []
        logits = self.logits_of([*tiles, *whole])
        logit = recipe.tile_weight * float(logits[: len(tiles)].mean()) + recipe.bias
        if whole:
            logit += recipe.global_weight * float(logits[-1])
        # A part's own score: what the image's score would be if every part looked like it.
        scores = self.calibration.score((recipe.tile_weight + recipe.global_weight) * logits + recipe.bias)
        parts = tuple(
            TileScore(tile.x, tile.y, tile.width, tile.height, float(score))
            for tile, score in zip(tiles, scores[: len(tiles)], strict=True)
        )
        return Examination(
            float(self.calibration.score(logit)), _reasons(parts, float(scores[-1]) if whole else None), parts
        )


def _reasons(tiles: tuple[TileScore, ...], whole: float | None) -> tuple[Reason, ...]:
    found = []
    if whole is not None:
        found.append(Reason("global_view", f"whole image {whole:.2f}", whole))
    if tiles:
        mean = sum(tile.fake_score for tile in tiles) / len(tiles)
        found.append(Reason("native_tiles", f"detail, {len(tiles)} tile{'s' * (len(tiles) > 1)}: {mean:.2f}", mean))
    # The part that departs most from "cannot tell" is the strongest ground.
    return tuple(sorted(found, key=lambda reason: -abs(reason.value - 0.5)))


def _open_session(path: Path, sha256: str, threads: int) -> Any:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsMismatch(f"cannot read the weights {path}: {error.strerror}; reinstall defake") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsMismatch(
            f"the weights {path} are corrupted: expected sha256 {sha256[:12]}…, got {found[:12]}…; "
            "reinstall: pip install --force-reinstall defake"
        )
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Weights are stored as integers and unfolded to float32 once, at load: activations are never quantised.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
