"""The model card of a shipped detector, from the record beside its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from defake.detectors.default import TOWER_FILE

if TYPE_CHECKING:
    from pathlib import Path

_KNOWN_FAILURES = """- Illustrations, paintings and screenshots were not measured.
- The matched collections are small: their intervals are wide, and new generators may differ.
- Compression removes much of the signal; see the table.
- Photographs that were retouched, upscaled or denoised by learned tools were not measured.
- Images under 128 px and nearly flat ones are always `unsure`."""


_HOW = """Each collection is scored by a probe that saw nothing of it, each crop and each copy of it as an image of its
own, as `defake check` would see it. AUC with 95 % bootstrap intervals, images resampled within collection and class.
The shipped probe learnt from these too. `packages` are whole images, those of each registry left out in turn; all their
generated images are of one publisher, so that column says more about photographs than about generators."""


def write_card(name: str, summary: str, record: dict[str, Any], folder: Path) -> str:
    """Markdown: what the detector is, its figures on held-out collections, its known failures, its licence."""
    lines = [
        f"# `{name}`",
        "",
        summary,
        "",
        f"Weights: `{name}.onnx`, {_megabytes(folder / f'{name}.onnx')}, and `{TOWER_FILE}`, which `default` and",
        f"`fast` share, {_megabytes(folder / TOWER_FILE)}; sha256 of both in this order `{record['sha256']}`.",
        "",
    ]
    lines += ["## Data", "", *_data(record["data"]), "", "## Figures on collections left out", ""]
    lines += [_HOW, ""]
    lines += _table(record["degradations"], record.get("packages", {}))
    lines += _band(record)
    null = "undefined" if record["null_auc"] is None else f"{record['null_auc']:.3f}"
    lines += ["", f"Zero-pixel null: the original's longest side alone has AUC {null} on the matched collections."]
    lines += ["", "## By generator", "", "| generator | images | called `fake`, as stored |", "|---|---|---|"]
    lines += [f"| {g['generator']} | {g['images']} | {g['called_fake']:.0%} |" for g in record["generators"]]
    lines += ["", "## Known failures", "", _KNOWN_FAILURES, "", "## Licence", ""]
    lines += ["Weights: Apache-2.0, initialised from OpenAI CLIP ViT-B/16 (MIT)."]
    return "\n".join(lines) + "\n"


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def _data(data: dict[str, Any]) -> list[str]:
    shares = ", ".join(f"{kind} {share:g}" for kind, share in data["shares"].items())
    return [
        f"{data['crops']:,} labelled crops of {data['collections']} collections, and {data['package_photographs']}",
        f"photographs and {data['package_generated']} generated images in packages of Debian, npm and PyPI",
        "(`docs/outside-images.csv`).",
        f"Shares of the loss by view: {shares}; scale and JPEG quality are drawn alike for both",
        "classes. No image is redistributed. Source: `defake train default`.",
    ]


def _band(record: dict[str, Any]) -> list[str]:
    band = record["calibration"]
    lines = [
        "",
        f"The band: `fake` from {band['fake_above']:.3f}, `real` below {band['real_below']:.3f}, `unsure` between.",
        "It was set on all collections, each left out in turn (those not in the table by one tile a crop): on average",
        "at most 5 % of photographs reach it, the worst collection set aside. That gives:",
        "",
        "| copies | where | photographs called `fake` | generated images called `fake` |",
        "|---|---|---|---|",
    ]
    for where, part in (("matched", record["degradations"]), ("packages", record.get("packages", {}))):
        for degradation, row in part.items():
            shares = (row["photographs_called_fake"], row["generated_called_fake"])
            lines.append(f"| {degradation} | {where} | {shares[0]:.1%} | {shares[1]:.1%} |")
    of = {name: "none" if share is None else f"{share:.0%}" for name, share in record["withdrawn"].items()}
    lines += [
        "",
        "`defake check` looks twice before it says `fake`: a copy of 512 px, JPEG 60 turns into `real`",
        f"{of['photographs']} of the photographs called `fake` and {of['generated']} of the generated images",
        "called `fake`; these become `unsure`, which the table does not count.",
    ]
    return [*lines, *_risk(record)]


def _risk(record: dict[str, Any]) -> list[str]:
    lines = [
        "",
        "Errors when the images nearest the middle of the band get no verdict (risk against coverage, as stored):",
    ]
    lines += ["", "| images with a verdict | called wrongly |", "|---|---|"]
    return [*lines, *(f"| {row['coverage']:.0%} | {row['risk']:.1%} |" for row in record["risk"])]


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
