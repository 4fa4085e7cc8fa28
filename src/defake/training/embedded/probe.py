"""Features of views, kept on disk, and the linear probe of them that ships."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from .crops import DEGRADATIONS, Crop, encoded_view, placed_view, reduced_view, rescaled_view, seen_views
from .graph import Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

OFFSET_DECAY = 0.001  # ridge penalty of a collection's offset. Source: ours, docs/experiments.md


@dataclass(frozen=True, slots=True)
class Plan:
    """What a shipped detector is: tapped blocks, ridge penalty, the views it looks at.

    Source: ours, docs/experiments.md.
    """

    name: str
    taps: tuple[int, ...]
    tile_px: int
    decay: float
    tiles: int
    whole: bool


def features_of(
    see: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    crops: Sequence[Crop],
    kind: str,
    plan: Plan,
    folder: Path,
    *,
    say: Callable[[str], None],
) -> NDArray[np.float32]:
    """`(n, len(taps) * 1536)` of what is seen of each crop; `see` is `PackedTower.seeing` of the plan.

    `kind` is a view to learn from, `VIEWS`, or the name of a degradation: the mean over the views that the detector
    looks at then, whose logit is the mean of their logits. What was computed before is read from `folder`, so that a
    run cut short goes on.
    """
    blocks = ".".join(map(str, plan.taps))  # in the name, so that a run with --quick is not taken for the whole
    place = folder / f"{plan.name}-{blocks}-{kind.replace(' ', '').replace(',', '-')}.npz"
    known: dict[int, NDArray[np.float16]] = {}
    if place.is_file():
        with np.load(place) as kept:
            known = dict(zip(kept["index"].tolist(), kept["features"], strict=True))
    missing = [crop for crop in crops if crop.index not in known]

    def row(crop: Crop) -> NDArray[np.float16]:
        return np.asarray(see(_views(crop, kind, plan)).mean(0), np.float16)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(missing), _KEPT_AFTER):
            part = missing[start : start + _KEPT_AFTER]
            known |= zip((crop.index for crop in part), pool.map(row, part), strict=True)
            np.savez(place, index=np.array(list(known)), features=np.stack(list(known.values())))
            say(f"{plan.name}, {kind}: {start + len(part)} of {len(missing)} images")
    return np.stack([known[crop.index] for crop in crops]).astype(np.float32)


_KEPT_AFTER = 500  # images

# What the probe learns from: one view a crop of each kind.
VIEWS = {"reduced": reduced_view, "rescaled": rescaled_view, "encoded": encoded_view, "placed": placed_view}


def _views(crop: Crop, kind: str, plan: Plan) -> NDArray[np.uint8]:
    if kind in DEGRADATIONS:
        return np.stack(seen_views(crop, kind, plan.tiles, plan.tile_px, whole=plan.whole))
    return VIEWS[kind](crop, plan.tile_px)[None]


def fit_probe(
    features: NDArray[np.float32],
    is_fake: NDArray[np.bool_],
    weight: NDArray[np.float64],
    plan: Plan,
    level: NDArray[np.int64] | None = None,
) -> Probe:
    """The weighted ridge-penalised logistic regression on standardised features, folded into raw ones.

    `level` `(n,)` numbers collections from 0 (-1: none): each gets an offset while the probe learns and loses it
    afterwards, so that how many of a collection are generated need not be explained by what its images share.
    """
    mean, spread = features.mean(0), features.std(0) + 1e-3
    x = torch.from_numpy((features - mean) / spread).float()
    fake, share = torch.from_numpy(is_fake).float(), torch.from_numpy(weight).float()
    of = torch.zeros(len(x), dtype=torch.int64) if level is None else torch.from_numpy(level + 1)
    w, b = torch.zeros(x.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    offsets = torch.zeros(int(of.max()) + 1, requires_grad=True)
    search = torch.optim.LBFGS([w, b, offsets], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        logit = x @ w + b + offsets[of] * (of > 0)
        each = functional.binary_cross_entropy_with_logits(logit, fake, reduction="none")
        penalty = plan.decay * w.pow(2).sum() / 2 + OFFSET_DECAY * offsets.pow(2).sum() / 2
        whole = (share * each).sum() + penalty
        whole.backward()
        return whole

    search.step(loss)
    folded = (w.detach().numpy() / spread).astype(np.float32)
    return Probe(plan.taps, folded, float(b.detach()[0]) - float(folded @ mean))


def logits_of(probe: Probe, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """The probe's logit of each row: `(n,)`."""
    return np.asarray(features.astype(np.float64) @ probe.weight + probe.bias)
