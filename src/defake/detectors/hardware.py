"""Devices, number formats, and what to do when memory runs out."""

from __future__ import annotations

import logging
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import torch

from defake.errors import BackendFailed, BadConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

P = ParamSpec("P")
Item = TypeVar("Item")
Out = TypeVar("Out")
logger = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises: BadConfig if the name is none or the device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadConfig(
            f"device {name!r} cannot be used here: {error}; expected auto, cpu, cuda, cuda:1 or mps"
        ) from error
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of a name; `auto` is bfloat16 on CUDA and float32 elsewhere.

    Raises: BadConfig for another name.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in _DTYPES:
        raise BadConfig(f"unknown dtype {name!r}; known: auto, {', '.join(_DTYPES)}")
    return _DTYPES[name]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch means that memory ran out, on whatever device."""
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def inference(work: Callable[P, Out]) -> Callable[P, Out]:
    """`work` without gradients: `torch.inference_mode` as a decorator that keeps types."""

    @wraps(work)
    def without_gradients(*args: P.args, **kwargs: P.kwargs) -> Out:
        with torch.inference_mode():
            return work(*args, **kwargs)

    return without_gradients


class Batches:
    """Runs a function over batches; when memory runs out, halves the batch, says so and goes on."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise BadConfig(f"batch_size must be at least 1, but got {size}")
        self.size = size

    def run(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Out]) -> list[Out]:
        """What `work` returns for each batch, in order.

        Raises: BackendFailed if a batch of one does not fit.
        """
        done, start = [], 0
        while start < len(items):
            batch = items[start : start + self.size]
            try:
                done.append(work(batch))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(len(batch), str(error))
                continue
            start += len(batch)
        return done

    def _halve(self, size: int, words: str) -> None:
        if size == 1:
            raise BackendFailed(
                "out of memory with a single image; use a smaller model, dtype='bfloat16', quantize='8bit' or "
                f"device='cpu' ({words.splitlines()[0]})"
            )
        self.size = size // 2
        logger.warning("out of memory with %d images at once; going on with %d", size, self.size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
