"""`defake report`: one HTML file that holds everything and asks for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of `defake evaluate` and `defake robustness`, or score files."),
    ],
    *,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    thumbnails: Annotated[bool, typer.Option(help="Show the worst errors as small pictures, in the file.")] = True,
    mistakes: Annotated[int, typer.Option(min=0, help="Worst errors of each kind.")] = 12,
    title: Annotated[str, typer.Option(help="Heading; default: the names of the runs.")] = "",
) -> None:
    """Write a self-contained report: conclusion, tables with intervals, curves, errors, published rows, set-up.

    defake report runs/manifest/default runs/manifest-robustness/default --out report.html
    """
    from defake.report import write_report

    path = write_report(runs, out, thumbnails=thumbnails, mistakes=mistakes, title=title)
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
