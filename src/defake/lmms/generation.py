"""Batched replies of an image-text-to-text model, with log-probabilities of the likeliest tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from defake.detectors.hardware import Batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .prefix import Asked, Prompter


@dataclass(frozen=True, slots=True)
class Settings:
    """How to generate; questions with equal settings share batches. Greedy unless a temperature above 0 is given."""

    max_new_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    alternatives: int = 0


@dataclass(frozen=True, slots=True)
class Said:
    """One generated token: its text, log-probability, and the likeliest alternatives at its place."""

    token: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Generated:
    """A reply, why it ended (`stop` or `max_tokens`), what it cost, its tokens if they were asked for."""

    text: str
    stop_reason: str
    input_tokens: int
    output_tokens: int
    tokens: tuple[Said, ...] | None = None


class Recorder(LogitsProcessor):  # type: ignore[misc]  # untyped base
    """Keeps the likeliest tokens of each step and the log-probability of the one that was taken.

    Logits of whole vocabularies are dropped step by step: 32 answers of 512 tokens would otherwise be 10 GB.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.top: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.taken: list[torch.Tensor] = []
        self._last: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Record a step; scores `(n, vocabulary)` go on unchanged."""
        self.finish(input_ids)
        self._last = scores.float().log_softmax(dim=-1)
        values, ids = self._last.topk(min(self.count, scores.shape[-1]), dim=-1)
        self.top.append((values.cpu(), ids.cpu()))
        return scores

    def finish(self, input_ids: torch.Tensor) -> None:
        """Note the token that was taken last."""
        if self._last is not None:
            self.taken.append(self._last.gather(1, input_ids[:, -1:]).squeeze(1).cpu())
            self._last = None


class Generator:
    """Answers questions group by group: those about one image together, its keys and values reused."""

    def __init__(self, prompter: Prompter, batch_size: int) -> None:
        self.prompter = prompter
        self.model = prompter.model
        self.tokenizer = prompter.tokenizer
        self._batches = Batches(batch_size)
        found = getattr(self.model.generation_config, "eos_token_id", None)
        ends = found if isinstance(found, list) else [found]
        self.ends = {int(end) for end in [*ends, self.tokenizer.eos_token_id] if end is not None}

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not followed
    def answer(self, asked: Sequence[tuple[Asked, Settings]]) -> list[Generated]:
        """The reply to each question, in order, whatever batches they were answered in."""
        groups: dict[Any, list[int]] = {}
        for i, (one, settings) in enumerate(asked):
            groups.setdefault((one.group, settings), []).append(i)
        replies: dict[int, Generated] = {}
        for (_, settings), where in groups.items():
            members = [asked[i][0] for i in where]
            done = self._batches.run(members, lambda some, s=settings: self._batch(some, s))  # type: ignore[misc]
            replies.update(zip(where, (reply for batch in done for reply in batch), strict=True))
        return [replies[i] for i in range(len(asked))]

    def _batch(self, some: Sequence[Asked], settings: Settings) -> list[Generated]:
        batch = self.prompter.batch(some)
        recorder = Recorder(settings.alternatives) if settings.alternatives else None
        if settings.seed is not None:
            torch.manual_seed(settings.seed)
        ids = self.model.generate(
            **batch.inputs,
            **self._options(settings),
            logits_processor=LogitsProcessorList([recorder] if recorder else []),
        )
        if recorder:
            recorder.finish(ids)
        # Encoder-decoder models give the answer alone, behind one start token.
        places = 1 if self.model.config.is_encoder_decoder else batch.prompt_places
        read = batch.inputs["attention_mask"].sum(dim=1).tolist()
        return [
            self._reply(row, ids[row, places:].tolist(), int(read[row]), settings, recorder) for row in range(len(some))
        ]

    def _options(self, settings: Settings) -> dict[str, Any]:
        samples = bool(settings.temperature)
        options: dict[str, Any] = {
            "max_new_tokens": settings.max_new_tokens,
            "do_sample": samples,
            "num_beams": 1,
            "pad_token_id": self.tokenizer.pad_token_id,
            "eos_token_id": sorted(self.ends),
            # A model's own generation config must not sample where greedy was asked for, nor warn about it.
            "temperature": settings.temperature if samples else None,
            "top_p": settings.top_p if samples else None,
            "top_k": settings.top_k if samples else None,
        }
        if settings.stop:
            options |= {"stop_strings": list(settings.stop), "tokenizer": self.tokenizer}
        return options

    def _reply(self, row: int, ids: list[int], read: int, settings: Settings, recorder: Recorder | None) -> Generated:
        end = next((i for i, token in enumerate(ids) if token in self.ends), None)
        kept = ids if end is None else ids[:end]
        text = self.tokenizer.decode(kept, skip_special_tokens=True)
        stopped = end is not None
        for stop in settings.stop:
            if stop in text:
                text, stopped = text.split(stop, 1)[0], True
        tokens = None if recorder is None else tuple(self._said(recorder, row, i, t) for i, t in enumerate(kept))
        reason = "stop" if stopped or len(kept) < settings.max_new_tokens else "max_tokens"
        return Generated(text.strip(), reason, read, len(kept) + (end is not None), tokens)

    def _said(self, recorder: Recorder, row: int, step: int, token: int) -> Said:
        values, ids = recorder.top[step]
        likeliest = tuple(
            (self.tokenizer.decode([i]), v) for i, v in zip(ids[row].tolist(), values[row].tolist(), strict=True)
        )
        return Said(self.tokenizer.decode([token]), float(recorder.taken[step][row]), likeliest)
