"""`defake calibrate`: make a detector's score a probability, and choose where it says unsure."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from defake.errors import BadConfig


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("calibrate")(calibrate)


def calibrate(
    *,
    detector: Annotated[str, typer.Option(help="A name from `defake detectors`, or a trained folder.")] = "default",
    data: Annotated[Path, typer.Option(help="Labelled images that the detector was not trained on.")],
    root: Annotated[Path | None, typer.Option(help="Where the manifest's relative paths start.")] = None,
    split: Annotated[str | None, typer.Option(help="Use this split only (default: all but train).")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write (default: the detector's folder, if it has one).")
    ] = None,
    error: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="At most this share of each class is called the other.")
    ] = 0.05,
    skip_missing: Annotated[bool, typer.Option("--skip-missing", help="Score the others where files miss.")] = False,
) -> None:
    """Fit the calibration and the unsure band of a detector; writes calibration.json and reliability.png.

    A trained folder finds its calibration.json by itself; for others pass --calibration FILE to `defake evaluate`.
    """
    from defake.calibrate import draw_reliability, fit_calibration
    from defake.datasets.manifest import describe_problems, read_manifest
    from defake.detectors import load_detector
    from defake.detectors.calibrations import CALIBRATION, write_calibration
    from defake.evaluate import Protocol, score_manifest
    from defake.evaluate.protocol import split_parts

    from .evaluate import watched

    folder = out or (Path(detector) if (Path(detector) / "detector.json").is_file() else None)
    if folder is None:
        raise BadConfig(f"{detector!r} has no folder of its own: say where to write, --out FOLDER")
    manifest = read_manifest(data, root=root)
    if manifest.problems:
        print(f"defake: {describe_problems(manifest.problems)}", file=sys.stderr)
    # A given threshold: nothing is held out for choosing one.
    is_used, _, notes = split_parts(manifest.splits, Protocol(split=split, threshold=0.5))
    for note in notes:
        print(f"defake: {note.replace('tested', 'used')}", file=sys.stderr)
    used = manifest.where(is_used)
    model = load_detector(detector)
    with watched(len(used), detector) as progress:
        scores = score_manifest(model, used, skip_missing=skip_missing, progress=progress)
    fit = fit_calibration(scores, model.calibration, error=error)
    fitted_on: dict[str, Any] = {"data": str(data), "manifest_sha256": used.sha256(), "declared_error": error}
    write_calibration(folder / CALIBRATION, fit.calibration, model, {**fitted_on, **fit.as_dict()})
    draw_reliability(fit, folder / "reliability.png", f"{detector} on {data.name}")
    _show(fit, folder)


def _show(fit: Any, folder: Path) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    unseen = "sources" if fit.by_source else "images"
    table = Table("", "before", f"after, on {unseen} not fitted to", box=box.SIMPLE_HEAD, pad_edge=False)
    quality = fit.quality()
    names = {
        "calibration_error": "calibration error",
        "brier": "Brier score",
        "balanced_nll": "balanced log-loss, nats (0.693 says nothing)",
    }
    for key, name in names.items():
        table.add_row(name, *(_number(getattr(quality[when], key)) for when in ("before", "after")))
    console = Console()
    console.print(table)
    found = fit.calibration
    if found.fake_above > found.real_below:
        console.print(f"unsure from {found.real_below:.3f} to {found.fake_above:.3f}: {fit.unsure:.1%} of the images")
    else:
        console.print(f"no unsure band is needed: one threshold, {found.fake_above:.3f}, keeps both promises")
    console.print(f"slope {found.slope:.4f}, intercept {found.intercept:.4f}")
    print(f"defake: wrote calibration.json and reliability.png to {folder}", file=sys.stderr)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
