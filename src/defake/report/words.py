"""Figures as text: cells, and the sentences a reader takes away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from defake.metrics.intervals import Estimate

if TYPE_CHECKING:
    from defake.evaluate import Evaluation


def percent(value: float | None, digits: int = 1) -> str:
    """A share in percent; nothing where it is undefined."""
    return "" if value is None else f"{100 * value:.{digits}f}"


def bounds(estimate: Estimate, digits: int = 1) -> str:
    """An interval in percent; nothing where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{percent(estimate.low, digits)}\N{EN DASH}{percent(estimate.high, digits)}"


def estimate_of(record: dict[str, Any] | None) -> Estimate:
    """An estimate from its JSON form, or of a record with value under `auc`."""
    if not record:
        return Estimate(None)
    return Estimate(record.get("value", record.get("auc")), record.get("low"), record.get("high"))


def conclude(evaluation: Evaluation) -> list[str]:
    """What one evaluation says, in plain words, with the doubts that belong to it."""
    whole = evaluation.overall
    auc = whole.figures["auc"]
    generators = [row for row in evaluation.rows if row.kind == "generator"]
    of = f" of {len(generators)} generators" if len(generators) > 1 else ""
    if auc.value is None:
        return [f"With {whole.n_fake} generated images and {whole.n_real} photographs scored, AUC is undefined."]
    counts = f"{whole.n_fake:,} generated images{of} and {whole.n_real:,} photographs"
    ranked = f"{percent(auc.value)} % of the time (AUC; 95 % interval {bounds(auc)})"
    said = [f"On {counts} the detector ranks a generated image above a photograph {ranked}."]
    tpr, fpr = whole.figures["tpr"], whole.figures["fpr"]
    said.append(
        f"At its frozen threshold it catches {percent(tpr.value)} % ({bounds(tpr)}) of the generated images and calls"
        f" {percent(fpr.value)} % ({bounds(fpr)}) of the photographs fake."
    )
    said += _null(evaluation, auc)
    known = [row for row in generators if row.figures["auc"].value is not None]
    if len(known) > 1:
        worst = min(known, key=lambda row: row.figures["auc"].value or 0)
        said.append(
            f"The weakest generator is {worst.name}: AUC {percent(worst.figures['auc'].value)} %"
            f" ({bounds(worst.figures['auc'])}; {worst.n_fake} images)."
        )
    rare = next((v for v in evaluation.prevalence if abs(v.prevalence - 0.01) < 1e-9), None)
    if rare is not None and rare.ppv is not None:
        said.append(
            f"Where 1 % of the images are generated, {percent(rare.ppv)} % of those it calls fake are generated."
        )
    return said


def _null(evaluation: Evaluation, auc: Estimate) -> list[str]:
    null = estimate_of(evaluation.zero_pixel_null)
    if null.value is None:
        return ["What file facts alone would reach (the zero-pixel null) was not measured."]
    text = f"File facts alone, without a pixel, reach AUC {percent(null.value)} % ({bounds(null)}): "
    if auc.low is not None and null.high is not None and auc.low > null.high:
        return [text + "the detector is clearly above that."]
    if auc.value is not None and auc.value > null.value:
        return [text + "the detector is above that, but the intervals overlap, so a format shortcut is not ruled out."]
    return [text + "the detector is not above that, so its score says nothing about pixels."]
