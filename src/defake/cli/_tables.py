"""How evaluations look in a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from defake.evaluate import FIGURES, Evaluation, Row
from defake.evaluate.matrix import Matrix
from defake.evaluate.pairs import Pair
from defake.metrics.intervals import Estimate
from defake.metrics.prevalence import PredictiveValues

RANKING = ("auc", "ap", "tpr_at_fpr_1", "tpr_at_fpr_5", "eer")
DECIDING = ("accuracy", "balanced_accuracy", "f1", "tpr", "fpr")
PROBABILITY = ("ece", "brier")
# Narrow headings; the long ones are in FIGURES.
SHORT = {
    "tpr_at_fpr_1": "TPR@1%FPR",
    "tpr_at_fpr_5": "TPR@5%FPR",
    "balanced_accuracy": "balanced",
}
KINDS = {
    "wilson": "Wilson, effective n",
    "bootstrap": "bootstrap by source",
    "bootstrap+wilson": "the wider of both",
    "": "",
}


def percent(value: float | None, digits: int = 1) -> str:
    """A share in percent, or nothing where it is undefined."""
    return "" if value is None else f"{100 * value:.{digits}f}"


def bounds(estimate: Estimate, digits: int = 1, between: str = "-") -> str:
    """An interval in percent."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{percent(estimate.low, digits)}{between}{percent(estimate.high, digits)}"


def cell(estimate: Estimate) -> Text:
    """A figure over its interval."""
    return Text.assemble((percent(estimate.value), "bold"), "\n", (bounds(estimate), "dim"))


def plain(text: str) -> str:
    """Names come from files: control codes must not reach the terminal, nor brackets rich."""
    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def show_evaluation(evaluation: Evaluation) -> RenderableType:
    """Everything about one detector: headline with the null, all together, per generator, prevalence, notes."""
    whole = evaluation.overall
    parts: list[RenderableType] = [
        Text.from_markup(f"[bold]{plain(evaluation.detector or 'scores')}[/bold]  {_counts(whole)}"),
        Text.from_markup(f"threshold {plain(str(evaluation.threshold))}"),
        Text.from_markup(_headline(evaluation)),
        _overall_table(whole),
    ]
    if len(evaluation.rows) > 1:
        for names, heading in (
            (RANKING, "per generator: ranking, %"),
            (DECIDING, "per generator: at the frozen threshold, %"),
            (PROBABILITY, "per generator: as a probability, %"),
        ):
            parts.append(_generator_table(evaluation.rows, names, heading))
    if evaluation.prevalence:
        parts.append(_prevalence_table(evaluation.prevalence))
    parts += [Text.from_markup(f"[yellow]note:[/yellow] {plain(note)}") for note in evaluation.notes]
    return Group(*parts)


def _counts(row: Row) -> str:
    text = f"{row.n_fake} generated ({row.fake_sources} sources), {row.n_real} photographs ({row.real_sources} sources)"
    return text + (f", {row.n_unanswered} without a score" if row.n_unanswered else "")


def _headline(evaluation: Evaluation) -> str:
    auc = evaluation.overall.figures["auc"]
    text = f"AUC [bold]{percent(auc.value) or '(undefined)'}[/bold] {_bracketed(bounds(auc))}"
    null = evaluation.zero_pixel_null
    if null is None:
        return f"{text}   zero-pixel null: not measured"
    if null.get("auc") is None:
        return f"{text}   zero-pixel null: undefined here"
    estimate = Estimate(null["auc"], null.get("low"), null.get("high"))
    return (
        f"{text}   zero-pixel null [bold]{percent(estimate.value)}[/bold] {_bracketed(bounds(estimate))}\n"
        "[dim](what file facts alone reach without looking at a pixel; `defake audit` says which)[/dim]"
    )


def _bracketed(text: str) -> str:
    return f"({text})" if text else ""


def _overall_table(row: Row) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="all together", title_justify="left")
    for heading, justify in (("figure", "left"), ("%", "right"), ("95 % interval", "left"), ("kind", "left")):
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for name, (heading, lower) in FIGURES.items():
        estimate = row.figures[name]
        arrow = " (lower is better)" if lower else ""
        kind = KINDS[estimate.interval]
        table.add_row(heading + arrow, percent(estimate.value, 2), bounds(estimate, 2), kind)
    for name, value in (row.oracle or {}).items():
        shown = ("" if value is None else f"{value:.4f}") if name == "oracle_threshold" else percent(value, 2)
        table.add_row(name.replace("_", " "), shown, "", "chosen on these labels")
    return table


def _generator_table(rows: Sequence[Row], names: Sequence[str], title: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("generator", overflow="fold", max_width=19)
    table.add_column("fakes", justify="right", no_wrap=True)
    for name in names:
        table.add_column(SHORT.get(name, FIGURES[name][0]), justify="right", no_wrap=True)
    for row in rows:
        if row.kind != "generator" and not table.rows:
            continue
        style = "" if row.kind == "generator" else "bold"
        cells = [cell(row.figures[name]) for name in names]
        table.add_row(Text(plain(row.name), style=style), str(row.n_fake), *cells)
    return table


def _prevalence_table(values: Sequence[PredictiveValues]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="what a verdict is worth", title_justify="left")
    table.add_column("where generated images are", justify="left", no_wrap=True)
    for heading in ("called fake and is (PPV), %", "called real and is (NPV), %"):
        table.add_column(heading, justify="right")
    for value in values:
        table.add_row(f"{100 * value.prevalence:g} %", percent(value.ppv), percent(value.npv, 2))
    return table


def show_matrix(matrix: Matrix, seen: str = "*") -> RenderableType:
    """Train against test generator; seen ones are marked and never averaged. Wide sets stand on their side."""
    heading = FIGURES[matrix.metric][0]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"{heading}, %", title_justify="left")
    table.add_column("tested on", overflow="fold", max_width=24)
    for row in matrix.rows:
        trained = ", ".join(row.trained_on) if row.trained_on else "not known"
        table.add_column(f"{plain(row.detector)}\n[dim]trained on {plain(trained)}[/dim]", justify="right")
    for generator in matrix.generators:
        cells: list[Text] = []
        for row in matrix.rows:
            estimate = row.cells.get(generator, Estimate(None))
            mark = seen if row.trained_on and generator in row.trained_on and estimate.value is not None else ""
            cells.append(Text.assemble(mark, cell(estimate)))
        table.add_row(Text(plain(generator)), *cells)
    lines = [f"[dim]{seen} trained on it; not in the mean[/dim]"]
    if matrix.off_diagonal_mean is None:
        lines.append("off-diagonal mean: undefined, no detector was tested on a generator it is known not to have seen")
    else:
        assert matrix.worst is not None
        name, generator, value = matrix.worst
        mean = percent(matrix.off_diagonal_mean)
        lines.append(f"off-diagonal mean [bold]{mean}[/bold] over {matrix.n_off_diagonal} cells")
        lines.append(f"worst cell [bold]{percent(value)}[/bold]: {plain(name)} on {plain(generator)}")
    lines += [f"[yellow]left out:[/yellow] {plain(text)}" for text in matrix.skipped]
    return Group(table, *map(Text.from_markup, lines))


def show_pairs(pairs: Sequence[Pair]) -> RenderableType:
    """Each pair of detectors: differences, p-values after Holm, and the sentence."""
    parts: list[RenderableType] = []
    for pair in pairs:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", padding=(0, 1, 0, 0))
        table.title = f"{plain(pair.first)} minus {plain(pair.second)}, {pair.n_images} images that both scored"
        for heading in ("", "difference", "95 % interval", "p (Holm)", ""):
            table.add_column(heading, justify="left" if not heading else "right")
        for key, name, found in (
            ("auc", "AUC, points", pair.auc), ("balanced_accuracy", "balanced, points", pair.balanced_accuracy),
        ):  # fmt: skip
            interval = bounds(found.estimate, 2, " to ")
            shown = percent(found.estimate.value, 2)
            table.add_row(name, shown, interval, _p(pair.adjusted[key]), plain(pair.says[key]))
        right = f"{pair.right.only_first} : {pair.right.only_second}"
        table.add_row("only one right", right, "", _p(pair.adjusted["mcnemar"]), plain(pair.says["mcnemar"]))
        parts += [table, Text(f"McNemar: {pair.right.kind}; it takes images as independent", style="dim")]
    return Group(*parts)


def _p(value: float | None) -> str:
    return "" if value is None else ("< 0.001" if value < 0.001 else f"{value:.3f}")


def show(*parts: RenderableType) -> None:
    """Print to stdout, at least 80 columns wide where the output is no terminal."""
    console = Console()
    for part in parts:
        console.print(part)
