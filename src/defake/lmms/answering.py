"""`defake/<detector>`: a detector that answers fake-or-real questions as a chat model would."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    TopLogprob,
)

from defake.detectors import load_detector
from defake.errors import BadConfig, DefakeError
from defake.records import Label

from .gathering import Gatherer
from .messages import Conversation, pictures, read_messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inspect_ai.model import ChatMessage
    from inspect_ai.tool import ToolChoice, ToolInfo

_KEPT_SCORES = 65_536  # one float an image: every wording of FakeClass about it costs one look
_CHOICE = re.compile(r"\b(fake|real)\b[^.?!\n]{0,60}\bor\b[^.?!\n]{0,30}\b(fake|real)\b", re.IGNORECASE)
_YES_NO = re.compile(r"\byes or no\b", re.IGNORECASE)
_SIDE = re.compile(r"\b(fake|real)\b", re.IGNORECASE)
UNDECIDED = "I cannot tell."


def words_for(question: str) -> dict[Label, str]:
    """What to say for fake and for real.

    A yes-or-no question is about the side it names first; any other must offer both words.

    Raises: BadConfig for a question a detector has no answer to.

    Source: ours; covers the paper's and the fixed wordings, plain and with reasons first.
    """
    side = _SIDE.search(question)
    if _YES_NO.search(question) and side:
        asked = Label(side.group().lower())
        return {label: "yes" if label is asked else "no" for label in Label}
    if _CHOICE.search(question):
        return {label: str(label) for label in Label}
    raise BadConfig(
        "a detector answers questions that offer fake or real, or yes or no; for open questions take a chat model. "
        f"Got: {question[:120]!r}"
    )


class DetectorAPI(ModelAPI):  # type: ignore[misc]  # untyped base
    """An Inspect model that says what a detector's fake_score means.

    `model_args`: `threshold` (fake_score from which it says fake, 0.5), `batch_size` (16), and the detector's options.
    The reply is one word; with `logprobs` its token carries log P(fake) and log P(real) = log(1 - P(fake)). A NaN score
    is answered with "I cannot tell.".
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        *,
        threshold: float = 0.5,
        batch_size: int = 16,
        **options: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        if not 0 <= threshold <= 1:
            raise BadConfig(f"threshold must lie in [0, 1], but got {threshold!r}")
        self.threshold = float(threshold)
        self.batch_size = int(batch_size)
        self.detector = load_detector(model_name, **options)
        self._scores: OrderedDict[str, float] = OrderedDict()
        self._gatherer: Gatherer[Conversation, float] = Gatherer(self._score, self.batch_size)

    def _score(self, asked: Sequence[Conversation]) -> list[float | Exception]:
        """The fake_score of each conversation's one image; images seen before, or twice, are scored once."""
        results: dict[str, float | Exception] = {}
        fresh = {}
        for one in asked:
            digest = one.digests[0]
            if digest in self._scores:
                results[digest] = self._scores[digest]
            elif digest not in results and digest not in fresh:
                try:
                    fresh[digest] = pictures(one)[0].pixels
                except DefakeError as error:
                    results[digest] = error
        if fresh:
            scores = self.detector.score(list(fresh.values()))
            for digest, score in zip(fresh, np.asarray(scores, dtype=np.float64), strict=True):
                results[digest] = self._scores[digest] = float(score)
        while len(self._scores) > _KEPT_SCORES:
            self._scores.popitem(last=False)
        return [results[one.digests[0]] for one in asked]

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's protocol
        tools: list[ToolInfo],
        tool_choice: ToolChoice,  # noqa: ARG002
        config: GenerateConfig,
    ) -> ModelOutput:
        """Answer about the one image of the messages.

        Raises: BadConfig for tools, a question without fake or real, or not exactly one image; BadImage.
        """
        asked = read_messages(input)
        words = words_for(asked.question)
        if tools or len(asked.images) != 1:
            raise BadConfig(f"a detector takes one image and no tools, but got {len(asked.images)} and {len(tools)}")
        score = await self._gatherer.ask(asked)
        return self._output(score, words, wants_logprobs=bool(config.logprobs))

    def _output(self, score: float, words: dict[Label, str], *, wants_logprobs: bool) -> ModelOutput:
        if math.isnan(score):
            return self._said(UNDECIDED, None)
        label = Label.FAKE if score >= self.threshold else Label.REAL
        shares = {Label.FAKE: score, Label.REAL: 1 - score}
        logs = {side: math.log(max(share, 1e-12)) for side, share in shares.items()}  # log 0 is no JSON
        ranked = sorted(logs, key=lambda side: -logs[side])
        token = Logprob(
            token=words[label],
            logprob=logs[label],
            top_logprobs=[TopLogprob(token=words[side], logprob=logs[side]) for side in ranked],
        )
        return self._said(words[label], Logprobs(content=[token]) if wants_logprobs else None)

    def _said(self, text: str, logprobs: Logprobs | None) -> ModelOutput:
        message = ChatMessageAssistant(content=text, model=self.model_name, source="generate")
        choice = ChatCompletionChoice(message=message, stop_reason="stop", logprobs=logprobs)
        usage = ModelUsage(input_tokens=0, output_tokens=0, total_tokens=0)  # a detector reads no tokens
        return ModelOutput(model=self.model_name, choices=[choice], usage=usage)

    async def count_tokens(
        self,
        input: str | list[ChatMessage],  # noqa: A002, ARG002 - Inspect's protocol
        config: GenerateConfig | None = None,  # noqa: ARG002
    ) -> int:
        """Zero: a detector reads no tokens, and Inspect's own estimate needs a network."""
        return 0

    def max_connections(self) -> int:
        """Questions under way at once: two batches, so that the next is ready when one is done."""
        return 2 * self.batch_size

    def close(self) -> None:
        """End the scoring thread."""
        self._gatherer.close()
