"""Which layers a LoRA adapter goes into, and putting it there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from defake.errors import BadConfig, MissingExtra

if TYPE_CHECKING:
    from .recipe import Recipe

# Query and key of the text decoder by its family's names: OPT and LLaMA, GPT-2 (query, key and value in one), T5.
ATTENTION = (("q_proj", "k_proj"), ("c_attn",), ("q", "k"), ("query", "key"), ("qkv_proj",), ("query_key_value",))
# Parts that look at the image; the paper leaves them frozen.
LOOKING = ("vision", "visual", "qformer", "encoder.", "image_encoder", "patch_embed", "connector", "projector")


def decoder_targets(model: Any, wanted: tuple[str, ...] = ()) -> list[str]:
    """Names of the layers an adapter goes into: `wanted`, or query and key of the text decoder alone.

    The bare name (`q_proj`) where no other part of the model uses it, the full one otherwise.

    Raises: BadConfig if the model has no such layer.
    """
    layers = [name for name, module in model.named_modules() if _is_linear(module)]
    for names in (wanted,) if wanted else ATTENTION:
        found = [layer for layer in layers if layer.rpartition(".")[2] in names or layer in names]
        inside = found if wanted else [layer for layer in found if not _looks(layer)]
        if inside:
            bare = sorted({layer.rpartition(".")[2] for layer in inside})
            return bare if len(inside) == len(found) else inside
    kinds = sorted({layer.rpartition(".")[2] for layer in layers if not _looks(layer)})
    asked = ", ".join(wanted) if wanted else "query and key layers known by name"
    raise BadConfig(f"no layer for the adapter: looked for {asked}; --lora-target takes one of: {', '.join(kinds)}")


def _is_linear(module: Any) -> bool:
    # GPT-2's Conv1D is a linear layer; quantised layers keep "Linear" in their class name.
    return "Linear" in type(module).__name__ or type(module).__name__ == "Conv1D"


def _looks(layer: str) -> bool:
    # A text encoder (T5) stands below `language_model.encoder`, and belongs to the text.
    text = layer.startswith("language_model.") or ".language_model." in layer
    return not text and any(part in f"{layer}." for part in LOOKING)


def with_adapter(model: Any, recipe: Recipe) -> Any:
    """The model with fresh LoRA layers, everything else frozen; its own forward pass goes through them too.

    Raises: BadConfig if there is no layer for them; MissingExtra without peft.
    """
    try:
        import peft
    except ModuleNotFoundError as error:
        raise MissingExtra("training an adapter", "train", "peft") from error
    targets = decoder_targets(model, recipe.lora_targets)
    transposed = any(
        type(module).__name__ == "Conv1D"
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in targets or name in targets
    )
    if getattr(model, "is_loaded_in_8bit", False):
        model = peft.prepare_model_for_kbit_training(model)
    config = peft.LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=targets,
        bias="none",
        fan_in_fan_out=transposed,
    )
    return peft.get_peft_model(model, config)
