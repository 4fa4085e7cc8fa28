"""Figures of text verdicts: coverage, answered-only, paper mode, d' and c, AUC, flip rate."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from defake.errors import BadDataset
from defake.questions.answers import Outcome
from defake.records import Label

from .signal import sensitivity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def verdict_figures(
    labels: Sequence[Label],
    outcomes: Sequence[Outcome],
    verdicts: Sequence[Label | None],
    p_fake: Sequence[float | None] = (),
) -> dict[str, float | None]:
    """Figures of n questions, each with the image's label, the outcome, the verdict if any, and P(fake) if known.

    Infrastructure errors are left out of every figure but their own count; `answered` is the share of the others that
    have a verdict (coverage). `accuracy_answered` is of those; `accuracy_paper`, `fake_paper` and `real_paper` count a
    non-answer as wrong, as the paper does. In d' and c a non-answer is "not called fake". `auc` is of P(fake), over the
    `auc_n` questions that have one. Undefined figures are None.

    Raises: BadDataset if the columns differ in length.
    Source: FakeBench (paper mode, recovered from its Table V); d' and c: `signal`; the rest ours.
    """
    if not len(labels) == len(outcomes) == len(verdicts) or (p_fake and len(p_fake) != len(labels)):
        raise BadDataset(f"columns differ: {len(labels)} labels, {len(outcomes)} outcomes, {len(verdicts)} verdicts")
    counts = Counter(outcomes)
    asked = [
        (label, verdict)
        for label, outcome, verdict in zip(labels, outcomes, verdicts, strict=True)
        if outcome is not Outcome.INFRASTRUCTURE
    ]
    answered = [(label, verdict) for label, verdict in asked if verdict is not None]
    fakes = [verdict for label, verdict in asked if label is Label.FAKE]
    reals = [verdict for label, verdict in asked if label is Label.REAL]
    right = sum(label is verdict for label, verdict in answered)
    hits, alarms = fakes.count(Label.FAKE), reals.count(Label.FAKE)
    signal = sensitivity(hits, len(fakes), alarms, len(reals))
    figures: dict[str, float | None] = {
        "n": len(asked),
        "answered": _share(len(answered), len(asked)),
        "accuracy_answered": _share(right, len(answered)),
        "accuracy_paper": _share(right, len(asked)),
        "fake_paper": _share(hits, len(fakes)),
        "real_paper": _share(reals.count(Label.REAL), len(reals)),
        "d_prime": signal.d_prime if signal else None,
        "criterion_c": signal.criterion if signal else None,
    }
    figures |= _forced_choice(labels, outcomes, p_fake)
    return figures | {f"n_{outcome}": counts[outcome] for outcome in Outcome}


def _forced_choice(
    labels: Sequence[Label], outcomes: Sequence[Outcome], p_fake: Sequence[float | None]
) -> dict[str, float | None]:
    from .detection import auc

    known = [
        (label is Label.FAKE, p)
        for label, outcome, p in zip(labels, outcomes, p_fake, strict=False)
        if p is not None and outcome is not Outcome.INFRASTRUCTURE
    ]
    area = auc([fake for fake, _ in known], [p for _, p in known]) if known else None
    return {"auc": area, "auc_n": len(known)}


def flip_rate(pairs: Mapping[str, Sequence[Label | None]]) -> dict[str, float | None]:
    """How often the two questions of a polarity pair get different verdicts about the same image.

    `pairs` maps an image to the verdicts of its questions. `flip_rate` is over the `flip_n` images with two verdicts.

    Source: ours.
    """
    complete = [verdicts for verdicts in pairs.values() if len(verdicts) == 2 and None not in verdicts]
    flips = sum(first is not second for first, second in complete)
    return {"flip_rate": _share(flips, len(complete)), "flip_n": len(complete)}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
