"""The captions that stand for fake and real, as tokens arranged so that no position is read twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from defake.errors import BadConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

Tokens: TypeAlias = tuple[int, ...]
Length: TypeAlias = Literal["sum", "mean"]
Step: TypeAlias = tuple[int | None, int, int]


@dataclass(frozen=True, slots=True)
class LabelCaptions:
    """Captions of both labels and the tokens a model would have to say.

    **Length.** With `length="sum"` and no end token the log-probability of a caption is the sum over its tokens: the
    probability that the reply *begins* with the caption. With `end_token` the model's end of reply is one token more:
    the reply *is* the caption. `length="mean"` divides by the number of tokens read, so that a label is not punished
    for being spelled in more of them; it is no probability any more, only a score. Captions of one label are
    alternatives: their probabilities add up (logsumexp). Source: ours; a sum without end token over single-token labels
    is the logit difference of FakeVLM.
    """

    captions: tuple[str, ...]
    is_fake: tuple[bool, ...]
    tokens: tuple[Tokens, ...]
    length: Length = "sum"

    def __post_init__(self) -> None:
        if self.length not in ("sum", "mean"):
            raise BadConfig(f"length must be 'sum' or 'mean', but got {self.length!r}")
        if len(set(self.is_fake)) < 2:
            raise BadConfig("labels need at least one caption for fake and one for real")
        for caption, tokens in zip(self.captions, self.tokens, strict=True):
            if not tokens:
                raise BadConfig(f"the caption {caption!r} has no token of its own; choose a word the tokenizer knows")
        for i, first in enumerate(self.tokens):
            for j, second in enumerate(self.tokens):
                if i != j and second[: len(first)] == first:
                    self._refuse(i, j)

    def _refuse(self, i: int, j: int) -> None:
        one, other = self.captions[i], self.captions[j]
        if self.tokens[i] == self.tokens[j]:
            raise BadConfig(
                f"the tokenizer reads {one!r} and {other!r} as the same tokens {list(self.tokens[i])}, so the model "
                "cannot tell them apart; choose other captions"
            )
        raise BadConfig(
            f"the reply {other!r} also begins with {one!r}, so their probabilities overlap; choose other captions, or "
            "set end_token=True to compare whole replies"
        )

    @property
    def shared(self) -> Tokens:
        """The tokens all captions begin with; they join the prompt."""
        first, *rest = self.tokens
        size = 0
        while all(len(t) > size and t[size] == first[size] for t in (first, *rest)):
            size += 1
        return first[:size]

    @property
    def rows(self) -> tuple[Tokens, ...]:
        """What must be fed after the shared tokens to read every caption to its end; empty if nothing."""
        fed = {tokens[len(self.shared) : -1] for tokens in self.tokens} - {()}
        return tuple(sorted(r for r in fed if not any(o != r and o[: len(r)] == r for o in fed)))

    @property
    def steps(self) -> tuple[tuple[Step, ...], ...]:
        """Where every token of every caption is read: `(row, position, token)`.

        Row None is the prompt with the shared tokens, whose position 0 is the prompt's last.
        """
        shared, rows = self.shared, self.rows
        head: tuple[Step, ...] = tuple((None, i, token) for i, token in enumerate(shared))
        plan = []
        for tokens in self.tokens:
            first, *rest = tokens[len(shared) :]
            fed = (first, *rest[:-1]) if rest else ()
            row = next((i for i, r in enumerate(rows) if r[: len(fed)] == fed), None)
            plan.append((*head, (None, len(shared), first), *((row, i, token) for i, token in enumerate(rest))))
        return tuple(plan)

    def of_steps(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """What a caption counts `(n, captions)`, from the sum of the log-probabilities of its steps `(n, captions)`."""
        return sums / [len(tokens) for tokens in self.tokens] if self.length == "mean" else sums

    def fake_logit(self, log_probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds of fake against real, `(n,)`, from the log-probability of every caption, `(n, captions)`.

        Their logistic function is the softmax over labels.
        """
        fake = np.asarray(self.is_fake)
        return _logsumexp(log_probabilities[:, fake]) - _logsumexp(log_probabilities[:, ~fake])


def _logsumexp(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    top = columns.max(axis=1)
    return np.asarray(top + np.log(np.exp(columns - top[:, None]).sum(axis=1)))


def tokenise_labels(
    fake: Sequence[str], real: Sequence[str], encode: Callable[[str], Tokens], end: int | None, length: Length
) -> LabelCaptions:
    """Captions with the tokens `encode` gives each, `end` behind every one unless None.

    Raises: BadConfig where captions are empty, alike or begin with one another.
    """
    captions = (*fake, *real)
    if not all(isinstance(c, str) and c.strip() for c in captions):
        raise BadConfig(f"captions must be words, but got fake={list(fake)!r}, real={list(real)!r}")
    bare = [tuple(encode(caption)) for caption in captions]
    # An empty tokenisation stays empty, so that it is refused and not hidden behind the end token.
    tokens = tuple(t if end is None or not t else (*t, end) for t in bare)
    return LabelCaptions(tuple(captions), (True,) * len(fake) + (False,) * len(real), tokens, length)
