"""Log-probabilities after a prompt: one forward pass, only the positions that are read, images encoded once."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .labels import Tokens
    from .prompts import Prompt

Inputs: TypeAlias = dict[str, Tensor]


@contextmanager
def last_positions(head: torch.nn.Module | None, count: int) -> Iterator[None]:
    """Within, an output head sees only the last `count` positions: the vocabulary is the widest matrix of a model.

    A hook and not `logits_to_keep`, which some models of some versions of transformers do not take.
    """
    if head is None:
        yield
        return
    handle = head.register_forward_pre_hook(lambda _, inputs: (inputs[0][:, -count:], *inputs[1:]))
    try:
        yield
    finally:
        handle.remove()


def append_tokens(inputs: Inputs, tokens: Tensor, mask: Tensor) -> Inputs:
    """Inputs with tokens `(n, k)` after each row; whatever else runs along `input_ids` gets zeros, as for text."""
    size = inputs["input_ids"].shape
    longer = dict(inputs)
    for key, value in inputs.items():
        if value.shape == size:
            longer[key] = torch.cat([value, torch.zeros_like(tokens, dtype=value.dtype)], dim=1)
    longer["input_ids"] = torch.cat([inputs["input_ids"], tokens], dim=1)
    longer["attention_mask"] = torch.cat([inputs["attention_mask"], mask.to(inputs["attention_mask"].dtype)], dim=1)
    return longer


def repeat_cache(cache: Any, times: int) -> Any:
    """Keys and values with each row `times` times in a row."""
    if isinstance(cache, tuple):  # the form before transformers' Cache classes
        return tuple(repeat_cache(part, times) for part in cache)
    if isinstance(cache, Tensor):
        return cache.repeat_interleave(times, dim=0)
    cache.batch_repeat_interleave(times)
    return cache


def call(module: Any, **arguments: Any) -> Any:
    """Call a module with those arguments its forward pass knows."""
    known = inspect.signature(module.forward).parameters
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return module(**arguments)
    return module(**{key: value for key, value in arguments.items() if key in known})


@dataclass(slots=True)
class Started:
    """Logits `(n, 1 + k, vocabulary)` after the prompt and each of k tokens, and what is needed to go on."""

    logits: Tensor
    cache: Any
    mask: Tensor | None = None
    encoded: Any = None


class Reader(ABC):
    """Runs a model over a prompt and over possible answers."""

    def __init__(self, model: Any, prompt: Prompt) -> None:
        self.model = model
        self.prompt = prompt
        self.head = model.get_output_embeddings()

    @abstractmethod
    def start(self, inputs: Inputs, tokens: Tokens, *, go_on: bool) -> Started:
        """One forward pass over image, prompt and `tokens`; `go_on` keeps keys and values."""

    @abstractmethod
    def go_on(self, started: Started, rows: Sequence[Tokens]) -> Tensor:
        """Logits after every token of every row, `(n, rows, longest row, vocabulary)`; uses up `started`."""

    @abstractmethod
    def training_inputs(self, inputs: Inputs, answers: Sequence[Tokens]) -> dict[str, Tensor]:
        """Inputs with the answers behind the prompt and `labels`, -100 wherever no answer token is to be said."""

    @property
    def end_id(self) -> int:
        """The token that ends a reply: what generation stops at, else the tokenizer's own."""
        for module in (getattr(self.model, "language_model", None), self.model):
            end = getattr(getattr(module, "generation_config", None), "eos_token_id", None)
            if end is not None:
                return int(end[0] if isinstance(end, list) else end)
        return int(self.prompt.tokenizer.eos_token_id)

    def generate(self, inputs: Inputs, max_new_tokens: int) -> list[str]:
        """Greedy replies, special tokens left out, spaces and all."""
        ids = self.model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            pad_token_id=self.prompt.tokenizer.pad_token_id,
        )
        asked = inputs.get("decoder_input_ids", inputs.get("input_ids"))
        if asked is not None and ids.shape[1] >= asked.shape[1] and torch.equal(ids[:, : asked.shape[1]], asked):
            ids = ids[:, asked.shape[1] :]  # whether the prompt is repeated differs between models and versions
        return list(self.prompt.tokenizer.batch_decode(ids, skip_special_tokens=True))

    def _rows(self, rows: Sequence[Tokens], fill: int) -> Tensor:
        longest = max(len(row) for row in rows)
        padded = [[*row, *[fill] * (longest - len(row))] for row in rows]
        return torch.tensor(padded, device=self.model.device)

    def _split(self, logits: Tensor, rows: Sequence[Tokens]) -> Tensor:
        return logits.unflatten(0, (-1, len(rows)))


class DecoderReader(Reader):
    """A decoder that reads image and prompt as one sequence: BLIP-2 with OPT, LLaVA, Qwen-VL, SmolVLM."""

    def __init__(self, model: Any, prompt: Prompt) -> None:
        super().__init__(model, prompt)
        inner = getattr(model, "language_model", None)
        # BLIP-2 and its kin wrap a whole language model, which alone can go on from a cache.
        whole = inner is not None and getattr(inner, "get_output_embeddings", lambda: None)() is not None
        self.speaker = inner if whole else model
        # Multimodal rotary positions (Qwen-VL) are the model's own affair.
        self.rotary = next((m for m in (model, getattr(model, "model", None)) if hasattr(m, "rope_deltas")), None)
        self.takes_positions = "position_ids" in inspect.signature(model.forward).parameters

    def start(self, inputs: Inputs, tokens: Tokens, *, go_on: bool) -> Started:
        """See `Reader.start`."""
        rows = len(inputs["input_ids"])
        if tokens:
            more = self._rows([tokens] * rows, 0)
            inputs = append_tokens(inputs, more, torch.ones_like(more))
        mask = inputs["attention_mask"]
        inputs = {**inputs, **self._positions(mask, mask.shape[1])}
        with last_positions(self.head, 1 + len(tokens)):
            out = call(self.model, **inputs, use_cache=go_on, return_dict=True)
        cache = getattr(out, "past_key_values", None) or getattr(
            getattr(out, "language_model_outputs", None), "past_key_values", None
        )
        return Started(out.logits[:, -1 - len(tokens) :], cache, mask)

    def _positions(self, mask: Tensor, count: int) -> dict[str, Tensor]:
        # Without padding every model counts right by itself; with it, only some do.
        if not self.takes_positions or self.rotary is not None or bool(mask.all()):
            return {}
        return {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -count:]}

    def _rotary_positions(self, mask: Tensor, count: int) -> dict[str, Tensor]:
        import transformers

        delta = self.rotary.rope_deltas.to(mask.device)  # type: ignore[union-attr]
        delta = delta.view(-1, 1).repeat_interleave(len(mask) // delta.numel(), dim=0)
        # Version 5 counts from the first token of a row, version 4 from the first place, padding included.
        counted = mask if int(transformers.__version__.split(".")[0]) >= 5 else torch.ones_like(mask)
        return {"position_ids": ((counted.cumsum(dim=1) - 1)[:, -count:] + delta).expand(3, -1, -1)}

    def go_on(self, started: Started, rows: Sequence[Tokens]) -> Tensor:
        """See `Reader.go_on`."""
        assert started.mask is not None
        # Places after the end of a shorter row come later than all that is read, and a decoder looks only back.
        tokens = self._rows(rows, 0).repeat(len(started.mask), 1)
        before = started.mask.repeat_interleave(len(rows), dim=0)
        mask = torch.cat([before, torch.ones_like(tokens, dtype=before.dtype)], dim=1)
        count = tokens.shape[1]
        out = call(
            self.speaker,
            input_ids=tokens,
            attention_mask=mask,
            past_key_values=repeat_cache(started.cache, len(rows)),
            use_cache=True,
            return_dict=True,
            **(self._positions(mask, count) if self.rotary is None else self._rotary_positions(mask, count)),
        )
        return self._split(out.logits, rows)

    def training_inputs(self, inputs: Inputs, answers: Sequence[Tokens]) -> dict[str, Tensor]:
        """See `Reader.training_inputs`; answers are padded on the right and masked there."""
        tokens, said = self._rows(answers, 0), self._rows([(1,) * len(a) for a in answers], 0)
        longer = append_tokens(inputs, tokens, said)
        labels = torch.full_like(longer["input_ids"], -100)
        labels[:, inputs["input_ids"].shape[1] :] = tokens.masked_fill(said == 0, -100)
        mask = longer["attention_mask"]
        return {**longer, **self._positions(mask, mask.shape[1]), "labels": labels}


class EncoderDecoderReader(Reader):
    """An encoder and a decoder that attends to it: ViT-GPT2, BLIP-2 with Flan-T5."""

    def __init__(self, model: Any, prompt: Prompt) -> None:
        super().__init__(model, prompt)
        self.speaker = getattr(model, "language_model", model)
        config, generation = self.speaker.config, self.speaker.generation_config
        start = getattr(config, "decoder_start_token_id", None)
        start = generation.decoder_start_token_id if start is None else start
        self.opening: Tokens = (int(generation.bos_token_id if start is None else start),)
        if self.speaker is model and prompt.text:  # no encoder reads text, so the prompt begins the caption
            self.opening += tuple(prompt.tokenizer(prompt.text, add_special_tokens=False)["input_ids"])

    def start(self, inputs: Inputs, tokens: Tokens, *, go_on: bool) -> Started:
        """See `Reader.start`."""
        said = self._say(len(inputs["pixel_values"]), tokens)
        with last_positions(self.head, 1 + len(tokens)):
            out = call(self.model, **inputs, **said, use_cache=go_on, return_dict=True)
        inner, logits = getattr(out, "language_model_outputs", None) or out, out.logits[:, -1 - len(tokens) :]
        encoded = (inner.encoder_last_hidden_state, inputs.get("attention_mask"))
        return Started(logits, inner.past_key_values, said["decoder_attention_mask"], encoded)

    def _say(self, count: int, tokens: Tokens) -> Inputs:
        said = self._rows([self.opening + tuple(tokens)] * count, 0)
        return {"decoder_input_ids": said, "decoder_attention_mask": torch.ones_like(said)}

    def generate(self, inputs: Inputs, max_new_tokens: int) -> list[str]:
        """See `Reader.generate`."""
        if len(self.opening) > 1:
            inputs = {**inputs, **self._say(len(inputs["pixel_values"]), ())}
        return super().generate(inputs, max_new_tokens)

    def go_on(self, started: Started, rows: Sequence[Tokens]) -> Tensor:
        """See `Reader.go_on`."""
        from transformers.modeling_outputs import BaseModelOutput

        assert started.mask is not None
        times, (encoded, mask) = len(rows), started.encoded
        tokens = self._rows(rows, 0).repeat(len(encoded), 1)
        before = started.mask.repeat_interleave(times, dim=0)
        out = call(
            self.speaker,
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded.repeat_interleave(times, dim=0)),
            decoder_input_ids=tokens,
            decoder_attention_mask=torch.cat([before, torch.ones_like(tokens)], dim=1),
            past_key_values=repeat_cache(started.cache, times),
            use_cache=True,
            return_dict=True,
            **({} if mask is None else {"attention_mask": mask.repeat_interleave(times, dim=0)}),
        )
        return self._split(out.logits, rows)

    def training_inputs(self, inputs: Inputs, answers: Sequence[Tokens]) -> dict[str, Tensor]:
        """See `Reader.training_inputs`; the decoder's inputs are the labels one place later."""
        labels = self._rows([(-100,) * (len(self.opening) - 1) + tuple(a) for a in answers], -100)
        said = self._rows([self.opening + tuple(a[:-1]) for a in answers], 0)
        return {**inputs, "decoder_input_ids": said, "labels": labels}
