"""The tower as it ships: its matrices in 8-bit integers, run by ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from defake.detectors.default import TOWER_FILE

from .graph import build_features, build_graph, pack, smooth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .graph import Probe
    from .tower import Tower


class PackedTower:
    """`content` is `tower.bin`, which is also written to `folder`, with the graphs that give features.

    What is learnt from these features knows what the integers cost.
    """

    def __init__(self, tower: Tower, folder: Path) -> None:
        views = torch.from_numpy(coloured_noise()).permute(0, 3, 1, 2)
        self._weights = smooth(tower.arrays(), tower.widest(views))
        self.content, self._stored = pack(self._weights)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TOWER_FILE).write_bytes(self.content)

    def seeing(self, taps: Sequence[int], tile_px: int) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        """A function of views `(n, px, px, 3)` that gives their features `(n, len(taps) * 1536)`, for any thread."""
        import onnxruntime

        path = self._folder / f"features-{'.'.join(map(str, taps))}-{tile_px}.onnx"
        path.write_bytes(build_features(self._weights, self._stored, taps, tile_px).SerializeToString())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        def see(views: NDArray[np.uint8]) -> NDArray[np.float32]:
            # One view a run, as the detector does.
            inputs = views.transpose(0, 3, 1, 2).astype(np.float32)[:, None]
            return np.concatenate([session.run(["features"], {"views": view})[0] for view in inputs])

        return see

    def graph(self, probe: Probe, tile_px: int) -> bytes:
        """The ONNX file of a detector: the tower's blocks up to the last tap, and the probe."""
        return bytes(build_graph(self._weights, self._stored, probe, tile_px).SerializeToString())


def coloured_noise(count: int = 24, side_px: int = 224, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth to rough random pictures `(count, side_px, side_px, 3)`.

    Which channels of the tower are wide hardly depends on the picture, so that no photograph is needed to see it
    (docs/experiments.md).
    """
    rng = np.random.default_rng(seed)
    down, across = np.fft.fftfreq(side_px)[:, None], np.fft.rfftfreq(side_px)[None]
    found = []
    for _ in range(count):
        spectrum = rng.standard_normal((2, 3, side_px, across.shape[1]))
        power = (np.hypot(down, across) + 0.005) ** -rng.uniform(0.6, 1.6)
        field = np.fft.irfft2((spectrum[0] + 1j * spectrum[1]) * power, s=(side_px, side_px))
        field = field / field.std((1, 2), keepdims=True) * rng.uniform(20, 70) + rng.uniform(60, 190)
        grey = 0.6 * field + 0.4 * field.mean(0)
        found.append(np.clip(grey, 0, 255).astype(np.uint8).transpose(1, 2, 0))
    return np.stack(found)
