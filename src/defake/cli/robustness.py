"""`defake robustness`: what is left of a detector after JPEG, resizing, screenshots and the like."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from defake.datasets.manifest import Manifest
    from defake.metrics.intervals import Estimate
    from defake.robustness import Robustness

USUAL = ["jpeg:90,70,50", "webp:70", "resize:0.5", "blur:1", "noise:5", "crop:0.75", "screenshot:1080"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("robustness")(robustness)


def robustness(
    *,
    detector: Annotated[str, typer.Option(help="A name from `defake detectors` or a trained folder.")],
    data: Annotated[Path, typer.Option(help="Labelled images: a manifest or a folder.")],
    perturb: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="Such as jpeg:90,70,50, long512+jpeg:60, blur, standard; may be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for scores and curves; a killed run goes on there.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where the manifest's relative paths start.")] = None,
    split: Annotated[str | None, typer.Option(help="Test this split (default: all but validation and train).")] = None,
    val_split: Annotated[str | None, typer.Option(help="Choose the threshold on this split (default: val).")] = None,
    fpr: Annotated[float, typer.Option(help="The declared false positive rate of the threshold.")] = 0.05,
    threshold: Annotated[float | None, typer.Option(help="A threshold frozen elsewhere, instead.")] = None,
    images: Annotated[int | None, typer.Option(min=2, help="Take so many images of each split, at random.")] = None,
    skip_missing: Annotated[bool, typer.Option("--skip-missing", help="Score the others where files miss.")] = False,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of noise, bootstrap and choice of images.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Score images untouched and perturbed: both classes, photographs only, generated images only.

    defake robustness --detector default --data manifest.csv --perturb jpeg:90,70,50 --perturb screenshot:1080
    """
    from defake.datasets.manifest import describe_problems, read_manifest
    from defake.detectors import load_detector
    from defake.evaluate import Protocol
    from defake.perturb import parse_levels
    from defake.robustness import measure_robustness

    levels = parse_levels(perturb or USUAL)
    protocol = Protocol(
        val_split=val_split, split=split, fpr=fpr, threshold=threshold, n_resamples=resamples, seed=seed
    )
    manifest = read_manifest(data, root=root)
    if manifest.problems:
        print(f"defake: {describe_problems(manifest.problems)}", file=sys.stderr)
    if images is not None:
        manifest = _some(manifest, images, seed)
    name = re.sub(r"[^\w.-]+", "-", Path(detector).name if Path(detector).is_dir() else detector).strip("-.")
    folder = out or Path("runs") / f"{data.stem}-robustness" / (name or "detector")
    result = measure_robustness(
        load_detector(detector), detector, manifest, levels,
        folder=folder, protocol=protocol, skip_missing=skip_missing, progress=_progress(),
    )  # fmt: skip
    if json_:
        print(json.dumps(result.as_dict(), allow_nan=False))
    else:
        _show(result)
    print(f"defake: scores and curves are in {folder}", file=sys.stderr)


def _some(manifest: Manifest, images: int, seed: int) -> Manifest:
    """At most so many images of each split, drawn evenly from both classes."""
    import numpy as np

    rng = np.random.default_rng(seed)
    keep = np.zeros(len(manifest), bool)
    splits = np.array([split or "" for split in manifest.splits], dtype=object)
    for split in sorted(set(splits)):
        for is_fake in (True, False):
            rows = np.flatnonzero((splits == split) & (manifest.is_fake == is_fake))
            keep[rng.choice(rows, min(len(rows), images // 2), replace=False)] = True
    return manifest.where(keep)


def _progress() -> Callable[[str, int], None] | None:
    if not sys.stderr.isatty():
        return None
    done: dict[str, int] = {}

    def tell(spec: str, count: int) -> None:
        done[spec] = done.get(spec, 0) + count
        print(f"\r{spec}: {done[spec]} images   ", end="", file=sys.stderr, flush=True)

    return tell


def _show(result: Robustness) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    clean = result.points[0]
    console.print(f"[bold]{escape(result.detector)}[/]  {clean.n_fake} generated, {clean.n_real} photographs")
    console.print(escape(f"threshold {result.threshold}"))
    console.print(_table(result))
    console.print("[dim]95 % bootstrap intervals by source; FPR: photographs only touched; TPR: generated only.[/]")
    for sentence in result.sentences:
        console.print(escape(f"- {sentence}"))


def _table(result: Robustness) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("perturbation", overflow="fold", max_width=20)
    for heading in ("AUC, %\nboth", "AUC, %\nreals only", "AUC, %\nfakes only", "FPR, %", "TPR, %"):
        table.add_column(heading, justify="right", no_wrap=True)
    clean = result.points[0]
    table.add_row("none", _cell(clean.auc), "", "", _cell(clean.fpr), _cell(clean.tpr))
    for spec in dict.fromkeys(point.spec for point in result.points[1:]):
        both, real, fake = (result.point(spec, side) for side in ("both", "real", "fake"))
        table.add_row(spec, *(_cell(p.auc) for p in (both, real, fake)), _cell(real.fpr), _cell(fake.tpr))
    return table


def _cell(estimate: Estimate) -> str:
    if estimate.value is None:
        return ""
    interval = "" if estimate.low is None or estimate.high is None else f"{estimate.low:.1%}-{estimate.high:.1%}"
    return f"[bold]{100 * estimate.value:.1f}[/]\n[dim]{interval.replace('%', '')}[/]"
