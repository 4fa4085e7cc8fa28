"""`defake bench`: FakeBench, and any set like it, on any model. A friendly face over the Inspect tasks."""

from __future__ import annotations

import importlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defake.errors import BadConfig, MissingExtra

if TYPE_CHECKING:
    from rich.table import Table

    from defake.bench.running import Finished, Settings

bench_app = typer.Typer(
    name="bench", help="Measure how well any model tells and explains fakes: FakeBench, four abilities.",
    no_args_is_help=True,
)  # fmt: skip
ABILITIES = ("fakeclass", "faultfinding", "inference", "fakeqa")
SCRIPTED = "defake-scripted/statistics"


def register(app: typer.Typer) -> None:
    """Add the group; a module `_bench_*.py` beside this one adds commands with `add_commands(bench_app)`."""
    bench_app.command("run")(run)
    bench_app.command("demo")(demo)
    for file in sorted(Path(__file__).parent.glob("_bench_*.py")):
        importlib.import_module(f"{__package__}.{file.stem}").add_commands(bench_app)
    app.add_typer(bench_app)


def run(
    model: Annotated[str, typer.Option(help="An Inspect model: openai/gpt-4o, openai-api/…, defake/default, …")],
    data: Annotated[str, typer.Option(help="FakeBench's folder, an annotated set, or any manifest or image folder.")],
    task: Annotated[list[str], typer.Option(help=f"{', '.join(ABILITIES)} or all; may be repeated.")] = ["fakeclass"],  # noqa: B006 - Typer reads it
    out: Annotated[
        Path | None, typer.Option(help="Run folder; the same folder resumes. [bench-runs/MODEL__DATA]")
    ] = None,
    prompts: Annotated[str, typer.Option(help="paper (byte-exact) or fixed (ours, mended).")] = "paper",
    cot: Annotated[bool, typer.Option("--cot", help="Ask for reasons before the verdict (fakeclass).")] = False,
    pairs: Annotated[bool, typer.Option("--pairs", help='Ask both "fake?" and "real?"; gives the flip rate.')] = False,
    reals: Annotated[
        bool, typer.Option("--reals", help="Ask open questions about photographs too (not the paper).")
    ] = False,
    images: Annotated[str, typer.Option(help="Where FakeBench's images lie, if not under --data.")] = "",
    reencode: Annotated[
        bool, typer.Option("--reencode", help="Send every image as PNG: the format leaks the label.")
    ] = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out questions whose image is missing.")
    ] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Accept a part of FakeBench's query files.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N questions of each task.")] = None,
    base_url: Annotated[str, typer.Option(help="Address of an OpenAI-compatible or other server.")] = "",
    model_arg: Annotated[list[str] | None, typer.Option("-M", help="name=value for the model's provider.")] = None,
    logprobs: Annotated[int, typer.Option(min=0, max=20, help="Alternatives to ask for, for P(fake); 0: none.")] = 5,
    temperature: Annotated[float, typer.Option(min=0.0, help="Sampling temperature.")] = 0.0,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer.")] = None,
    judge: Annotated[str, typer.Option(help="Model that grades open answers; none: no grades.")] = "",
    judge_rounds: Annotated[int, typer.Option(min=1, help="How often the judge grades each answer.")] = 5,
    connections: Annotated[int, typer.Option(min=1, help="Questions under way at a time.")] = 16,
    retries: Annotated[int, typer.Option(min=0, help="Repeats of a failed call.")] = 4,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds until a call counts as failed.")] = 120,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many calls, tokens and how much money.")
    ] = False,
    max_cost: Annotated[
        float, typer.Option(min=0.0, help="Stop when the answers have cost this much; 0: no limit.")
    ] = 0.0,
    prices: Annotated[str, typer.Option(help="Price table (TOML or JSON) instead of the shipped one.")] = "",
    progress: Annotated[str, typer.Option(help="Inspect's display: rich, plain, log, none.")] = "plain",
) -> None:
    """Ask a model, and keep every answer: an interrupted run is resumed by the same command.

    Exit code 0: every question was answered; 1: some could not be asked (run it again); 2: wrong usage.
    """
    running = _import_running()
    settings = running.Settings(
        tasks=ABILITIES if "all" in task else tuple(dict.fromkeys(task)),
        model=model,
        data=data,
        prompts=prompts,
        variant="cot" if cot else "plain",
        pairs=pairs,
        reals=reals,
        logprobs=logprobs,
        images=images,
        image_form="png" if reencode else "bytes",
        missing="skip" if skip_missing else "error",
        partial=partial,
        limit=limit,
        temperature=temperature,
        max_tokens=max_tokens,
        judge=judge,
        judge_rounds=judge_rounds,
        base_url=base_url,
        connections=connections,
        max_retries=retries,
        attempt_timeout_s=timeout,
        display=progress,
        max_cost=max_cost,
        prices=prices,
        model_args=_pairs_of(model_arg or []),
    )
    if dry_run:
        _print_estimate(settings)
        return
    folder = out or running.run_folder(model, data)
    done = running.run_bench(settings, folder)
    if not _report(done, folder):
        raise typer.Exit(1)


def demo(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("bench-runs/demo"),
    detector: Annotated[str, typer.Option(help="Detector that answers fake or real.")] = "default",
) -> None:
    """All four abilities, offline, on the shipped set of 40 annotated images.

    A detector answers FakeClass. Open questions go to a scripted stand-in that puts pixel statistics into set
    phrases: it shows that everything works, and what a poor explanation scores.
    """
    running = _import_running()
    data = str(Path(running.__file__).parent / "demo_set")
    told = _console()
    told.print(f"[bold]1.[/] FakeClass: the detector {detector!r} answers.")
    first = running.Settings(("fakeclass",), f"defake/{detector}", data, pairs=True, display="none", connections=8)
    _report(running.run_bench(first, out / "detector"), out / "detector")
    told.print(
        f"\n[bold]2.[/] Explanations: {SCRIPTED} answers. It is a script, not a model: five pixel statistics put "
        "into set phrases, so that you see the whole path. Take its figures for nothing else."
    )
    second = running.Settings(
        ABILITIES[1:], SCRIPTED, data, prompts="fixed", reals=True, display="none", connections=8, logprobs=0
    )
    _report(running.run_bench(second, out / "scripted"), out / "scripted")
    told.print(
        "\nThe same for a model of your own:\n  defake bench run --task all --model openai/gpt-4o --data " + data
    )


def _import_running() -> Any:
    # Inspect greets and updates itself otherwise; nothing here needs the network but the model.
    os.environ.setdefault("INSPECT_DISABLE_UPDATE_CHECK", "1")
    try:
        from defake.bench import running
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("defake"):
            raise
        raise MissingExtra("the benchmark", "bench", str(error.name)) from error
    return running


def _console(*, stderr: bool = True) -> Any:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def _pairs_of(words: list[str]) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise BadConfig(f"-M expects name=value, but got {word!r}")
        try:
            pairs[name] = int(value)
        except ValueError:
            pairs[name] = {"true": True, "false": False}.get(value.lower(), value)
    return pairs


def _print_estimate(settings: Settings) -> None:
    from defake.bench.prices import read_prices
    from defake.bench.running import dry_run

    rows = dry_run(settings)
    table = _table("task", "calls", "tokens in", "tokens out", "cost")
    for name, each in rows:
        money = "no price" if each.money is None else f"{each.money:.2f} {each.currency}"
        table.add_row(name, f"{each.calls:,}", f"{each.input_tokens:,}", f"{each.output_tokens:,}", money)
    total = [each.money for _, each in rows]
    if len(rows) > 1 and None not in total:
        table.add_row("all", f"{sum(each.calls for _, each in rows):,}", "", "", f"{sum(m or 0 for m in total):.2f}")
    _console(stderr=False).print(table)
    told = _console()
    prices = read_prices(settings.prices or None)
    if None in total:
        told.print(
            f"The price table has no {settings.model!r}; add it to a table of your own and name it with --prices."
        )
    told.print(f"An estimate: prices as of {prices.as_of or 'unknown'}; a judge's calls are not counted.")


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True, min_width=0 if number else 12)
    return table


# Figure in Inspect's log -> head of its column.
_VERDICTS = {"n": "n", "answered": "cover", "accuracy_answered": "acc.a", "accuracy_paper": "acc.p",
             "fake_paper": "fake", "real_paper": "real", "d_prime": "d'", "criterion_c": "c", "auc": "AUC",
             "flip_rate": "flips"}  # fmt: skip
_PERCENT = {*_VERDICTS} - {"n", "d_prime", "criterion_c", "auc"}
_OPEN = {"n": "n", "bleu1": "BLEU-1", "bleu2": "BLEU-2", "rougeL": "ROUGE-L", "sim": "sim", "judge_avg": "judge",
         "clue_recall": "clues", "false_fault_rate": "false faults"}  # fmt: skip
_LEGEND = (
    "cover: % answered; acc.a: % right of those; acc.p, fake, real: a non-answer counts as wrong (paper); d', c: "
    'sensitivity and leaning to "real"; flips: % of pairs with two verdicts'
)


def _report(done: Finished, folder: Path) -> bool:
    """Print the figures of a run; whether every question was answered."""
    from inspect_ai.log import read_eval_log

    logs = [read_eval_log(str(path), header_only=True) for path in done.logs]
    figures = {log.eval.task: _figures(log) for log in logs}
    told, shown = _console(), _console(stderr=False)
    for heads, needed in ((_VERDICTS, "answered"), (_OPEN, "bleu1")):
        rows = {
            name: row for name, row in figures.items() if needed in row or (needed == "bleu1" and "answered" not in row)
        }
        used = {name: head for name, head in heads.items() if any(name in row for row in rows.values())}
        if used:
            table = _table("task", *used.values())
            for task, row in rows.items():
                table.add_row(task, *(_shown(row.get(name), name) for name in used))
            shown.print(table)
    if any("answered" in row for row in figures.values()):
        told.print(_LEGEND)
    failed = sum(_say_unanswered(log, figures[log.eval.task], told) for log in logs)
    if done.unasked:
        told.print(f"[yellow]Stopped at --max-cost: {done.unasked:,} questions were not asked.[/]")
    if failed or done.unasked:
        told.print("The same command asks what is left; answers in hand are not asked for again.")
    if done.replayed:
        told.print(f"{done.replayed:,} answers were taken from the journal.")
    told.print(f"Logs: {folder}/logs", soft_wrap=True)
    return not failed and not done.unasked


def _figures(log: Any) -> dict[str, float]:
    """The defined figures of a log; a score's mean goes by the score's name."""
    found: dict[str, float] = {}
    for score in log.results.scores if log.results else []:
        for name, metric in score.metrics.items():
            if metric.value is not None and not math.isnan(metric.value):
                found.setdefault(score.name if name == "mean" else name, metric.value)
    return found


def _say_unanswered(log: Any, figures: dict[str, float], told: Any) -> int:
    """Say which questions of a task have no answer; gives how many failed on the way."""
    odd = {n.removeprefix("n_"): int(v) for n, v in figures.items() if n.startswith("n_") and v and n != "n_ok"}
    total = log.results.total_samples if log.results else log.eval.dataset.samples
    done = log.results.completed_samples if log.results else 0
    failed = int(total - done - _unasked(log))
    if failed:
        odd["infrastructure errors"] = failed
    if odd:
        told.print(f"{log.eval.task}: " + ", ".join(f"{n} {word}" for word, n in odd.items()))
    return failed


def _unasked(log: Any) -> int:
    stopping = log.results.early_stopping if log.results else None
    return len(stopping.early_stops) if stopping else 0


def _shown(value: float | None, name: str) -> str:
    if value is None:
        return "-"
    if name == "n":
        return f"{value:,.0f}"
    # Shares in percent, as the paper prints them; overlap metrics as fractions, likewise.
    return f"{100 * value:.1f}" if name in _PERCENT else f"{value:.2f}" if name in _VERDICTS else f"{value:.3f}"
