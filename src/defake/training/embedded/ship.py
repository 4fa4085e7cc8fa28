"""Measure the recipe with each matched collection held out, calibrate there, fit on everything, write what ships."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from .crops import AS_STORED, DEGRADATIONS, MATCHED, Crop, balanced, chosen
from .graph import build_graph
from .heldout import auc_rows, calibrate, zero_pixel_null
from .probe import Plan, features_of, fit_probe, logits_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .graph import Probe
    from .tower import Tower

DEFAULT = Plan("default", (4, 5, 6), tile_px=224, decay=0.03, bits=8, native_tiles=0, reduced_tiles=2)
FAST = Plan("fast", (2, 3), tile_px=160, decay=0.1, bits=6, native_tiles=0, reduced_tiles=1)
# What the probe learns from, and the share of the loss each kind of view has. Source: ours, docs/experiments.md.
SHARES = {"rescaled": 0.8, "encoded": 0.2}
ENCODED_VIEWS = 1800
MEASURED_PER_CLASS = 150


class Bench:
    """The features of all views of a plan, and the held-out logits that follow from them."""

    def __init__(
        self, plan: Plan, tower: Tower, crops: Sequence[Crop], folder: Path, say: Callable[[str], None]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.plan = plan
        self.learnt, self.measured = chosen(crops), measured(crops)
        shuffled = np.random.default_rng(8).permutation([c.index for c in self.learnt if c.source not in MATCHED])
        encoded = set(shuffled[:ENCODED_VIEWS].tolist())
        self.views = {kind: [c for c in self.learnt if kind != "encoded" or c.index in encoded] for kind in SHARES}
        self.features, self.seen = (
            {kind: features_of(tower, of, kind, plan, folder, say=say) for kind, of in wanted.items()}
            for wanted in (self.views, dict.fromkeys(DEGRADATIONS, self.measured))
        )

    def fit(self, without: str = "") -> Probe:
        """The probe of all crops but those of one collection."""
        parts: list[tuple[NDArray[np.float32], list[Crop], NDArray[np.float64]]] = []
        for kind, share in SHARES.items():
            of = self.views[kind]
            kept = [i for i, crop in enumerate(of) if crop.source != without]
            own = [of[i] for i in kept]
            parts.append((self.features[kind][kept], own, balanced(own) * share))
        crops = [crop for _, own, _ in parts for crop in own]
        return fit_probe(
            np.concatenate([features for features, _, _ in parts]),
            np.array([crop.is_fake for crop in crops]),
            np.concatenate([weight for _, _, weight in parts]),
            self.plan,
        )

    def held_out(self) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
        """Logits by probes that saw nothing of a crop's collection.

        Degradation -> logits of `measured`; and those of `learnt` rescaled, NaN for crops of the matched collections.
        """
        found = {name: np.zeros(len(self.measured)) for name in DEGRADATIONS}
        elsewhere = np.full(len(self.learnt), np.nan)
        source = np.array([crop.source for crop in self.measured])
        learnt = np.array([crop.source for crop in self.learnt])
        for name in sorted(set(learnt.tolist())):
            probe = self.fit(name)
            if name not in MATCHED:
                elsewhere[learnt == name] = logits_of(probe, self.features["rescaled"][learnt == name])
            for degradation in DEGRADATIONS if name in MATCHED else ():
                at = np.flatnonzero(source == name)
                found[degradation][at] = logits_of(probe, self.seen[degradation][at])
        return found, elsewhere


def measured(crops: Sequence[Crop]) -> list[Crop]:
    """At most 150 crops of each matched collection and class, drawn with seed 5."""
    counts: Counter[tuple[str, bool]] = Counter()
    found = []
    for i in np.random.default_rng(5).permutation(len(crops)):
        crop = crops[i]
        counts[crop.source, crop.is_fake] += 1
        if crop.source in MATCHED and counts[crop.source, crop.is_fake] <= MEASURED_PER_CLASS:
            found.append(crop)
    return found


def figures(bench: Bench) -> dict[str, Any]:
    """Calibration, AUC and rates of held-out collections, recall a generator, the zero-pixel null.

    The calibration is fitted to every collection, each left out in turn; the other figures are of the matched ones.
    """
    logits, elsewhere = bench.held_out()
    fake = np.array([crop.is_fake for crop in bench.measured])
    kept = ~np.isnan(elsewhere)
    crops = [*bench.measured, *(crop for crop, keep in zip(bench.learnt, kept, strict=True) if keep)]
    calibration = calibrate(crops, np.concatenate([logits[AS_STORED], elsewhere[kept]]))
    rows: dict[str, Any] = {}
    for name, logit in logits.items():
        score = 1 / (1 + np.exp(-(calibration["slope"] * logit + calibration["intercept"])))
        called = score >= calibration["fake_above"]
        rows[name] = auc_rows(bench.measured, logit)
        rows[name]["photographs_called_fake"] = float(called[~fake].mean())
        rows[name]["generated_called_fake"] = float(called[fake].mean())
        if name == AS_STORED:
            generators = _by_generator(bench.measured, called)
    return {
        "calibration": calibration,
        "degradations": rows,
        "generators": generators,
        "null_auc": zero_pixel_null(bench.measured),
    }


def _by_generator(crops: Sequence[Crop], called: NDArray[np.bool_]) -> list[dict[str, Any]]:
    names = sorted({crop.generator or "unknown" for crop in crops if crop.is_fake})
    found = []
    for name in names:
        at = [i for i, crop in enumerate(crops) if crop.is_fake and (crop.generator or "unknown") == name]
        found.append({"generator": name, "images": len(at), "called_fake": float(called[at].mean())})
    return found


def write_weights(tower: Tower, probe: Probe, plan: Plan, figures_of: dict[str, Any], out: Path) -> Path:
    """`NAME.onnx` and `NAME.json` in `out`."""
    content = build_graph(tower.arrays(), probe, plan.tile_px, plan.bits).SerializeToString()
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{plan.name}.onnx").write_bytes(content)
    record = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "tile_px": plan.tile_px,
        "native_tiles": plan.native_tiles,
        "reduced_tiles": plan.reduced_tiles,
        "native_weight": 0.0 if not plan.native_tiles else 0.5,
        "reduced_weight": 1.0 if not plan.native_tiles else 0.5,
        "bias": 0.0,
        **figures_of,
    }
    path = out / f"{plan.name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path
