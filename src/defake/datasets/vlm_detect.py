"""VLM-DETECT's CSV (Keita et al.): `image,text,label`, where label 1 is fake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .columns import RowProblem, import_pyarrow

if TYPE_CHECKING:
    from collections.abc import Mapping


def turn_labels(columns: Mapping[str, Any]) -> tuple[dict[str, Any], list[RowProblem]]:
    """The columns as `path` and `is_fake`; `text` must not contradict the label (`real` or `fake`).

    Source: VLM-DETECT `dataset.py`, which reads image, text and label by these names.
    """
    pa = import_pyarrow()
    digits = pa.compute.utf8_trim_whitespace(columns["label"].cast(pa.string()).fill_null("")).to_pylist()
    blank = [""] * len(digits)
    texts = columns["text"].cast(pa.string()).fill_null("").to_pylist() if "text" in columns else blank
    rows = columns["row"].to_pylist()
    is_fake: list[bool | None] = []
    problems = []
    for row, digit, text in zip(rows, digits, texts, strict=True):
        fake = {"1": True, "1.0": True, "0": False, "0.0": False}.get(digit)
        caption = {"fake": True, "real": False}.get(text.strip().lower(), fake)
        if fake is None:
            problems.append(RowProblem(row, f"label {digit!r} is not 0 (real) or 1 (fake)"))
        elif caption != fake:
            problems.append(RowProblem(row, f"label {digit!r} (1 = fake) contradicts text {text!r}"))
        is_fake.append(fake if caption == fake else None)
    turned = {name: column for name, column in columns.items() if name not in ("image", "label")}
    return turned | {"path": columns["image"], "is_fake": pa.array(is_fake, pa.bool_())}, problems
