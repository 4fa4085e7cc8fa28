"""What a model is given before it answers: the image and, for most, a question."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch

from defake.errors import BadConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from .labels import Tokens

CHAT_QUESTION = "Is this image real or fake? Answer with one word, real or fake."
"""Source: ours."""


class Prompt(ABC):
    """Turns images into model inputs and captions into the tokens of an answer.

    Batches are padded on the left, so that the last position of every row is the one the answer begins after.
    """

    def __init__(self, model: Any, processor: Any, text: str) -> None:
        self.model = model
        self.processor = processor
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.text = text

    @abstractmethod
    def inputs(self, images: Sequence[Image]) -> dict[str, torch.Tensor]:
        """Model inputs of a batch, on the model's device and in its number format."""

    def answer_ids(self, caption: str) -> Tokens:
        """The tokens of a caption as the answer to this prompt, without an end token.

        The prompt is tokenised with and without the caption; the difference is the answer, so that a tokenizer that
        marks spaces is asked about the very place where the caption stands.

        Raises: BadConfig if the tokenizer has no token for it.
        """
        before, answer = self._around(caption)
        alone = self._encode(before)
        together = self._encode(before + answer)
        # A tokenizer that merges across the seam cannot be asked so; then the answer is read by itself.
        tokens = together[len(alone) :] if together[: len(alone)] == alone else self._encode(answer)
        if self.tokenizer.unk_token_id is not None and self.tokenizer.unk_token_id in tokens:
            raise BadConfig(f"the tokenizer does not know the caption {caption!r}; choose another word for the label")
        return tokens

    def _around(self, caption: str) -> tuple[str, str]:
        seam = "" if not self.text or self.text[-1].isspace() else " "
        return self.text, seam + caption

    def _encode(self, text: str) -> Tokens:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _place(self, batch: Any) -> dict[str, torch.Tensor]:
        device, dtype = self.model.device, self.model.dtype
        return {
            key: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for key, value in batch.items()
            if isinstance(value, torch.Tensor)
        }


class PixelPrompt(Prompt):
    """An image encoder and a text decoder (ViT-GPT2): the image alone, or the beginning of the caption after it."""

    def inputs(self, images: Sequence[Image]) -> dict[str, torch.Tensor]:
        """`pixel_values` `(n, 3, h, w)`; the start token and the prompt are the reader's."""
        return self._place(self.processor.image_processor(list(images), return_tensors="pt"))


class Blip2Prompt(Prompt):
    """BLIP-2: the query tokens of the image, then the tokenizer's start token and the prompt.

    Source: the layout of `Blip2Processor`; with an empty prompt that of `Blip2ForConditionalGeneration.generate`.
    """

    def inputs(self, images: Sequence[Image]) -> dict[str, torch.Tensor]:
        """`pixel_values` `(n, 3, h, w)`, `input_ids` and `attention_mask` `(n, queries + prompt)`."""
        batch = self._place(self.processor.image_processor(list(images), return_tensors="pt"))
        config = self.model.config
        text = list(self.tokenizer(self.text)["input_ids"]) or [config.text_config.bos_token_id]
        row = torch.tensor([[config.image_token_index] * config.num_query_tokens + text], device=self.model.device)
        batch["input_ids"] = row.repeat(len(images), 1)
        batch["attention_mask"] = torch.ones_like(batch["input_ids"])
        return batch


class ChatPrompt(Prompt):
    """Any image-text-to-text model: its chat template where it has one, else its image token and the question."""

    def __init__(self, model: Any, processor: Any, text: str) -> None:
        super().__init__(model, processor, text)
        self._template = getattr(processor, "chat_template", None)
        self._opening = self._render() if self._template else self._plain()

    def _plain(self) -> str:
        token = getattr(self.processor, "image_token", None)
        # InstructBLIP's processor puts its query tokens in by itself.
        if not isinstance(token, str) or hasattr(self.processor, "qformer_tokenizer") or token in self.text:
            return self.text
        return f"{token}\n{self.text}"

    def _render(self, answer: str | None = None) -> str:
        turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": self.text}]}]
        if answer is not None:
            turns.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        text = self.processor.apply_chat_template(turns, add_generation_prompt=answer is None, tokenize=False)
        return str(text)

    def _around(self, caption: str) -> tuple[str, str]:
        if not self._template:
            return super()._around(caption)
        full, opening = self._render(caption), self._opening
        if full.startswith(opening) and caption in full[len(opening) :]:
            # The template knows whether a space stands between the role and the answer.
            lead = full[len(opening) :].split(caption, 1)[0]
            return opening, (lead if lead.isspace() else "") + caption
        return opening, caption

    def inputs(self, images: Sequence[Image]) -> dict[str, torch.Tensor]:
        """Whatever the model's own processor makes, padded on the left."""
        self.tokenizer.padding_side = "left"
        start = self.tokenizer.bos_token
        batch = self.processor(
            images=list(images),
            text=[self._opening] * len(images),
            padding=True,
            return_tensors="pt",
            # A template that writes the start token itself must not get a second one.
            add_special_tokens=not (start and self._opening.startswith(start)),
        )
        return self._place(batch)
