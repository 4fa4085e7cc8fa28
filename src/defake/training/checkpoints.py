"""Checkpoints that come back whole or not at all.

transformers' own route writes the names of the hub (`save_pretrained` turns them round since version 5) and reads them
back with `strict=False`: renamed weights are lost with a warning. Ours keeps the module's names and checks every one.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from defake.errors import WeightsMismatch

if TYPE_CHECKING:
    from pathlib import Path

    import torch

WEIGHTS = "model.safetensors"
STATE = "trainer_state.json"


def learnt_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What training changes, by the module's own names: the adapter alone, or all weights and running statistics.

    Of tensors that share memory (tied embeddings) the first name stands for all.
    """
    trained = {name for name, weight in model.named_parameters(remove_duplicate=False) if weight.requires_grad}
    is_adapted = any(not weight.requires_grad for weight in model.parameters())
    kept: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict().items():
        place = tensor.data_ptr()
        if (is_adapted and name not in trained) or (place in seen and tensor.numel()):
            continue
        seen.add(place)
        kept[name] = tensor.detach()
    return kept


def save_learnt(model: torch.nn.Module, folder: Path) -> None:
    """Write `learnt_state` into a checkpoint's folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    # The format is told so that transformers knows the file.
    state = {name: tensor.contiguous() for name, tensor in learnt_state(model).items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def load_learnt(model: torch.nn.Module, folder: Path) -> None:
    """Put a checkpoint's weights into the model.

    Raises: WeightsMismatch if a weight is missing, left over or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise WeightsMismatch(f"{folder / WEIGHTS} cannot be read ({error}); remove the folder to fall back") from error
    wanted = learnt_state(model)
    unlike = sorted({*found} ^ {*wanted}) or [n for n, tensor in wanted.items() if found[n].shape != tensor.shape]
    if unlike:
        raise WeightsMismatch(
            f"{folder} does not fit the model: {len(unlike)} weights are missing, left over or misshapen "
            f"(first: {unlike[0]}); train into another folder"
        )
    model.load_state_dict(found, strict=False)


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the highest step that was written to its end; half-written ones are removed.

    The Trainer writes `trainer_state.json` last, so a checkpoint without a readable one was cut off. The path of the
    best checkpoint in it is set right where the folder was moved.
    """
    whole = []
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
            step = int(state["global_step"])
        except (OSError, ValueError, KeyError, TypeError):
            shutil.rmtree(checkpoint, ignore_errors=True)
        else:
            whole.append((step, checkpoint, state))
    if not whole:
        return None
    _, checkpoint, state = max(whole, key=lambda entry: entry[0])
    _find_best_again(checkpoint, state, folder)
    return checkpoint


def _find_best_again(checkpoint: Path, state: dict[str, Any], folder: Path) -> None:
    best = folder / f"checkpoint-{state.get('best_global_step')}"
    if state.get("best_model_checkpoint") not in (None, str(best)) and best.is_dir():
        draft = checkpoint / f"{STATE}.part"
        draft.write_text(json.dumps({**state, "best_model_checkpoint": str(best)}, indent=2) + "\n", encoding="utf-8")
        draft.replace(checkpoint / STATE)
