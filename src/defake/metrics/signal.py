"""Signal detection: how well fakes are told from photographs, apart from how willingly "fake" is said."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

from defake.errors import BadConfig


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """`d_prime`: distance of the two kinds, in standard deviations. `criterion`: above 0 leans to saying "real"."""

    d_prime: float
    criterion: float


def sensitivity(hits: int, fakes: int, false_alarms: int, reals: int) -> Sensitivity | None:
    """The sensitivity d' = z(H) - z(F) and the criterion c = -(z(H) + z(F)) / 2.

    `hits` are fakes called fake, `false_alarms` photographs called fake.

    A rate of 0 or 1 is moved in by half an image, because its z is infinite. None without fakes or without photographs.

    Raises: BadConfig if a count is negative or exceeds its total.
    Source: Green & Swets (1966); half an image: Macmillan & Kaplan (1985).
    """
    if not (0 <= hits <= fakes and 0 <= false_alarms <= reals):
        raise BadConfig(
            f"expected 0 <= hits <= fakes and alarms likewise, got {hits}/{fakes} and {false_alarms}/{reals}"
        )
    if fakes == 0 or reals == 0:
        return None
    z_hit, z_alarm = _z(hits, fakes), _z(false_alarms, reals)
    return Sensitivity(z_hit - z_alarm, -(z_hit + z_alarm) / 2)


def _z(count: int, total: int) -> float:
    rate = min(max(count / total, 0.5 / total), 1 - 0.5 / total)
    return NormalDist().inv_cdf(rate)
