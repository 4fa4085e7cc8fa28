"""Transparent defake: tell AI-generated images from photographs, and say why.

>>> import defake
>>> verdict = defake.check("holiday.jpg")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import DefakeError
from .records import Label, Verdict

if TYPE_CHECKING:
    from .checking import check, check_many
    from .detectors import Detector, load_detector

__version__ = "0.1.0"
__all__ = ["DefakeError", "Detector", "Label", "Verdict", "__version__", "check", "check_many", "load_detector"]

_LAZY = {
    "check": "defake.checking",
    "check_many": "defake.checking",
    "Detector": "defake.detectors",
    "load_detector": "defake.detectors",
}


def __getattr__(name: str) -> Any:
    # Procedures import numpy and Pillow; `import defake` alone must stay under 0.3 s.
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'defake' has no attribute {name!r}")
