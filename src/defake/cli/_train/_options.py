"""Options every training command has, and how it tells what it does."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defake.errors import MissingExtra

if TYPE_CHECKING:
    from defake.training.job import Outcome

Train = Annotated[
    Path,
    typer.Option("--train", metavar="DATA", help="Labelled images: CSV, Parquet, a folder per class, Ricker's layout."),
]
Val = Annotated[
    Path | None, typer.Option(metavar="DATA", help="Images that choose the kept epoch; else a tenth is held out.")
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for weights, card and curve; goes on if cut short.")]
Root = Annotated[Path | None, typer.Option(metavar="DIR", help="What relative paths in DATA start from.")]
Generators = Annotated[
    list[str] | None, typer.Option("--generator", help="Use fakes of this generator only; may be repeated.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad-rows", help="Go on without rows that cannot be used.")]
FakeBench = Annotated[bool, typer.Option("--allow-fakebench", help="You hold the permission FakeBench's licence asks.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Start afresh in a folder that holds another run.")]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the images.")]
Rate = Annotated[float, typer.Option("--learning-rate", help="Of AdamW, constant.")]
Batch = Annotated[int, typer.Option("--batch-size", min=1, help="Images a step, over all devices.")]
DeviceBatch = Annotated[
    int | None,
    typer.Option("--device-batch-size", min=1, help="Images one device takes at once; the rest is accumulated."),
]
Seed = Annotated[int, typer.Option(help="Of weights, order and hold-out.")]
Precision = Annotated[
    str | None, typer.Option(help="float32 or bfloat16.", show_default="bfloat16 on a GPU that has it")
]
Select = Annotated[str, typer.Option(help="What chooses the kept epoch on validation: auc or log_loss.")]
ValFraction = Annotated[float, typer.Option(min=0.0, max=0.5, help="Held out without --val; 0 holds out nothing.")]
SaveMinutes = Annotated[float, typer.Option(help="A checkpoint at least this often, beside that of each epoch.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that decode images (with a CPU model only).")]


def say(text: str) -> None:
    """A line on stderr, from the first process only."""
    if is_first_process():
        print(text, file=sys.stderr, flush=True)


def is_first_process() -> bool:
    """Whether this is the one process, or the first that `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"


def require_libraries(what: str) -> None:
    """Fail with the pip line before anything is read.

    Raises: MissingExtra.
    """
    # Deprecations among the libraries are none of the user's business.
    warnings.filterwarnings("ignore", category=FutureWarning, module="(transformers|peft|accelerate|torch)")
    for module in ("torch", "transformers", "accelerate", "sklearn", "matplotlib", "pyarrow"):
        try:
            __import__(module)
        except ModuleNotFoundError as error:
            raise MissingExtra(what, "train", module) from error


def tell(outcome: Outcome) -> None:
    """The figures of a finished run on stdout."""
    if not is_first_process():
        return
    from rich.console import Console
    from rich.table import Table

    from defake.training.cards import FIGURES
    from defake.training.figures import percent

    console = Console()
    if outcome.metrics:
        table = Table("validation figure", "% [95 % interval]", box=None, pad_edge=False)
        for name, text in FIGURES.items():
            if name in outcome.metrics:
                table.add_row(text, percent(outcome.metrics[name]).replace("[", "\\["))
        console.print(table)
    for note in outcome.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    console.print(f"\nuse it:  defake check IMAGE --detector {outcome.folder}", highlight=False, markup=False)
