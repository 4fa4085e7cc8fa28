"""The share of generated images among unlabelled ones, from a run's rates at its frozen threshold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from defake.errors import BadConfig
from defake.metrics.intervals import clusters_of, effective_size
from defake.metrics.prevalence import Prevalence, Rate, rogan_gladen
from defake.store import RunFolder

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from defake.detectors import Detector

from .protocol import Protocol, split_parts


@dataclass(frozen=True, slots=True)
class Rates:
    """A frozen threshold, and what it does to fakes and photographs of the run it was measured on."""

    threshold: float
    tpr: Rate
    fpr: Rate


def measured_rates(folder: str | Path, detector: Detector) -> Rates:
    """The rates a stored and evaluated run measured for this detector; their n is the effective one, by source.

    Raises: BadConfig if the run is another detector's, other weights' or calibration's, or was not evaluated.
    """
    run = RunFolder.open(folder)
    made = run.config["depends_on"]
    now = {"slope": detector.calibration.slope, "intercept": detector.calibration.intercept}
    for what, there, here in (
        ("detector", made["detector"], detector.name),
        ("weights", made["weights_sha256"], detector.weights_hash()),
        ("calibration", made["calibration"], now),
        ("transform", made["transform"], "none"),
    ):
        if there != here:
            raise BadConfig(f"the run {folder} is of {what} {there!r}, not {here!r}; evaluate this detector first")
    try:
        metrics = json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8"))
        threshold = float(metrics["threshold"]["value"])
        kept = {name: metrics["protocol"][name] for name in ("val_split", "split", "threshold")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadConfig(f"{folder} was not evaluated yet ({error}); run: defake evaluate") from error
    scores = run.scores()
    test = scores.where(split_parts(scores.split, Protocol(**kept))[0] & scores.answered)
    called, clusters = test.fake_score >= threshold, clusters_of(test.source)
    if test.is_fake.all() or not test.is_fake.any():
        raise BadConfig(f"{folder} holds scored images of one class only; the share needs rates of both")
    rates = [
        Rate(float(called[rows].mean()), effective_size(called[rows], clusters[rows]))
        for rows in (test.is_fake, ~test.is_fake)
    ]
    return Rates(threshold, *rates)


def share_of_fakes(fake_score: ArrayLike, rates: Rates, confidence: float = 0.95) -> Prevalence:
    """The estimate for unlabelled scores (n,); NaN is no answer and left out."""
    scores = np.asarray(fake_score, dtype=np.float64)
    scores = scores[~np.isnan(scores)]
    return rogan_gladen(int((scores >= rates.threshold).sum()), len(scores), rates.tpr, rates.fpr, confidence)
