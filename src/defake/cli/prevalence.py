"""`defake prevalence`: how many generated images an unlabelled folder holds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from defake.errors import BadDataset, DefakeError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("prevalence")(prevalence)


def prevalence(
    folder: Annotated[list[str], typer.Argument(help="Folders, files or glob patterns, unlabelled.")],
    *,
    run: Annotated[Path, typer.Option(help="The detector's run folder: `defake evaluate --out RUN` wrote it.")],
    detector: Annotated[str, typer.Option(help="The detector of that run.")] = "default",
    calibration: Annotated[Path | None, typer.Option(help="A file that `defake calibrate` wrote.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Estimate the share of generated images in a folder, with a 95 % interval (Rogan-Gladen).

    It holds if the folder's images are like those of the run: same kind of generators, same kind of photographs.
    """
    from dataclasses import asdict

    from defake.checking import find_images
    from defake.detectors import load_detector
    from defake.evaluate.shares import measured_rates, share_of_fakes
    from defake.images import read_image

    from .evaluate import watched

    model = load_detector(detector, calibration=calibration)
    rates = measured_rates(run, model)
    files = list(find_images(folder))
    scores, failed = [], []
    with watched(len(files), detector) as progress:
        for file in files:
            try:
                scores.append(float(model.score([read_image(file).pixels])[0]))
            except DefakeError as error:
                failed.append(f"{file}: {error}")
            progress(1)
    for line in failed:
        print(f"defake: {line}", file=sys.stderr)
    if not scores:
        raise BadDataset(f"no image in {', '.join(folder)} could be scored ({len(failed)} failed)")
    found = share_of_fakes(scores, rates)
    if json_:
        print(json.dumps({**asdict(found), "threshold": rates.threshold, "failed": len(failed)}))
        return
    called = "" if found.called_fake is None else f"{found.called_fake:.1%}"
    print(f"{found.n} images scored, {len(failed)} failed; {called} called fake at threshold {rates.threshold:.4f}")
    print(f"that threshold catches {rates.tpr.share:.1%} of fakes and {rates.fpr.share:.1%} of photographs in {run}")
    if found.value is None:
        print(f"the share of generated images cannot be estimated: {found.why}")
    else:
        bounds = "" if found.low is None else f", 95 % interval {found.low:.1%} to {found.high:.1%}"
        print(f"generated: {found.value:.1%}{bounds}")
        if found.why:
            print(f"but {found.why}")
