"""Untrained miniatures of the models the paper compares, for images of 64 px and a vocabulary of two captions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from defake.detectors.classifier import LABELS

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE_PX = 64
WORDS = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "real", "fake")
VISION = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
GRID = {"image_size": SIZE_PX, "patch_size": 8}


def make_tokenizer() -> Any:
    """A tokenizer of whole words."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))  # noqa: S106 - no password
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",  # noqa: S106
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
    )


def make_processor(name: str, **options: Any) -> Any:
    """An image processor of transformers at 64 px; the variant without torchvision where there are two."""
    kind = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    return kind(size={"height": SIZE_PX, "width": SIZE_PX}, **options)


def make_blip2() -> tuple[Any, Any]:
    """BLIP-2 with an OPT decoder."""
    tokenizer = make_tokenizer()
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    text = {
        "model_type": "opt",
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "ffn_dim": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 64,
        "dropout": 0.0,
        **ids,
    }
    queries = 8
    config = transformers.Blip2Config(
        vision_config={**VISION, **GRID},
        qformer_config={
            **VISION,
            "vocab_size": len(tokenizer),
            "encoder_hidden_size": 64,
            "cross_attention_frequency": 1,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        text_config=text,
        num_query_tokens=queries,
        image_token_index=WORDS.index("<image>"),
    )
    model = transformers.Blip2ForConditionalGeneration(config)
    torch.nn.init.normal_(model.query_tokens)  # zeros by default: every query would ask the same
    processor = make_processor("BlipImageProcessor")
    return model, transformers.Blip2Processor(processor, tokenizer, num_query_tokens=queries)


def make_vit_gpt2() -> tuple[Any, ...]:
    """A ViT encoder with a GPT-2 decoder."""
    tokenizer = make_tokenizer()
    decoder = transformers.GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=64,
        n_layer=2,
        n_head=4,
        n_positions=16,
        add_cross_attention=True,
        is_decoder=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    encoder = transformers.ViTConfig(**VISION, **GRID, hidden_dropout_prob=0.0)
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    model = transformers.VisionEncoderDecoderModel(config)
    model.generation_config = transformers.GenerationConfig(decoder_start_token_id=1, eos_token_id=2, pad_token_id=0)
    return model, tokenizer, make_processor("ViTImageProcessor")


def make_resnet() -> tuple[Any, Any]:
    """A ResNet of bottlenecks."""
    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[32, 64, 96], depths=[1, 1, 1], layer_type="bottleneck", **_labels()
    )
    # ConvNeXt's processor is ResNet's own, but crops; ViT's only scales.
    return transformers.ResNetForImageClassification(config), make_processor("ViTImageProcessor")


def make_deit() -> tuple[Any, Any]:
    """A DeiT."""
    config = transformers.DeiTConfig(**VISION, **GRID, hidden_dropout_prob=0.0, **_labels())
    return transformers.DeiTForImageClassification(config), make_processor("DeiTImageProcessor", do_center_crop=False)


def make_xception() -> tuple[Any, Any]:
    """An Xception of an eighth of the width."""
    from defake.detectors.xception import XceptionConfig, XceptionForImageClassification

    config = XceptionConfig(width=0.125, middle_blocks=1, **_labels())
    return XceptionForImageClassification(config), make_processor("ViTImageProcessor")


def _labels() -> dict[str, Any]:
    return {"id2label": LABELS, "label2id": {word: number for number, word in LABELS.items()}}


BUILDERS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "blip2": make_blip2,
    "vit-gpt2": make_vit_gpt2,
    "resnet50": make_resnet,
    "xception": make_xception,
    "deit": make_deit,
}
