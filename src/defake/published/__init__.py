"""The papers' result tables as data, and the arithmetic that finds their misprints."""

from .identities import (
    Identity,
    Misprint,
    identities,
    misprints,
    open_answer_scores,
    vlm_detect_means,
)
from .tables import GENERATORS, TABLES, load_table, printed

__all__ = [
    "GENERATORS",
    "TABLES",
    "Identity",
    "Misprint",
    "identities",
    "load_table",
    "misprints",
    "open_answer_scores",
    "printed",
    "vlm_detect_means",
]
