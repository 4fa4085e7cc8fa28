"""Which prompt and which reader a model needs: the one place that knows families by name."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import transformers

from defake.detectors.weights import load_model, load_part

from .prompts import CHAT_QUESTION, Blip2Prompt, ChatPrompt, PixelPrompt, Prompt
from .readers import DecoderReader, EncoderDecoderReader, Reader


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory with its processor (`image_processor` and `tokenizer`), and where it came from."""

    model: Any
    processor: Any
    source: str = ""


def load_captioner(
    source: str, *, processor: str | None = None, device: str = "auto", dtype: str = "auto", quantize: str | None = None
) -> Loaded:
    """Model and processor of a hub name or folder; `processor` is where the latter lies if elsewhere.

    Raises: WeightsMismatch, BadConfig, MissingExtra.
    """
    config = load_part(transformers.AutoConfig, source)
    kind, parts = transformers.AutoModelForImageTextToText, processor or source
    if config.model_type == "vision-encoder-decoder":
        kind = transformers.VisionEncoderDecoderModel
        both = SimpleNamespace(
            image_processor=load_part(transformers.AutoImageProcessor, parts),
            tokenizer=load_part(transformers.AutoTokenizer, parts),
        )
    else:
        both = load_part(transformers.AutoProcessor, parts)
    if config.model_type == "blip-2":
        kind = transformers.Blip2ForConditionalGeneration
    return Loaded(load_model(kind, source, device=device, dtype=dtype, quantize=quantize), both, source)


def make_reader(loaded: Loaded, prompt: str | None = None) -> Reader:
    """The reader of a model with its prompt; None takes the family's own text."""
    model, processor = loaded.model, loaded.processor
    tokenizer = getattr(processor, "tokenizer", processor)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    given: Prompt
    if model.config.model_type == "vision-encoder-decoder":
        given = PixelPrompt(model, processor, prompt or "")
    elif model.config.model_type == "blip-2":
        given = Blip2Prompt(model, processor, prompt or "")
    else:
        given = ChatPrompt(model, processor, CHAT_QUESTION if prompt is None else prompt)
    encodes = model.config.is_encoder_decoder or (
        hasattr(model, "language_model") and model.language_model.config.is_encoder_decoder
    )
    return (EncoderDecoderReader if encodes else DecoderReader)(model, given)
