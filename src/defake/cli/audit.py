"""`defake audit`: whether a data set is about generation, or about file formats."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from defake.audit import Audit, Probe

NAMED = 5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("audit")(audit)


def audit(
    manifest: Annotated[Path, typer.Argument(help="A manifest (CSV, Parquet, FakeClass.json) or a labelled folder.")],
    *,
    root: Annotated[Path | None, typer.Option(help="Folder that the paths start from; default: the file's.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    duplicates: Annotated[bool, typer.Option(help="Search for near-duplicates (decodes every image).")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON object to a file.")] = None,
    seed: Annotated[int, typer.Option(help="Of folds and bootstrap.")] = 0,
) -> None:
    """Tell whether labels can be guessed without looking at pixels, and whether splits share images.

    Each probe predicts the label from one kind of file fact, cross-validated. Above AUC 0.60 (lower end of the 95 %
    interval) the set leaks; above 0.75 it is about file formats.
    """
    import numpy as np

    from defake.audit import audit_manifest
    from defake.datasets.manifest import read_manifest

    found = read_manifest(manifest, root=root)
    if split is not None:
        found = found.where(split=split)
    result = audit_manifest(found, rng=np.random.default_rng(seed), duplicates=duplicates, progress=_progress())
    text = json.dumps(result.as_dict(), indent=2, ensure_ascii=False)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8")
    if as_json:
        typer.echo(text)
    else:
        _show(result)


def _progress() -> Callable[[str, int, int], None] | None:
    if not sys.stderr.isatty():
        return None

    def tell(step: str, done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            print(f"\r{step}: {done} of {total}  ", end="", file=sys.stderr, flush=True)

    return tell


def _show(result: Audit) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    if sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    console.print(f"{result.n_fake} generated, {result.n_real} photographs")
    for what, rows in (
        ("rows left out", [str(problem) for problem in result.problems]),
        ("files missing; their headers could not be probed", list(result.missing)),
        ("files unreadable", list(result.unreadable)),
    ):
        if rows:
            console.print(f"[yellow]{len(rows)} {what}[/]: {escape(_some(rows))}")
    console.print(_table(result))
    if result.sources.one_class_share is not None:
        console.print(
            f"Sources: {result.sources.n_sources}, of them {result.sources.one_class_sources} with one class only"
            f" ({result.sources.one_class_share:.0%} of the images); the source alone tells"
            f" {result.sources.rule_accuracy:.1%} of the labels."
        )
    else:
        console.print("Sources: none named, so intervals and folds treat images as independent.")
    if result.duplicates is not None:
        d = result.duplicates
        console.print(
            f"Near-duplicates: {d.n_pairs} pairs among {d.hashed} images, {d.n_across_splits} across splits,"
            f" {d.n_contradicting} with contradicting labels."
        )
        for pair in [p for p in d.pairs if p.across_splits or p.contradicting][:NAMED]:
            console.print(escape(f"  {pair.first}  ~  {pair.second}"))
    console.print()
    console.print(f"[bold]{escape(result.verdict)}[/]")
    for sentence in result.sentences:
        console.print(escape(f"- {sentence}"))


def _some(rows: list[str]) -> str:
    more = f", and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return ", ".join(rows[:NAMED]) + more


def _table(result: Audit) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("probe (no pixel seen)")
    table.add_column("AUC", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("held out")
    table.add_column("same\nsources", justify="right")
    table.add_column("best\nrule", justify="right")
    for probe in result.probes:
        table.add_row(*_cells(probe))
    return table


def _cells(probe: Probe) -> tuple[str, ...]:
    def number(value: float | None, form: str = ".3f") -> str:
        return "" if value is None else format(value, form)

    interval = "" if probe.low is None else f"{probe.low:.3f} to {probe.high:.3f}"
    held_out = "" if probe.auc is None else ("sources" if probe.by_source else "images")
    same = number(probe.auc_same_sources) if probe.by_source else ""
    return probe.probe, number(probe.auc), interval, held_out, same, number(probe.rule_accuracy, ".2%")
