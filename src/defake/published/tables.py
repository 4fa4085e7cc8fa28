"""The tables as printed: one loader, typed cells, nothing corrected."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources
from typing import Any

from defake.errors import UnknownName

GENERATORS = (
    "proGAN",
    "styleGAN",
    "CogView2",
    "FuseDream",
    "VQDM",
    "Glide",
    "SD",
    "DALL-E2",
    "DALL-E3",
    "Midjourney",
)
"""The ten generator columns of Table V, in its order and spelling."""

_OPEN = "Open answers: overlap metrics in [0, 1], judge scores in [0, 2]."


@dataclass(frozen=True, slots=True)
class TableCard:
    """Where a table stands, what it holds and to how many decimals it is printed."""

    title: str
    source: str
    decimals: int


_FAKEBENCH = "FakeBench, IEEE TIFS 20 (2025), arXiv 2404.13306"
TABLES = {
    "fakebench_detection": TableCard("Table V: detection accuracy, %", _FAKEBENCH, 2),
    "fakebench_interpretation": TableCard(f"Table VI: interpretation (fault-finding mode). {_OPEN}", _FAKEBENCH, 3),
    "fakebench_reasoning": TableCard(f"Table VII: reasoning (inference mode). {_OPEN}", _FAKEBENCH, 3),
    "fakebench_finegrained": TableCard(f"Table VIII: fine-grained forgery analysis. {_OPEN}", _FAKEBENCH, 3),
    "vlm_detect_ldm_trained": TableCard(
        "BLIP-2 + LoRA trained on LDM: accuracy and F1, % (10,000 real + 10,000 generated a set)",
        "VLM-DETECT / Bi-LORA, SaveFineTune/result.csv",
        2,
    ),
}

_WORDS = {"model", "group", "generator"}
_FLAGS = {"proprietary", "seen_in_training"}


def load_table(name: str) -> list[dict[str, Any]]:
    """The rows of a published table exactly as printed, misprints included.

    Words are str, yes/no columns bool, `rank` int, every other cell float; an empty cell is None.

    Raises: UnknownName, which lists the tables there are.
    """
    if name not in TABLES:
        raise UnknownName("published table", name, list(TABLES))
    text = resources.files(__package__).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    return [{key: _cell(key, value) for key, value in row.items()} for row in csv.DictReader(text.splitlines())]


def printed(name: str, column: str, value: Any) -> str:
    """A cell as the paper prints it: fixed decimals, a dash for an empty one."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) or column == "rank":
        return str(value)
    return f"{value:.{TABLES[name].decimals}f}"


def _cell(column: str, value: str) -> Any:
    if value == "":
        return None
    if column in _WORDS:
        return value
    if column in _FLAGS:
        return value == "yes"
    return int(value) if column == "rank" else float(value)
