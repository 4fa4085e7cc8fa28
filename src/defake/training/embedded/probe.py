"""Features of views, kept on disk, and the linear probe of them that ships."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from .crops import Crop, encoded_view, rescaled_view, seen_view
from .graph import Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .tower import Tower


@dataclass(frozen=True, slots=True)
class Plan:
    """What a shipped detector is: tapped blocks, tile, ridge penalty, bits. Source: ours, docs/experiments.md."""

    name: str
    taps: tuple[int, ...]
    tile_px: int
    decay: float
    bits: int
    tiles: int


def features_of(
    tower: Tower, crops: Sequence[Crop], kind: str, plan: Plan, folder: Path, *, say: Callable[[str], None]
) -> NDArray[np.float32]:
    """`(n, len(taps) * 1536)` of one view a crop: `rescaled`, `encoded` or the name of a degradation.

    What was computed before is read from `folder`, so that a run cut short goes on.
    """
    place = folder / f"{plan.name}-{kind.replace(' ', '').replace(',', '-')}.npz"
    known: dict[int, NDArray[np.float16]] = {}
    if place.is_file():
        with np.load(place) as kept:
            known = dict(zip(kept["index"].tolist(), kept["features"], strict=True))
    missing = [crop for crop in crops if crop.index not in known]
    for start in range(0, len(missing), 32):
        part = missing[start : start + 32]
        views = torch.from_numpy(np.stack([_view(crop, kind, plan.tile_px) for crop in part])).permute(0, 3, 1, 2)
        found = tower(views, plan.taps).flatten(1).numpy().astype(np.float16)
        known |= {crop.index: row for crop, row in zip(part, found, strict=True)}
        if start // 32 % 10 == 9 or start + 32 >= len(missing):
            np.savez(place, index=np.array(list(known)), features=np.stack(list(known.values())))
            say(f"{plan.name}, {kind}: {min(start + 32, len(missing))} of {len(missing)} views")
    return np.stack([known[crop.index] for crop in crops]).astype(np.float32)


def _view(crop: Crop, kind: str, tile_px: int) -> NDArray[np.uint8]:
    if kind == "rescaled":
        return rescaled_view(crop, tile_px)
    return encoded_view(crop, tile_px) if kind == "encoded" else seen_view(crop, kind, tile_px)


def fit_probe(
    features: NDArray[np.float32], is_fake: NDArray[np.bool_], weight: NDArray[np.float64], plan: Plan
) -> Probe:
    """The weighted ridge-penalised logistic regression on standardised features, folded into raw ones."""
    mean, spread = features.mean(0), features.std(0) + 1e-3
    x = torch.from_numpy((features - mean) / spread).float()
    fake, share = torch.from_numpy(is_fake).float(), torch.from_numpy(weight).float()
    w, b = torch.zeros(x.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    search = torch.optim.LBFGS([w, b], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        each = functional.binary_cross_entropy_with_logits(x @ w + b, fake, reduction="none")
        whole = (share * each).sum() + plan.decay * w.pow(2).sum() / 2
        whole.backward()
        return whole

    search.step(loss)
    folded = (w.detach().numpy() / spread).astype(np.float32)
    return Probe(plan.taps, folded, float(b.detach()[0]) - float(folded @ mean))


def logits_of(probe: Probe, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """The probe's logit of each row: `(n,)`."""
    return np.asarray(features.astype(np.float64) @ probe.weight + probe.bias)
