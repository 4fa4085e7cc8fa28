"""The recipe of a training run: every knob once, with the paper's values as defaults."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from defake.errors import BadConfig

TUNINGS = ("lora", "full")
SELECTIONS = ("auc", "log_loss")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a detector is trained.

    `batch_size` counts images per optimiser step over all devices; `device_batch_size` is what one device takes at once
    (None = all of it), the rest is gradient accumulation. The learning rate is constant. `select` is the validation
    metric that picks the kept epoch; ties of `auc` go to the lower log loss. `precision` None = bfloat16 on a GPU that
    has it, else float32. `load_in_8bit` None = on a GPU where bitsandbytes is installed and the base is frozen.

    Source: blip2_train.py of VLM-DETECT for epochs, learning rate, batch size, seed, 8 bit and the LoRA values; its
    optimiser is Adam without clipping, which AdamW without decay and `max_grad_norm` 0 equals. Validation is ours.
    """

    epochs: int = 20
    learning_rate: float = 5e-5
    batch_size: int = 32
    device_batch_size: int | None = None
    tune: str = "lora"
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    lora_targets: tuple[str, ...] = ()
    weight_decay: float = 0.0
    max_grad_norm: float = 0.0
    seed: int = 42
    precision: str | None = None
    load_in_8bit: bool | None = None
    select: str = "auc"
    val_fraction: float = 0.1
    save_minutes: float = 10.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lora_rank", "lora_alpha"):
            _require(name, getattr(self, name), "at least 1", ok=getattr(self, name) >= 1)
        size = self.device_batch_size
        fits = size is None or (size >= 1 and self.batch_size % size == 0)
        _require("device_batch_size", size, "at least 1 and a divisor of batch_size", ok=fits)
        rate = self.learning_rate
        _require("learning_rate", rate, "a positive number", ok=math.isfinite(rate) and rate > 0)
        _require("lora_dropout", self.lora_dropout, "in [0, 1)", ok=0 <= self.lora_dropout < 1)
        _require("weight_decay", self.weight_decay, "at least 0", ok=self.weight_decay >= 0)
        _require("max_grad_norm", self.max_grad_norm, "at least 0 (0 = no clipping)", ok=self.max_grad_norm >= 0)
        _require("val_fraction", self.val_fraction, "in [0, 0.5]", ok=0 <= self.val_fraction <= 0.5)
        _require("save_minutes", self.save_minutes, "above 0", ok=self.save_minutes > 0)
        _require("tune", self.tune, f"one of {', '.join(TUNINGS)}", ok=self.tune in TUNINGS)
        _require("select", self.select, f"one of {', '.join(SELECTIONS)}", ok=self.select in SELECTIONS)
        known = (None, *PRECISIONS)
        _require("precision", self.precision, f"one of {', '.join(PRECISIONS)}", ok=self.precision in known)

    def as_dict(self) -> dict[str, Any]:
        """The recipe as JSON holds it."""
        return {**asdict(self), "lora_targets": list(self.lora_targets)}


def _require(name: str, value: object, expected: str, *, ok: bool) -> None:
    if not ok:
        raise BadConfig(f"{name} must be {expected}, but got {value!r}")
