"""Transformers models and peft adapters from a hub name or a folder: all of their weights, or a named error."""

from __future__ import annotations

import importlib.util
import json
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from defake.errors import BackendFailed, BadConfig, MissingExtra, WeightsMismatch

from .hardware import choose_device, choose_dtype, is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DTYPE = "dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype"


def require(module: str, what: str, extra: str) -> None:
    """Raises: MissingExtra if a module is not installed."""
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(what, extra, module)


def load_part(kind: Any, source: str, **options: Any) -> Any:
    """`kind.from_pretrained(source)` for a configuration, processor or tokenizer.

    Raises: WeightsMismatch with both repairs if it is not there; BackendFailed if it needs torchvision.
    """
    try:
        return kind.from_pretrained(source, **options)
    except (ImportError, AttributeError) as error:
        # Without torchvision some processors (Qwen-VL, SmolVLM) fail in their video half, not always as ImportError.
        if importlib.util.find_spec("torchvision") is not None:
            raise
        raise BackendFailed(
            f"the processor of {source!r} needs torchvision: pip install torchvision ({error})"
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise WeightsMismatch(_not_there(source, error)) from error


def load_model(
    kind: Any, source: str, *, device: str = "auto", dtype: str = "auto", quantize: str | None = None, **options: Any
) -> Any:
    """A model in evaluation mode with every weight loaded.

    `quantize` is None, `8bit` or `4bit` (bitsandbytes).

    Raises: WeightsMismatch if the files are not there, or lack or misshape a weight; BadConfig for unknown options;
    MissingExtra without bitsandbytes.
    """
    place = choose_device(device)
    options[_DTYPE] = choose_dtype(dtype, place)
    if quantize is not None:
        options |= quantized(quantize, place)
    try:
        with _quiet():
            model, found = kind.from_pretrained(source, output_loading_info=True, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise BackendFailed(f"the weights of {source} do not fit into memory: {error}") from error
        raise WeightsMismatch(_not_there(source, error)) from error
    _check_loaded(source, found)
    if quantize is None:
        model = model.to(place)
    return model.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    # The library lists, at length, parts that are left out on purpose; `_check_loaded` tells what matters.
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)


def quantized(bits: str, place: torch.device) -> dict[str, Any]:
    """Options of `from_pretrained` for weights of 8 or 4 bits.

    Raises: BadConfig for another number; MissingExtra without bitsandbytes.
    """
    if bits not in ("8bit", "4bit"):
        raise BadConfig(f"quantize must be '8bit', '4bit' or None, but got {bits!r}")
    require("bitsandbytes", f"quantize={bits!r}", "quantized")
    require("accelerate", f"quantize={bits!r}", "train")
    config = transformers.BitsAndBytesConfig(**{f"load_in_{bits}": True})
    return {"quantization_config": config, "device_map": {"": place}}


def _not_there(source: str, error: BaseException) -> str:
    repair = "give a folder that `save_pretrained` wrote (configuration, processor, weights), or a hub name"
    is_hub_name = source.count("/") <= 1 and not source.startswith(("/", ".", "~"))
    if not Path(source).is_dir() and not is_hub_name:
        return f"no usable model: there is no folder {source!r}; {repair}"
    words = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
    fetch = "" if Path(source).is_dir() else f", fetched while online: hf download {source}"
    return f"no usable model at {source!r}: {words}; {repair}{fetch}"


def _check_loaded(source: str, found: Mapping[str, Any]) -> None:
    missing = sorted(found.get("missing_keys") or [])
    misshapen = sorted(str(entry[0]) for entry in found.get("mismatched_keys") or [])
    if missing or misshapen:
        first = ", ".join((missing + misshapen)[:3])
        raise WeightsMismatch(
            f"{source!r} lacks {len(missing)} weights and misshapes {len(misshapen)} (first: {first}), which would be "
            "random; nothing was scored. Save the model with `save_pretrained`, or give the source of the whole model"
        )


def read_adapter_config(folder: str | Path) -> dict[str, Any]:
    """The `adapter_config.json` of a peft adapter in a folder.

    Raises: WeightsMismatch if there is none or it cannot be read.
    """
    path = Path(folder) / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise TypeError("not a JSON object")  # noqa: TRY301 - told in the same words as broken JSON
    except (OSError, ValueError, TypeError) as error:
        raise WeightsMismatch(
            f"no peft adapter in {str(folder)!r}: {error} | give the folder that `defake train captioner` or "
            "`save_pretrained` of peft wrote (adapter_config.json beside adapter_model.safetensors)"
        ) from error
    return config


def add_adapter(model: Any, folder: str, source: str, *, merge: bool = False, check_base: bool = True) -> Any:
    """The model with a LoRA adapter in its layers, or merged into them.

    Raises: WeightsMismatch if the adapter names another base (unless `check_base` is False), or holds weights of other
    layers or shapes; MissingExtra without peft. The model is not touched then.
    """
    require("peft", "an adapter", "train")
    import peft

    config = read_adapter_config(folder)
    if config.get("peft_type") not in ("LORA", "ADALORA"):
        raise BadConfig(f"the adapter in {folder!r} is of type {config.get('peft_type')}; only LoRA adapters are read")
    if check_base:
        _check_base(config, folder, source)
    _check_shapes(_adapter_shapes(folder), dict(model.named_modules()), folder, source)
    try:
        adapted = peft.PeftModel.from_pretrained(model, folder)
    except (ValueError, RuntimeError, KeyError) as error:
        raise WeightsMismatch(f"the adapter in {folder!r} does not fit {source!r}: {error}") from error
    # The base model keeps its own forward pass; the LoRA layers sit inside it.
    return (adapted.merge_and_unload() if merge else adapted.get_base_model()).eval()


def _check_base(config: Mapping[str, Any], folder: str, source: str) -> None:
    trained_on = config.get("base_model_name_or_path")
    if trained_on and Path(trained_on).name != Path(source).name:
        raise WeightsMismatch(
            f"the adapter in {folder!r} was trained on {trained_on!r}, not on {source!r}; nothing was scored. Give its "
            "base as the source, or check_base=False if yours is a copy of it under another name"
        )


def _adapter_shapes(folder: str) -> dict[str, tuple[int, ...]]:
    path = Path(folder) / "adapter_model.safetensors"
    if path.is_file():
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as weights:
                return {key: tuple(weights.get_slice(key).get_shape()) for key in weights.keys()}  # noqa: SIM118 - no dict
        except SafetensorError as error:
            raise WeightsMismatch(f"{path} is not a safetensors file or is cut short: {error}") from error
    old = path.with_suffix(".bin")
    if not old.is_file():
        raise WeightsMismatch(f"no adapter weights in {folder!r}: expected adapter_model.safetensors; train again")
    weights = torch.load(old, map_location="cpu", weights_only=True)
    return {key: tuple(value.shape) for key, value in weights.items()}


def _check_shapes(shapes: Mapping[str, tuple[int, ...]], modules: Mapping[str, Any], folder: str, source: str) -> None:
    wrong = []
    for key, shape in shapes.items():
        place, side = key.removeprefix("base_model.model."), key.rpartition(".lora_")[2][:2]
        if side not in ("A.", "B."):
            continue
        layer = modules.get(place.rpartition(".lora_")[0])
        weight = getattr(layer, "weight", None)
        if weight is None:
            wrong.append(f"{place}: no such layer")
        elif weight.dim() == 2 and not _fits(layer, side, shape):
            wrong.append(f"{place}: adapter {shape}, layer {tuple(weight.shape)}")
    if wrong or not shapes:
        raise WeightsMismatch(
            f"the adapter in {folder!r} does not fit {source!r}: {len(wrong)} of {len(shapes)} weights "
            f"({wrong[0] if wrong else 'it is empty'}); nothing was scored. Give the base it was trained on"
        )


def _fits(layer: Any, side: str, shape: tuple[int, ...]) -> bool:
    size_in, size_out = getattr(layer, "in_features", None), getattr(layer, "out_features", None)
    if size_in is None:  # GPT-2's Conv1D holds (in, out)
        size_in, size_out = layer.weight.shape
    return shape[1] == size_in if side == "A." else shape[0] == size_out


def hash_weights(model: torch.nn.Module, *told: Any) -> str:
    """SHA-256 over the names and bytes of all weights and the `told` settings, whatever files they came from."""
    digest = sha256(json.dumps(told, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
