"""The model card of a shipped detector, from the record beside its weights."""

from __future__ import annotations

from typing import Any

_KNOWN_FAILURES = """- Illustrations, paintings and screenshots were not measured.
- The matched collections are small: their intervals are wide, and new generators may differ.
- Compression removes much of the signal; see the table.
- Photographs that were retouched, upscaled or denoised by learned tools were not measured.
- Images under 128 px and nearly flat ones are always `unsure`."""


_DATA = """3,795 of 7,100 labelled crops (at most 304 px of the training, 448 px of the development collections; at
most 170 of a collection and class, 250 of one, and all of the five matched collections) and 599 whole images in
118 packages of Debian, npm and PyPI (504 photographs, 95 generated: `docs/outside-images.csv`). Each is seen three
times: as the detector would see it (0.4 of the weight), at a random scale (0.3), and with a random JPEG history (0.3),
both drawn alike for the classes. No image is redistributed. Source: `defake train default`."""

_HOW = """Each collection is scored by a probe that saw nothing of it: one tile a crop, shrunk as its original
would be. AUC with 95 % bootstrap intervals, images resampled within collection and class. The shipped
probe learnt from these too. `packages` are the whole images, those of each registry left out in turn; all their
generated images are of one publisher, so that column says more about photographs than about generators."""


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
    lines += _table(record["degradations"], record.get("packages", {}))
    lines += _band(record)
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


def _band(record: dict[str, Any]) -> list[str]:
    band = record["calibration"]
    lines = [
        "",
        f"The band: `fake` from {band['fake_above']:.3f}, `real` below {band['real_below']:.3f}, `unsure` between.",
        "It was set on all collections, each left out in turn: on average at most 5 % of photographs reach it,",
        "the worst collection set aside. That gives:",
        "",
        "| copies | where | photographs called `fake` | generated images called `fake` |",
        "|---|---|---|---|",
    ]
    for where, part in (("matched", record["degradations"]), ("packages", record.get("packages", {}))):
        for degradation, row in part.items():
            shares = (row["photographs_called_fake"], row["generated_called_fake"])
            lines.append(f"| {degradation} | {where} | {shares[0]:.1%} | {shares[1]:.1%} |")
    if "withdrawn" in record:
        of = {name: "none" if share is None else f"{share:.0%}" for name, share in record["withdrawn"].items()}
        lines += [
            "",
            "`defake check` looks twice before it says `fake`: a copy of 512 px, JPEG 60 turns into `real`",
            f"{of['photographs']} of the photographs called `fake` and {of['generated']} of the generated images",
            "called `fake`; these become `unsure`, which the table does not count.",
        ]
    return lines + _risk(record)


def _risk(record: dict[str, Any]) -> list[str]:
    if "risk" not in record:
        return []
    lines = [
        "",
        "Errors when the images nearest the middle of the band get no verdict (risk against coverage, as stored):",
    ]
    lines += ["", "| images with a verdict | called wrongly |", "|---|---|"]
    return lines + [f"| {row['coverage']:.0%} | {row['risk']:.1%} |" for row in record["risk"]]


def _table(degradations: dict[str, Any], packages: dict[str, Any]) -> list[str]:
    names = sorted({name for row in degradations.values() for name in row["collections"]})
    extra = ["packages"] if packages else []
    lines = ["| copies | five | " + " | ".join([*names, *extra]) + " |", "|---" * (len(names) + len(extra) + 2) + "|"]
    for degradation, row in degradations.items():
        cells = [_cell(row)] + [_cell(row["collections"][name]) for name in names]
        lines.append(
            f"| {degradation} | " + " | ".join([*cells, *(_cell(packages[degradation]) for _ in extra)]) + " |"
        )
    counts = next(iter(degradations.values()))["collections"]
    sizes = [f"{counts[name]['fake']} + {counts[name]['real']}" for name in names]
    for row in [next(iter(packages.values()))] if packages else []:
        parts = row["collections"].values()
        sizes.append(f"{sum(p['fake'] for p in parts)} + {sum(p['real'] for p in parts)}")
    return [*lines, "| fake + real | | " + " | ".join(sizes) + " |"]


def _cell(row: dict[str, Any]) -> str:
    if row["auc"] is None:
        return "undefined"
    low, high = row["interval"] or (float("nan"), float("nan"))
    return f"{row['auc']:.3f} [{low:.3f}, {high:.3f}]"
