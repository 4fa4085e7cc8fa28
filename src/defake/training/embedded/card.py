"""The model card of a shipped detector, from the record beside its weights."""

from __future__ import annotations

from typing import Any

_KNOWN_FAILURES = """- Illustrations, paintings and screenshots were not measured.
- The matched collections are small: their intervals are wide, and new generators may differ.
- Strong compression (longest side 384 px, JPEG 40) removes much of the signal; see the table.
- Photographs that were retouched, upscaled or denoised by learned tools were not measured.
- Images under 128 px and nearly flat ones are always `unsure`."""


_DATA = """3,795 of 7,100 labelled crops (at most 304 px of the training, 448 px of the development collections): at
most 170 of a collection and class (250 of one), and all of the five matched collections; of each a view at a
random scale drawn alike for both classes (0.8 of the weight), of 1,800 also one with a random JPEG history
(0.2). The crops are not redistributed. Source: `defake train default`."""

_HOW = """Each collection is scored by a probe that saw nothing of it: one tile a crop, shrunk as its original
would be. AUC with 95 % bootstrap intervals, images resampled within collection and class. The shipped
probe learnt from these too."""


def write_card(name: str, summary: str, record: dict[str, Any], megabytes: float) -> str:
    """Markdown: what the detector is, its figures on held-out collections, its known failures, its licence."""
    lines = [
        f"# `{name}`",
        "",
        summary,
        "",
        f"Weights: `{name}.onnx`, {megabytes:.1f} MB, sha256 `{record['sha256']}`.",
        "",
    ]
    lines += ["## Data", "", _DATA, "", "## Figures on collections left out", ""]
    lines += [_HOW, ""]
    lines += _table(record["degradations"])
    band = record["calibration"]
    lines += [
        "",
        f"The band: `fake` from {band['fake_above']:.3f}, `real` below {band['real_below']:.3f}, `unsure` between.",
        "It was set on all 27 collections, each left out in turn: on average at most 5 % of photographs reach it,",
        "the worst collection set aside. On the matched collections that gives:",
        "",
        "| copies | photographs called `fake` | generated images called `fake` |",
        "|---|---|---|",
    ]
    for degradation, row in record["degradations"].items():
        shares = (row["photographs_called_fake"], row["generated_called_fake"])
        lines.append(f"| {degradation} | {shares[0]:.1%} | {shares[1]:.1%} |")
    if "null_auc" in record:
        lines += [
            "",
            f"Zero-pixel null: the original's longest side alone reaches AUC {record['null_auc']:.3f} on these images.",
        ]
    lines += ["", "## By generator", "", "| generator | images | called `fake`, as stored |", "|---|---|---|"]
    lines += [f"| {g['generator']} | {g['images']} | {g['called_fake']:.0%} |" for g in record.get("generators", [])]
    lines += ["", "## Known failures", "", _KNOWN_FAILURES, "", "## Licence", ""]
    lines += ["Weights: Apache-2.0, initialised from OpenAI CLIP ViT-B/16 (MIT)."]
    return "\n".join(lines) + "\n"


def _table(degradations: dict[str, Any]) -> list[str]:
    names = sorted({name for row in degradations.values() for name in row["collections"]})
    lines = ["| copies | all | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for degradation, row in degradations.items():
        cells = [_cell(row)] + [_cell(row["collections"][name]) for name in names]
        lines.append(f"| {degradation} | " + " | ".join(cells) + " |")
    counts = next(iter(degradations.values()))["collections"]
    sizes = [f"{counts[name]['fake']} + {counts[name]['real']}" for name in names]
    return [*lines, "| fake + real | | " + " | ".join(sizes) + " |"]


def _cell(row: dict[str, Any]) -> str:
    if row["auc"] is None:
        return "undefined"
    low, high = row["interval"] or (float("nan"), float("nan"))
    return f"{row['auc']:.3f} [{low:.3f}, {high:.3f}]"
