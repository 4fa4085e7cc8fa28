"""What can become of a question: typed outcomes, and the reading of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from defake.errors import BadConfig

if TYPE_CHECKING:
    from defake.records import Label


class Outcome(StrEnum):
    """Every question ends in exactly one of these.

    OK: a verdict or an open answer was read. REFUSAL: the model declined or said that it cannot tell. UNPARSED: an
    answer without a verdict, or none at all. AMBIGUOUS: both verdicts survive. TRUNCATED: the answer was cut off before
    a verdict. INFRASTRUCTURE: no answer was received (network, quota, server, unreadable reply); never scored.
    """

    OK = "ok"
    REFUSAL = "refusal"
    UNPARSED = "unparsed"
    AMBIGUOUS = "ambiguous"
    TRUNCATED = "truncated"
    INFRASTRUCTURE = "infrastructure"


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer as read: the outcome, the verdict if there is one, and the rule that decided."""

    outcome: Outcome
    label: Label | None = None
    rule: str = ""

    def __post_init__(self) -> None:
        if self.label is not None and self.outcome is not Outcome.OK:
            raise BadConfig(f"only an outcome 'ok' has a label, but got {self.outcome} with {self.label}")
