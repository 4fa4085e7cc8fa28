"""What a verdict is worth where fakes are rare, and how many fakes a folder holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defake.errors import BadConfig

from .intervals import z_of

# Shares of fakes at which a verdict's worth is printed. Source: field practice; 50 % is what benchmarks have.
PREVALENCES = (0.001, 0.01, 0.1, 0.5)


@dataclass(frozen=True, slots=True)
class PredictiveValues:
    """Of those called fake the share that is (ppv), and for real (npv); None where nothing is called that."""

    prevalence: float
    ppv: float | None
    npv: float | None


def predictive_values(tpr: float, fpr: float, prevalence: float) -> PredictiveValues:
    """Bayes' rule for a threshold's rates at a share of fakes.

    Raises: BadConfig if one lies outside [0, 1].
    """
    for name, value in (("tpr", tpr), ("fpr", fpr), ("prevalence", prevalence)):
        if not 0 <= value <= 1:
            raise BadConfig(f"{name} must lie in [0, 1], but got {value!r}")
    caught, alarms = tpr * prevalence, fpr * (1 - prevalence)
    missed, passed = (1 - tpr) * prevalence, (1 - fpr) * (1 - prevalence)
    return PredictiveValues(
        prevalence,
        caught / (caught + alarms) if caught + alarms else None,
        passed / (passed + missed) if passed + missed else None,
    )


@dataclass(frozen=True, slots=True)
class Rate:
    """A threshold's rate, and on how many effectively independent images it was measured."""

    share: float
    n: float

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise BadConfig(f"a rate must lie in [0, 1], but got {self.share!r}")


@dataclass(frozen=True, slots=True)
class Prevalence:
    """The estimated share of fakes among unlabelled images; None where the detector cannot tell, and `why`."""

    value: float | None
    low: float | None
    high: float | None
    called_fake: float | None
    n: int
    why: str = ""


def rogan_gladen(n_called_fake: int, n: int, tpr: Rate, fpr: Rate, confidence: float = 0.95) -> Prevalence:
    """Share of fakes among `n` images of which `n_called_fake` are called fake by a threshold of known rates.

    The estimate (called - fpr) / (tpr - fpr) is cut to [0, 1]; the interval counts the doubt about all three rates. It
    assumes that the folder's fakes are caught, and its photographs spared, as often as those measured.
    Source: Rogan & Gladen (1978); interval Lang & Reiczigel (2014).

    Raises: BadConfig unless 0 <= n_called_fake <= n.
    """
    if not 0 <= n_called_fake <= n:
        raise BadConfig(f"the images called fake must be 0 to {n}, but got {n_called_fake}")
    z = z_of(confidence)
    called = n_called_fake / n if n else None
    if called is None or tpr.n <= 0 or fpr.n <= 0:
        return Prevalence(None, None, None, called, n, "no scored image, or no measured rates")
    if tpr.share - fpr.share <= 0:
        return Prevalence(None, None, None, called, n, "the threshold catches no more fakes than photographs")
    value = (called - fpr.share) / (tpr.share - fpr.share)
    # Two images are added to each labelled class, one of them wrong, and z^2 to the folder, half of them called fake.
    size = n + z * z
    called_ = (n * called + z * z / 2) / size
    caught, spared = (tpr.n * tpr.share + 1) / (tpr.n + 2), (fpr.n * (1 - fpr.share) + 1) / (fpr.n + 2)
    youden = caught + spared - 1
    if youden <= 0:
        return Prevalence(_unit(value), 0.0, 1.0, called, n, "too few labelled images to bound it")
    centre = (called_ + spared - 1) / youden
    doubt_fake, doubt_real = caught * (1 - caught) / (tpr.n + 2), spared * (1 - spared) / (fpr.n + 2)
    shift = 2 * z * z * (centre * doubt_fake - (1 - centre) * doubt_real)
    half = (
        z * np.sqrt(called_ * (1 - called_) / size + centre**2 * doubt_fake + (1 - centre) ** 2 * doubt_real) / youden
    )
    low, high = centre + shift - half, centre + shift + half
    if high < 0 or low > 1:
        what = "photographs" if high < 0 else "generated images"
        return Prevalence(
            _unit(value), None, None, called, n, f"the folder's {what} are not like those the rates were measured on"
        )
    low, high = _unit(low), _unit(high)
    return Prevalence(_unit(value), min(low, _unit(value)), max(high, _unit(value)), called, n)


def _unit(value: float) -> float:
    return float(min(1.0, max(0.0, value)))
