"""Measure the recipe with each matched collection held out, calibrate there, fit on everything, write what ships."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from defake.detectors.default import TOWER_FILE
from defake.errors import BadConfig
from defake.metrics.calibration import Calibration, risk_coverage

from .crops import AS_STORED, COPY, DEGRADATIONS, MATCHED, PACKAGES, Crop, balanced
from .heldout import auc_rows, calibrate, zero_pixel_null
from .probe import Plan, features_of, fit_probe, logits_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .graph import Probe
    from .packed import PackedTower

DEFAULT = Plan("default", (4, 5, 6, 7), tile_px=224, decay=0.005, tiles=2, whole=True)
FAST = Plan("fast", (2, 3, 4), tile_px=160, decay=0.01, tiles=1, whole=False)
# What the probe learns from, and the share of the loss each kind of view has. Source: ours, docs/experiments.md.
SHARES = {"reduced": 0.35, "rescaled": 0.25, "encoded": 0.2, "placed": 0.2}
MEASURED, MEASURED_PER_CLASS = (*MATCHED, *PACKAGES), 150


class Bench:
    """The features of all views of a plan, and the held-out logits that follow from them.

    Raises: BadConfig if `folder` holds features of other crops.
    """

    def __init__(
        self, plan: Plan, tower: PackedTower, crops: Sequence[Crop], folder: Path, say: Callable[[str], None]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _claim(folder, crops)
        self.plan = plan
        self.learnt, self.measured = crops, measured(crops)
        see = tower.seeing(plan.taps, plan.tile_px)
        self.features = {kind: features_of(see, self.learnt, kind, plan, folder, say=say) for kind in SHARES}
        self.seen = {name: features_of(see, self.measured, name, plan, folder, say=say) for name in DEGRADATIONS}

    def fit(self, without: str = "") -> Probe:
        """The probe of all crops but those of one collection."""
        kept = [i for i, crop in enumerate(self.learnt) if crop.source != without]
        own = [self.learnt[i] for i in kept]
        level = [MEASURED.index(crop.source) if crop.source in MEASURED else -1 for crop in own]
        return fit_probe(
            np.concatenate([self.features[kind][kept] for kind in SHARES]),
            np.tile([crop.is_fake for crop in own], len(SHARES)),
            np.concatenate([balanced(own) * share for share in SHARES.values()]),
            self.plan,
            np.tile(np.array(level, np.int64), len(SHARES)),
        )

    def held_out(self) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
        """Logits by probes that saw nothing of a crop's collection.

        Degradation -> logits of `measured`; and those of `learnt`, of one reduced tile, NaN in measured collections.
        """
        found = {name: np.zeros(len(self.measured)) for name in DEGRADATIONS}
        elsewhere = np.full(len(self.learnt), np.nan)
        source = np.array([crop.source for crop in self.measured])
        learnt = np.array([crop.source for crop in self.learnt])
        for name in sorted(set(learnt.tolist())):
            probe = self.fit(name)
            if name not in MEASURED:
                elsewhere[learnt == name] = logits_of(probe, self.features["reduced"][learnt == name])
            for degradation in DEGRADATIONS if name in MEASURED else ():
                at = np.flatnonzero(source == name)
                found[degradation][at] = logits_of(probe, self.seen[degradation][at])
        return found, elsewhere


def _claim(folder: Path, crops: Sequence[Crop]) -> None:
    """Features are kept by the number of a crop, so they must not be read for other manifests."""
    lines = (f"{crop.path.name} {crop.source} {crop.is_fake} {crop.origin_side_px}" for crop in crops)
    digest, mark = hashlib.sha256("\n".join(lines).encode()).hexdigest(), folder / "crops.sha256"
    if not mark.is_file():
        mark.write_text(digest, encoding="utf-8")
    elif mark.read_text(encoding="utf-8") != digest:
        raise BadConfig(f"{folder} holds features of other manifests; give another --out, or the same manifests again")


def measured(crops: Sequence[Crop]) -> list[Crop]:
    """At most 150 crops of each matched collection and class, drawn with seed 5, and the images of the packages."""
    counts: Counter[tuple[str, bool]] = Counter()
    found = []
    for i in np.random.default_rng(5).permutation(sum(crop.source not in PACKAGES for crop in crops)):
        crop = crops[i]
        counts[crop.source, crop.is_fake] += 1
        if crop.source in MATCHED and counts[crop.source, crop.is_fake] <= MEASURED_PER_CLASS:
            found.append(crop)
    return [*found, *(crop for crop in crops if crop.source in PACKAGES)]


def figures(bench: Bench) -> dict[str, Any]:
    """Calibration, AUC and rates of held-out collections, recall a generator, the zero-pixel null.

    The calibration is fitted to every collection, each left out in turn; the other figures are of the matched ones,
    and under `packages` of the whole images in packages.
    """
    logits, elsewhere = bench.held_out()
    kept = ~np.isnan(elsewhere)
    crops = [*bench.measured, *(crop for crop, keep in zip(bench.learnt, kept, strict=True) if keep)]
    calibration = calibrate(crops, np.concatenate([logits[AS_STORED], elsewhere[kept]]))
    inside = np.array([crop.source in MATCHED for crop in bench.measured])
    matched = [crop for crop, keep in zip(bench.measured, inside, strict=True) if keep]
    packages = [crop for crop in bench.measured if crop.source in PACKAGES]
    band = Calibration(**calibration)
    called = {name: band.score(logit) >= band.fake_above for name, logit in logits.items()}
    found: dict[str, Any] = {
        "calibration": calibration,
        "data": _data(bench.learnt),
        "degradations": {name: _row(matched, logit[inside], called[name][inside]) for name, logit in logits.items()},
        "generators": _by_generator(matched, called[AS_STORED][inside]),
        "null_auc": zero_pixel_null(matched),
        "withdrawn": _withdrawn(bench.measured, called[AS_STORED], band.score(logits[COPY]) < band.real_below),
        "risk": _risk(bench.measured, logits[AS_STORED], band),
    }
    if packages:
        found["packages"] = {
            name: _row(packages, logit[~inside], called[name][~inside]) for name, logit in logits.items()
        }
    return found


def _data(learnt: Sequence[Crop]) -> dict[str, Any]:
    whole = [crop for crop in learnt if crop.source in PACKAGES]
    generated = sum(crop.is_fake for crop in whole)
    return {
        "crops": len(learnt) - len(whole),
        "collections": len({crop.source for crop in learnt} - set(PACKAGES)),
        "package_photographs": len(whole) - generated,
        "package_generated": generated,
        "shares": SHARES,
    }


def _risk(crops: Sequence[Crop], logit: NDArray[np.float64], calibration: Calibration) -> list[dict[str, float]]:
    middle = (calibration.real_below + calibration.fake_above) / 2
    covered, wrong = risk_coverage([crop.is_fake for crop in crops], calibration.score(logit), middle)
    at = [min(int(np.searchsorted(covered, share)), len(covered) - 1) for share in (0.2, 0.4, 0.6, 0.8, 1.0)]
    return [{"coverage": float(covered[i]), "risk": float(wrong[i])} for i in at]


def _withdrawn(crops: Sequence[Crop], called: NDArray[np.bool_], flips: NDArray[np.bool_]) -> dict[str, float | None]:
    """Of the photographs and of the generated images called fake, the share whose copy would be called real."""
    fake = np.array([crop.is_fake for crop in crops])
    parts = {"photographs": called & ~fake, "generated": called & fake}
    return {name: float(flips[part].mean()) if part.any() else None for name, part in parts.items()}


def _row(crops: Sequence[Crop], logit: NDArray[np.float64], called: NDArray[np.bool_]) -> dict[str, Any]:
    fake = np.array([crop.is_fake for crop in crops])
    return {
        **auc_rows(crops, logit),
        "photographs_called_fake": float(called[~fake].mean()),
        "generated_called_fake": float(called[fake].mean()),
    }


def _by_generator(crops: Sequence[Crop], called: NDArray[np.bool_]) -> list[dict[str, Any]]:
    names = sorted({crop.generator or "unknown" for crop in crops if crop.is_fake})
    found = []
    for name in names:
        at = [i for i, crop in enumerate(crops) if crop.is_fake and (crop.generator or "unknown") == name]
        found.append({"generator": name, "images": len(at), "called_fake": float(called[at].mean())})
    return found


def write_weights(tower: PackedTower, probe: Probe, plan: Plan, figures_of: dict[str, Any], out: Path) -> Path:
    """`NAME.onnx`, the `tower.bin` it points into, and `NAME.json` in `out`.

    The file of the tower is the same for every probe of one tower, so that detectors share it.
    """
    graph = tower.graph(probe, plan.tile_px)
    out.mkdir(parents=True, exist_ok=True)
    (out / TOWER_FILE).write_bytes(tower.content)
    (out / f"{plan.name}.onnx").write_bytes(graph)
    record = {
        "sha256": hashlib.sha256(graph + tower.content).hexdigest(),
        "tile_px": plan.tile_px,
        "tiles": plan.tiles,
        "whole": plan.whole,
        **figures_of,
    }
    path = out / f"{plan.name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path
