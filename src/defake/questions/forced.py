"""Forced choice: P(fake) from the log-probabilities a model gives beside its words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from defake.records import Label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .asking import Question

_CLOSED = {"fake": Label.FAKE, "real": Label.REAL}


def p_fake(
    question: Question, tokens: Sequence[str], alternatives: Sequence[Mapping[str, float]], label: Label | None = None
) -> float | None:
    """P(fake) = P(words for fake) / P(words for fake or real) at the position of the answer word, in [0, 1].

    `tokens[i]` is what was said at position i, `alternatives[i]` maps the likeliest tokens there to natural
    log-probabilities. Spellings of one word (" Fake", "fake") are summed. If only one of the two words is among the
    alternatives, the other gets the probability of the least likely one listed, its upper bound. The position is that
    of the first answer word, or the last one if the question asks for reasons first.

    None if no answer word was said, if the alternatives hold none, or if the word said stands against the verdict
    `label` that was read from the whole text ("not fake").

    Source: ours, after the fixed-slot reading of FakeVLM's issue 5.
    """
    meanings = _meanings(question)
    positions = [i for i, token in enumerate(tokens) if _word(token) in meanings and i < len(alternatives)]
    if not positions:
        return None
    at = positions[-1] if question.reasons_first or question.ability == "inference" else positions[0]
    if label is not None and meanings[_word(tokens[at])] is not label:
        return None
    mass = {Label.FAKE: 0.0, Label.REAL: 0.0}
    for token, log_probability in alternatives[at].items():
        meaning = meanings.get(_word(token))
        if meaning is not None:
            mass[meaning] += math.exp(log_probability)
    if not any(mass.values()):
        return None
    bound = math.exp(min(alternatives[at].values()))
    fake, real = (mass[side] or bound for side in (Label.FAKE, Label.REAL))
    return fake / (fake + real)


def _word(token: str) -> str:
    # Byte-pair tokens mark a leading space with "Ġ" or "▁".
    return token.strip(" \n\t.,!:;*\"'()ĠĊ▁").lower()


def _meanings(question: Question) -> dict[str, Label]:
    if question.yes_means is None:
        return dict(_CLOSED)
    other = Label.REAL if question.yes_means is Label.FAKE else Label.FAKE
    return {"yes": question.yes_means, "no": other}
