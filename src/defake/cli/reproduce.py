"""`defake reproduce`: a published experiment as one command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defake.errors import BadConfig

from ._train import _options as opt

if TYPE_CHECKING:
    from defake.metrics.intervals import Estimate
    from defake.reproduce.vlm_detect import Contender, Table

SCALES = ("full", "tiny")


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(name="reproduce", help="Run a published experiment.", no_args_is_help=True)
    group.callback()(lambda: None)  # one command only would otherwise lose its name
    group.command("vlm-detect")(vlm_detect)
    app.add_typer(group)


def vlm_detect(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for models and tables; goes on if cut short.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Images with splits and generators; not with --scale tiny.")
    ] = None,
    train_on: Annotated[str | None, typer.Option(help="Generator trained on.", show_default="LDM")] = None,
    models: Annotated[str, typer.Option(help="Names, separated by commas.", show_default="all")] = "",
    scale: Annotated[str, typer.Option(help="full, or tiny: own generators, small models, offline.")] = "full",
    budget: Annotated[
        float, typer.Option(min=0.02, max=1.0, help="With --scale tiny: the share of images and training.")
    ] = 1.0,
    epochs: Annotated[int | None, typer.Option(min=1, help="Other than each model's own.")] = None,
    device_batch_size: opt.DeviceBatch = None,
    root: opt.Root = None,
    seed: opt.Seed = 42,
    skip_bad_rows: opt.SkipBad = False,
) -> None:
    """Train every model on one generator, test on all, beside the published figures.

    VLM-DETECT's experiment. The mean over unseen generators is kept apart from the one that holds the seen one.
    """
    opt.require_libraries("reproducing VLM-DETECT")
    from defake.reproduce.vlm_detect import CONTENDERS, choose, reproduce
    from defake.training.examples import Choice

    if scale not in SCALES:
        raise BadConfig(f"--scale must be one of {', '.join(SCALES)}, but got {scale!r}")
    known = CONTENDERS
    if scale == "tiny":
        if data is not None:
            raise BadConfig("--scale tiny makes its own images: leave --data out")
        data, known = _make_tiny(out, seed, budget)
    if data is None:
        raise BadConfig("--data is missing: a manifest or folder with splits and generators (or use --scale tiny)")
    train_on = train_on or ("transposed" if scale == "tiny" else "LDM")
    chosen = choose([name.strip() for name in models.split(",") if name.strip()], known)
    chosen = [_with(contender, epochs, device_batch_size, seed) for contender in chosen]
    choice = Choice(skip_bad_rows=skip_bad_rows)
    tables = reproduce(data, train_on, chosen, out, root=root, seed=seed, choice=choice, say=opt.say)
    if opt.is_first_process():
        _print(tables, train_on, is_tiny=scale == "tiny")


def _make_tiny(out: Path, seed: int, budget: float) -> tuple[Path, dict[str, Contender]]:
    from defake.reproduce import tiny
    from defake.training.run import write_json

    record = out / "tiny.json"
    settings = {"seed": seed, "budget": budget}
    if record.is_file():
        import json

        if json.loads(record.read_text(encoding="utf-8")) != settings:
            raise BadConfig(f"{out} holds a tiny run with another seed or budget; name another folder")
    elif out.is_dir() and any(out.iterdir()):
        raise BadConfig(f"{out} is not empty and holds no tiny run; name another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_json(record, settings)
    opt.say(tiny.NOTICE)
    manifest = tiny.make_images(out / "images", seed=seed, budget=budget, say=opt.say)
    return manifest, tiny.tiny_contenders(out / "untrained", seed=seed, budget=budget)


def _with(contender: Contender, epochs: int | None, device_batch_size: int | None, seed: int) -> Contender:
    from dataclasses import replace

    recipe = replace(contender.recipe, seed=seed, device_batch_size=device_batch_size)
    return replace(contender, recipe=recipe if epochs is None else replace(recipe, epochs=epochs))


def _print(tables: Sequence[Table], train_on: str, *, is_tiny: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid

    from defake.reproduce.tiny import NOTICE
    from defake.reproduce.vlm_detect import published_rows
    from defake.training.figures import percent

    console = Console(highlight=False)
    if is_tiny:
        console.print(f"\n{NOTICE}", markup=False)
    for table in tables:
        published = published_rows(table.model, train_on)
        console.print(f"\n{table.model}, trained on {train_on}; in %, 95 % intervals", markup=False)
        grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
        grid.add_column("test set")
        for head in ("accuracy", "F1", "recall", "AUC", *(("paper acc", "paper F1") if published else ())):
            grid.add_column(head, justify="right")
        for row in table.rows:
            name = f"{row.generator} (seen)" if row.is_seen else row.generator
            cells = [percent(row.figures["accuracy"]), *(_bare(row.figures[name]) for name in ("f1", "recall", "auc"))]
            if published:
                cells += [f"{value:.2f}" for value in published.get(row.generator, ())] or ["-", "-"]
            grid.add_row(name, *(cell.replace("[", "\\[") for cell in cells))
        console.print(grid)
        fpr = table.rows[0].figures["fpr"] if table.rows else None
        if fpr is not None:
            console.print(f"photographs called fake (the same in every row): {percent(fpr)}", markup=False)
    _print_means(console, tables, train_on)


def _print_means(console: object, tables: Sequence[Table], train_on: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid

    from defake.published import vlm_detect_means
    from defake.training.figures import percent

    assert isinstance(console, Console)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("mean accuracy, %", "unseen generators", f"with {train_on} (seen)"):
        grid.add_column(head, justify="right" if "mean" not in head else "left")
    for table in tables:
        cells = [percent(table.mean_unseen), percent(table.mean_all)]
        grid.add_row(table.model, *(cell.replace("[", "\\[") for cell in cells))
    means = vlm_detect_means()
    grid.add_row("paper, BLIP-2 on LDM", f"{means['unseen']:.2f}", f"{means['all']:.2f}")
    console.print()
    console.print(grid)
    console.print(
        f"The paper's {means['all']:.2f} 'on unseen generators' counts the training generator in; without it the same "
        f"table gives {means['unseen']:.2f}.",
        markup=False,
    )


def _bare(estimate: Estimate) -> str:
    return "-" if estimate.value is None else f"{100 * estimate.value:.1f}"
