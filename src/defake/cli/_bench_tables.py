"""`defake bench table`, `submit` and `judge`: what is made of finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from defake.bench.runs import Run
    from defake.bench.tables import Table

_EVERYTHING = ("fakeclass", "signal", "faultfinding", "inference", "fakeqa")


def add_commands(bench: typer.Typer) -> None:
    """Add the commands to `defake bench`."""
    bench.command("table")(table)
    bench.command("submit")(submit)
    bench.command("judge")(judge)


def table(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders or Inspect logs; none: the paper alone.")
    ] = None,
    task: Annotated[str, typer.Option(help="fakeclass, faultfinding, inference, fakeqa, signal, or all.")] = "all",
    by: Annotated[str, typer.Option(help="Break ours down: generator, content, criterion...")] = "",
    form: Annotated[str, typer.Option("--format", help="text, markdown, csv or json.")] = "text",
    published: Annotated[bool, typer.Option(help="Show the paper's rows beside ours.")] = True,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
    bars: Annotated[Path | None, typer.Option(help="Draw bars with intervals into this PNG, SVG or PDF.")] = None,
    radar: Annotated[Path | None, typer.Option(help="Draw a radar into this PNG, SVG or PDF.")] = None,
    column: Annotated[str, typer.Option(help="Column the charts show; the ranking one by default.")] = "",
) -> None:
    """Tables V-VIII: your runs beside the paper's rows, with intervals, tie groups and misprints marked."""
    from defake.bench.rendering import to_csv, to_json, to_markdown
    from defake.bench.runs import read_runs
    from defake.errors import BadConfig

    if form not in ("text", "markdown", "csv", "json"):
        raise BadConfig(f"format must be text, markdown, csv or json, but got {form!r}")
    tables = _tables(read_runs(runs or []), task, by, published=published)
    if (bars or radar or form in ("csv", "json")) and len(tables) > 1:
        raise BadConfig(f"{'a chart' if bars or radar else form} shows one table: name it with --task")
    _draw(tables[0], bars, radar, column)
    write = {"markdown": to_markdown, "csv": to_csv, "json": to_json}.get(form)
    if write is None and out is None:
        from rich.console import Console

        for found in tables:
            _show(Console(highlight=False), found)
        return
    text = "\n".join((write or to_markdown)(found) for found in tables)
    if out is None:
        print(text, end="")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {out}", err=True)


def submit(
    run: Annotated[Path, typer.Argument(help="A run folder or Inspect log over FakeBench.")],
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("submission"),
) -> None:
    """Write the JSON files FakeBench's authors ask for, with the answers filled in."""
    from defake.bench.runs import read_runs
    from defake.bench.submission import write_submission
    from defake.errors import BadDataset

    found = read_runs([run])
    if len(found) > 1:
        raise BadDataset(f"{run} holds runs of {', '.join(r.model for r in found)}; name the log of one model")
    written = write_submission(found[0], out)
    for file in written.files:
        print(file)
    for problem in found[0].problems:
        typer.echo(problem, err=True)
    if written.unanswered:
        typer.echo(f"{written.unanswered} questions have no answer; resume the run before you submit", err=True)
    for task, (have, need) in written.incomplete.items():
        typer.echo(f"{task}: {have:,} of the {need:,} questions FakeBench asks", err=True)


def judge(
    run: Annotated[Path, typer.Argument(help="A run folder or Inspect log whose answers have references.")],
    model: Annotated[str, typer.Option("--judge", help="Inspect model, e.g. openai/gpt-4o or defake-hf/FOLDER.")],
    rounds: Annotated[int, typer.Option(help="Judgements of each answer and dimension, averaged.")] = 5,
    baselines: Annotated[int, typer.Option(help="Check the judge itself on so many answers; 0: not.")] = 0,
    seed: Annotated[int, typer.Option(help="Chooses the answers of the baselines.")] = 0,
) -> None:
    """Judge the open answers of a finished run; replies are cached, so a second pass asks only what is missing."""
    import numpy as np

    import defake.bench.registration  # noqa: F401 - the local providers may be the judge
    from defake.bench.judging import judge_logs, run_baselines, warnings_for
    from defake.bench.runs import read_runs

    for warning in warnings_for(model, read_runs([run])):
        typer.echo(f"warning: {warning}", err=True)
    for file in judge_logs(run, model, rounds=rounds):
        print(file)
    if baselines:
        from rich.console import Console

        for found in read_runs([run]):
            figures = run_baselines(found, model, np.random.default_rng(seed), count=baselines)
            _show_baselines(Console(highlight=False), found.model, model, figures)


def _tables(runs: Sequence[Run], task: str, by: str, *, published: bool) -> list[Table]:
    from defake.bench.tables import PUBLISHED, breakdown_table, paper_table, signal_table
    from defake.errors import BadConfig

    if task not in (*_EVERYTHING, "all"):
        raise BadConfig(f"unknown task {task!r}; known: {', '.join(_EVERYTHING)}, all")
    held = [name for name in PUBLISHED if any(run.of(name) for run in runs)] if runs else list(PUBLISHED)
    if by:
        chosen = [task] if task not in ("all", "signal") else held
        if not runs:
            raise BadConfig("--by breaks down your own runs: name one")
        return [breakdown_table(name, runs, by) for name in chosen]
    if task == "signal":
        return [signal_table(runs, published=published)]
    if task != "all":
        return [paper_table(task, runs, published=published)]
    found = [paper_table(name, runs, published=published) for name in held]
    return found + ([signal_table(runs, published=published)] if "fakeclass" in held else [])


def _draw(found: Table, bars: Path | None, radar: Path | None, column: str) -> None:
    from defake.bench.charts import draw_bars, draw_radar, draw_radar_of_parts
    from defake.published import GENERATORS

    if bars:
        typer.echo(f"wrote {draw_bars(found, bars, column)}", err=True)
    if radar:
        if not found.ranked_by:
            done = draw_radar_of_parts(found, radar, column or found.columns[0])
        else:
            parts = GENERATORS if GENERATORS[0] in found.columns else ("completeness", "preciseness", "relevance")
            done = draw_radar(found, radar, parts)
        typer.echo(f"wrote {done}", err=True)


def _show(console: Console, found: Table) -> None:
    from rich.table import Table as Grid

    from defake.bench.rendering import cell, head, narrow_columns

    columns = narrow_columns(found)
    title = found.title.split(". ")[0]
    grid = Grid(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    # The values of one run speak for themselves; those of several carry the model's name.
    alone = not found.ranked_by and len({line.model.rpartition(" | ")[0] for line in found.lines}) == 1
    ranked = any(line.rank is not None for line in found.lines)
    if ranked:
        grid.add_column("rank", justify="right", no_wrap=True)
    grid.add_column("value" if alone else "model", overflow="fold", min_width=12)
    for name in columns:
        grid.add_column(head(name, short=True), justify="right", no_wrap=True)
    if not found.ranked_by:
        grid.add_column("n", justify="right")
    for line in found.lines:
        place = [] if not ranked else ["" if line.rank is None else str(line.rank)]
        last = [] if found.ranked_by else ["" if line.n is None else f"{line.n:,}"]
        style = "bold" if line.ours and found.ranked_by else None
        name = line.model if found.ranked_by else f"{line.group} ({line.model.rpartition(' | ')[0]})"
        grid.add_row(
            *place, line.group if alone else name, *(cell(found, line, name) for name in columns), *last, style=style
        )
    console.print(grid)
    if any(line.misprinted & set(columns) for line in found.lines):
        console.print("* misprint, shown as printed", style="dim")
    for note in found.notes:
        console.print(f"- {note}", style="dim", markup=False)
    hidden = len(found.columns) - len(columns)
    if hidden:
        console.print(f"- {hidden} more columns, intervals and tie groups: --format markdown, csv or json", style="dim")
    console.print()


def _show_baselines(
    console: Console, candidate: str, judge_name: str, figures: dict[str, dict[str, tuple[float | None, int]]]
) -> None:
    from rich.table import Table as Grid

    grid = Grid(title=f"{judge_name} on answers of {candidate}, 0 to 2", title_justify="left", box=None, pad_edge=False)
    names = list(next(iter(figures.values())))
    for name in ("answers", *names, "n"):
        grid.add_column(name.replace("_", " "), justify="left" if name == "answers" else "right")
    for condition, row in figures.items():
        cells = ["-" if mean is None else f"{mean:.2f}" for mean, _ in row.values()]
        grid.add_row(condition.replace("_", " "), *cells, str(row["judge_avg"][1]))
    console.print(grid)
    console.print("a judge is worth reading where 'actual' stands clear of the other three", style="dim")
