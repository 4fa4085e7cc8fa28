"""Many questions about one image: the image and what stands before it are read once, each question goes on from there.

A decoder that reads image and text as one sequence has, after the image, the same keys and values whatever is asked
next. They are kept; the questions are padded to one length between image and question and answered as one batch.
Whether a model allows that is not assumed: the first question is read both ways, and where the two disagree every
question is read whole.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

logger = logging.getLogger(__name__)

_KEPT_PREFIXES = 4
# Nats between the two readings of the first token, over the tokens that matter; float32 differs by 1e-4.
_AGREEMENT = {torch.float32: 1e-2, torch.bfloat16: 0.25, torch.float16: 0.1}


@dataclass(frozen=True, slots=True)
class Asked:
    """One rendered prompt with its images; `head` is all up to the last image, the same for all its questions."""

    text: str
    tokens: tuple[int, ...]
    images: tuple[Image, ...]
    digests: tuple[str, ...]
    head: tuple[int, ...]

    @property
    def group(self) -> tuple[tuple[str, ...], tuple[int, ...]] | None:
        """Equal for questions that can go on from the same keys and values; None without an image to go on from."""
        return (self.digests, self.head) if self.head else None

    @property
    def tail(self) -> tuple[int, ...]:
        """The tokens after the last image."""
        return self.tokens[len(self.head) :]


@dataclass(slots=True)
class Prefix:
    """Image and head as read once: token ids `(1, k)`, keys and values."""

    ids: torch.Tensor
    cache: Any


@dataclass(slots=True)
class Batch:
    """What `generate` takes for some questions, and how many places of it are the prompt."""

    inputs: dict[str, Any]
    prompt_places: int = field(default=0)


class Prompter:
    """Turns questions into the inputs of `generate`, with the image read once where the model allows it.

    `encoded` counts the forward passes in which images were encoded: what a test or a benchmark compares.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model
        self.processor = processor
        self.tokenizer = getattr(processor, "tokenizer", processor)
        found = getattr(processor, "image_token", None)  # an AddedToken in BLIP-2
        self.image_token = None if found is None else str(found)
        self.image_id = self.tokenizer.convert_tokens_to_ids(self.image_token) if self.image_token else None
        # An encoder reads the question before the decoder starts: there is nothing to go on from.
        self.reuses = self.image_id is not None and not model.config.is_encoder_decoder
        self.encoded = 0
        self._checked = False
        self._kept: OrderedDict[Any, Prefix] = OrderedDict()

    def ask(self, text: str, images: Sequence[Image], digests: Sequence[str]) -> Asked:
        """A prompt as rendered by the chat template, its image places not yet widened."""
        tokens = tuple(self.tokenizer(text, add_special_tokens=self._adds_start(text))["input_ids"])
        places = [i for i, token in enumerate(tokens) if token == self.image_id] if images else []
        head = tokens[: places[-1] + 1] if places else ()
        return Asked(text, tokens, tuple(images), tuple(digests), head)

    def batch(self, group: Sequence[Asked]) -> Batch:
        """The inputs for questions of one group."""
        if self.reuses and group[0].head:
            if not self._checked:
                self._check(group[0])
            if self.reuses:
                return self._going_on(group)
        return self.whole(group)

    def whole(self, asked: Sequence[Asked]) -> Batch:
        """Inputs in which every question has its images with it, padded where its answer does not begin."""
        self.tokenizer.padding_side = "right" if self.model.config.is_encoder_decoder else "left"
        images = [image for one in asked for image in one.images]
        nested = [list(one.images) for one in asked] if images else None
        found = self.processor(
            images=nested,
            text=[one.text for one in asked],
            padding=True,
            return_tensors="pt",
            add_special_tokens=self._adds_start(asked[0].text),
        )
        self.encoded += len(images)
        inputs = self._place(found)
        return Batch(inputs, inputs["input_ids"].shape[1])

    def image_places(self, asked: Asked) -> int:
        """How many tokens the images take once the processor has widened their places in the text."""
        inputs = self.processor(
            images=[list(asked.images)],
            text=[asked.text],
            return_tensors="pt",
            add_special_tokens=self._adds_start(asked.text),
        )
        return int(inputs["input_ids"].shape[1]) - len(asked.tokens) + asked.tokens.count(self.image_id or -1)

    def _adds_start(self, text: str) -> bool:
        start = self.tokenizer.bos_token  # a template that writes it must not get a second one
        return not (start and text.startswith(start))

    def _place(self, batch: Any) -> dict[str, Any]:
        device, dtype = self.model.device, self.model.dtype
        return {
            key: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for key, value in batch.items()
            if isinstance(value, torch.Tensor)
        }

    def _prefix(self, one: Asked) -> Prefix:
        """Keys and values of image and head, from memory or read now."""
        if one.group in self._kept:
            self._kept.move_to_end(one.group)
            return self._kept[one.group]
        inputs = self.whole([one]).inputs
        count = inputs["input_ids"].shape[1] - len(one.tail)
        size = inputs["input_ids"].shape
        cut = {key: value[:, :count] if value.shape == size else value for key, value in inputs.items()}
        out = self.model(**cut, use_cache=True, return_dict=True)
        prefix = Prefix(cut["input_ids"], out.past_key_values)
        self._kept[one.group] = prefix
        if len(self._kept) > _KEPT_PREFIXES:
            self._kept.popitem(last=False)
        return prefix

    def _going_on(self, group: Sequence[Asked]) -> Batch:
        prefix = self._prefix(group[0])
        cache = copy.deepcopy(prefix.cache)  # generation writes into it
        if len(group) > 1:
            cache.batch_repeat_interleave(len(group))
        longest = max(len(one.tail) for one in group)
        pad = self.tokenizer.pad_token_id
        tails = [[pad] * (longest - len(one.tail)) + list(one.tail) for one in group]
        said = [[0] * (longest - len(one.tail)) + [1] * len(one.tail) for one in group]
        device = prefix.ids.device
        before = prefix.ids.expand(len(group), -1)
        ids = torch.cat([before, torch.tensor(tails, device=device)], dim=1)
        mask = torch.cat([torch.ones_like(before), torch.tensor(said, device=device)], dim=1)
        # transformers 5.24 renames the argument and warns of the old name.
        name = "cache" if "cache" in inspect.signature(self.model.forward).parameters else "past_key_values"
        return Batch({"input_ids": ids, "attention_mask": mask, name: cache}, ids.shape[1])

    def _check(self, one: Asked) -> None:
        """Read one question both ways; where the first tokens' log-probabilities differ, stop reusing."""
        self._checked = True
        try:
            whole, going_on = (self._first_token(batch) for batch in (self.whole([one]), self._going_on([one])))
            top = whole.topk(min(10, whole.numel())).indices
            gap = float((whole[top] - going_on[top]).abs().max())
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
            self._stop_reusing(f"{type(error).__name__}: {error}")
            return
        if not gap <= _AGREEMENT.get(self.model.dtype, 0.25):
            self._stop_reusing(f"log-probabilities differ by {gap:.3g}")

    def _first_token(self, batch: Batch) -> torch.Tensor:
        out = self.model.generate(
            **batch.inputs, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True,
            pad_token_id=self.tokenizer.pad_token_id,
        )  # fmt: skip
        return cast("torch.Tensor", out.logits[0][0].float().log_softmax(dim=-1))

    def _stop_reusing(self, why: str) -> None:
        self.reuses = False
        self._kept.clear()
        logger.warning("this model cannot go on from a kept image (%s); every question is read whole", why)
