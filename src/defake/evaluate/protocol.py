"""What is tested, what the threshold is chosen on, and that the two are not the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from defake.errors import BadConfig, BadDataset
from defake.metrics.detection import threshold_at_fpr

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from defake.store import Scores

VALIDATION, TRAINING = "val", "train"


@dataclass(frozen=True, slots=True)
class Protocol:
    """How scores become figures.

    `val_split`: where the threshold is chosen, at the declared `fpr`; None takes the split `val` if there is one.
    `split`: what is tested; None takes all but the validation and the training split. `threshold`: a frozen one.
    `reals`: each generator's fakes stand against `all` photographs, or those of the same `source` only.
    """

    val_split: str | None = None
    split: str | None = None
    fpr: float = 0.05
    threshold: float | None = None
    reals: Literal["all", "source"] = "all"
    oracle: bool = False
    n_resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.fpr < 1:
            raise BadConfig(f"the declared FPR must lie in [0, 1), but got {self.fpr!r}")
        if self.reals not in ("all", "source"):
            raise BadConfig(f"reals must be 'all' or 'source', but got {self.reals!r}")
        if self.n_resamples < 1:
            raise BadConfig(f"n_resamples must be at least 1, but got {self.n_resamples}")
        if self.threshold is not None and self.val_split is not None:
            raise BadConfig("a threshold is either given or chosen on a validation split, not both")
        if self.split is not None and self.split == self.val_split:
            raise BadConfig(
                f"the threshold would be chosen on the tested split {self.split!r}; name another --val-split"
            )


@dataclass(frozen=True, slots=True)
class Threshold:
    """The frozen threshold and where it is from: `validation`, `given`, or the `detector`'s own."""

    value: float
    origin: str
    split: str | None = None
    fpr: float | None = None
    n_reals: int | None = None

    def __str__(self) -> str:
        if self.origin == "validation":
            return (
                f"{self.value:.4f}, chosen on {self.n_reals} photographs of split {self.split!r} at {self.fpr:.1%} FPR"
            )
        if self.origin == "given":
            return f"{self.value:.4f}, given"
        return f"{self.value:.4f}, the detector's own (no validation split)"


def split_parts(
    splits: NDArray[np.object_], protocol: Protocol
) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None, list[str]]:
    """(tested rows, validation rows or None, notes), masks (n,).

    Raises: BadDataset if a named split is not there, or nothing is left to test.
    """
    known = sorted({split for split in splits if split})
    for name in (protocol.val_split, protocol.split):
        if name is not None and name not in known:
            raise BadDataset(f"no row has the split {name!r}; there are: {', '.join(known) or 'none'}")
    val = protocol.val_split
    if val is None and protocol.threshold is None and VALIDATION in known and protocol.split != VALIDATION:
        val = VALIDATION
    notes = []
    if protocol.split is not None:
        is_test = splits == protocol.split
    else:
        is_test = (splits != val) if val else np.ones(len(splits), dtype=bool)
        if TRAINING in known and val != TRAINING:
            is_test &= splits != TRAINING
            left_out = int((splits == TRAINING).sum())
            notes.append(f"{left_out} rows of split {TRAINING!r} are not tested; --split {TRAINING} tests them alone")
    if not is_test.any():
        raise BadDataset(f"no row is left to test; the splits are: {', '.join(known) or 'none'}")
    return np.asarray(is_test, dtype=np.bool_), (np.asarray(splits == val, dtype=np.bool_) if val else None), notes


def freeze_threshold(validation: Scores | None, protocol: Protocol, own: float) -> Threshold:
    """The threshold of a protocol, from the scores of its validation rows if it has some.

    Raises: BadDataset if they hold no scored photograph.
    """
    if protocol.threshold is not None:
        return Threshold(protocol.threshold, "given")
    if validation is None:
        return Threshold(own, "detector")
    n_reals = int((~validation.is_fake & validation.answered).sum())
    split = next((split for split in validation.split), None)
    if not n_reals:
        raise BadDataset(f"split {split!r} holds no scored photograph to choose a threshold on; pass --threshold")
    value = threshold_at_fpr(validation.is_fake, validation.fake_score, protocol.fpr)
    return Threshold(value, "validation", split, protocol.fpr, n_reals)
