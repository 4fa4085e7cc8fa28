"""`defake-hf/<hub name or folder>`: any image-text-to-text model of transformers as an Inspect model."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ContentImage,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    TopLogprob,
)
from PIL import Image

from defake.detectors.captioner import load_captioner
from defake.errors import BadConfig, DefakeError

from .gathering import Gatherer
from .generation import Generated, Generator, Settings
from .messages import Conversation, Turn, image_bytes, pictures, read_messages
from .prefix import Asked, Prompter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inspect_ai.model import ChatMessage
    from inspect_ai.tool import ToolChoice, ToolInfo

_MAX_TOKENS = 512
_ALTERNATIVES = 20  # what `logprobs` alone asks for: enough for every spelling of fake, real, yes and no


class ChatAPI(ModelAPI):  # type: ignore[misc]  # untyped base
    """A local chat model that sees images: batched, greedy by default, each image encoded once for all its questions.

    `model_args`: `batch_size` (questions in one batch, 16); `device`, `dtype`, `quantize` as the captioner detector's.
    With `logprobs` each token carries its log-probability and `top_logprobs` (20) alternatives.

    Raises: WeightsMismatch, BadConfig for a model that takes no question (ViT-GPT2), MissingExtra.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        *,
        batch_size: int = 16,
        device: str = "auto",
        dtype: str = "auto",
        quantize: str | None = None,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        self.batch_size = int(batch_size)
        loaded = load_captioner(model_name, device=device, dtype=dtype, quantize=quantize)
        if loaded.model.config.model_type == "vision-encoder-decoder":
            raise BadConfig(f"{model_name!r} only captions and takes no question; use it as a detector instead")
        self.processor = loaded.processor
        self.prompter = Prompter(loaded.model, loaded.processor)
        if self.prompter.tokenizer.pad_token is None:
            self.prompter.tokenizer.pad_token = self.prompter.tokenizer.eos_token
        self.generator = Generator(self.prompter, self.batch_size)
        self._gatherer: Gatherer[tuple[Conversation, Settings], Generated] = Gatherer(
            self._answer, self.max_connections()
        )
        self._image_tokens: dict[str, int] = {}

    def _answer(self, jobs: Sequence[tuple[Conversation, Settings]]) -> list[Generated | Exception]:
        results: dict[int, Generated | Exception] = {}
        asked: dict[int, tuple[Asked, Settings]] = {}
        decoded: dict[str, Image.Image] = {}
        for i, (conversation, settings) in enumerate(jobs):
            try:
                asked[i] = (self._asked(conversation, decoded), settings)
            except DefakeError as error:  # one bad image is one question's problem
                results[i] = error
        replies = self.generator.answer(list(asked.values()))
        results.update(zip(asked, replies, strict=True))
        return [results[i] for i in range(len(jobs))]

    def _asked(self, conversation: Conversation, decoded: dict[str, Image.Image]) -> Asked:
        digests = conversation.digests
        if not set(digests) <= set(decoded):
            found = pictures(conversation)
            decoded |= {d: Image.fromarray(p.pixels) for d, p in zip(digests, found, strict=True)}
        return self.prompter.ask(self.render(conversation), [decoded[d] for d in digests], digests)

    def render(self, conversation: Conversation) -> str:
        """The prompt as the model's chat template writes it; without a template, the image tokens and the texts."""
        if getattr(self.processor, "chat_template", None):
            turns = [_templated(turn) for turn in conversation.turns]
            return str(self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))
        texts = "\n".join(text for turn in conversation.turns for text in turn.texts)
        token = self.prompter.image_token
        # Some processors put their query tokens in by themselves.
        places = "" if hasattr(self.processor, "num_query_tokens") or not token else token * len(conversation.images)
        return f"{places}\n{texts}" if places else texts

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's protocol
        tools: list[ToolInfo],
        tool_choice: ToolChoice,  # noqa: ARG002
        config: GenerateConfig,
    ) -> ModelOutput:
        """The reply to a conversation.

        Raises: BadConfig for tools and for what the model cannot read; BadImage; BackendFailed out of memory.
        """
        if tools:
            raise BadConfig(f"defake-hf models use no tools, but got {len(tools)}")
        started = time.monotonic()
        reply = await self._gatherer.ask((read_messages(input), _settings(config)))
        return self._output(reply, time.monotonic() - started)

    def _output(self, reply: Generated, elapsed_s: float) -> ModelOutput:
        message = ChatMessageAssistant(content=reply.text, model=self.model_name, source="generate")
        logprobs = None if reply.tokens is None else Logprobs(content=[_logprob(said) for said in reply.tokens])
        choice = ChatCompletionChoice(message=message, stop_reason=reply.stop_reason, logprobs=logprobs)
        usage = ModelUsage(
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
            total_tokens=reply.input_tokens + reply.output_tokens,
        )
        return ModelOutput(model=self.model_name, choices=[choice], usage=usage, time=elapsed_s)

    async def count_text_tokens(self, text: str) -> int:
        """Tokens of a text by the model's own tokenizer, offline."""
        return len(self.prompter.tokenizer(text, add_special_tokens=False)["input_ids"])

    async def count_media_tokens(self, media: Any) -> int:
        """Tokens an image takes, by the model's own processor; 0 for what the model does not read."""
        if not isinstance(media, ContentImage):
            return 0
        one = Conversation((Turn("user", (), 1),), (image_bytes(media.image),))
        (digest,) = one.digests
        if digest not in self._image_tokens:
            self._image_tokens[digest] = self.prompter.image_places(self._asked(one, {}))
        return self._image_tokens[digest]

    def max_tokens(self) -> int | None:
        """Length of a reply when none is given."""
        return _MAX_TOKENS

    def max_connections(self) -> int:
        """Questions under way at once: two batches, and never fewer than all 14 of one image."""
        return max(2 * self.batch_size, 14)

    def close(self) -> None:
        """End the model's thread."""
        self._gatherer.close()


def _templated(turn: Turn) -> dict[str, Any]:
    content: list[dict[str, str]] = [{"type": "image"}] * turn.images
    return {"role": turn.role, "content": [*content, *({"type": "text", "text": text} for text in turn.texts)]}


def _settings(config: GenerateConfig) -> Settings:
    return Settings(
        max_new_tokens=config.max_tokens or _MAX_TOKENS,
        temperature=config.temperature or None,
        top_p=config.top_p,
        top_k=config.top_k,
        seed=config.seed,
        stop=tuple(config.stop_seqs or ()),
        alternatives=(config.top_logprobs or _ALTERNATIVES) if config.logprobs else 0,
    )


def _logprob(said: Any) -> Logprob:
    return Logprob(
        token=said.token,
        logprob=said.logprob,
        top_logprobs=[TopLogprob(token=token, logprob=value) for token, value in said.alternatives],
    )
