"""Local models as Inspect providers: `defake/<detector>` and `defake-hf/<hub name or folder>`.

Importing this package registers both; an installed defake is found by Inspect through its entry point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspect_ai.model import modelapi

if TYPE_CHECKING:
    from inspect_ai.model import ModelAPI


# Inspect's decorator is untyped. The classes are imported when a model is asked for: torch is heavy.
@modelapi(name="defake")  # type: ignore[untyped-decorator]
def detector_provider() -> type[ModelAPI]:
    """`defake/<detector spec>`: any registered detector answers fake-or-real questions, with log-probabilities."""
    from .answering import DetectorAPI

    return DetectorAPI


@modelapi(name="defake-hf")  # type: ignore[untyped-decorator]
def chat_provider() -> type[ModelAPI]:
    """`defake-hf/<hub name or folder>`: an image-text-to-text model, batched, each image encoded once."""
    from .chat import ChatAPI

    return ChatAPI
