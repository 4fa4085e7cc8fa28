"""Tables V-VIII with our runs beside the published rows, and what the paper does not print."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from defake.errors import BadConfig
from defake.metrics.intervals import Estimate, clusters_of, share, wilson
from defake.metrics.signal import sensitivity
from defake.metrics.text import signatures
from defake.metrics.verdicts import verdict_figures
from defake.published import GENERATORS, TABLES, load_table, misprints, open_answer_scores
from defake.questions.criteria import CRITERION_IDS
from defake.records import Label

from .ranking import Rank, halves_mean, mean_by_image, rank
from .runs import asked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .runs import Row, Run

PUBLISHED = {
    "fakeclass": "fakebench_detection",
    "faultfinding": "fakebench_interpretation",
    "inference": "fakebench_reasoning",
    "fakeqa": "fakebench_finegrained",
}
OPEN_COLUMNS = ("bleu1", "bleu2", "rougeL", "sim", "auto_avg", "completeness", "preciseness", "relevance", "judge_avg")
BREAKDOWNS = ("authenticity", "question_type", "generator", "content", "criterion")
# Images behind each published share. Source: FakeBench's query files; human rows rest on numbers that are not public.
_PUBLISHED_N = {"fake": 3000, "real": 3000, "what": 3000, "yes_or_no": 3000, "overall": 6000}


@dataclass(frozen=True, slots=True)
class Line:
    """One model: its cells by column, which of them are misprints, whose figures they are."""

    model: str
    ours: bool
    cells: dict[str, Estimate]
    n: int | None = None
    rank: Rank | None = None
    printed_rank: int | None = None
    misprinted: frozenset[str] = frozenset()
    group: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, lines in order of rank, and what must be read with them."""

    name: str
    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    percent: bool = False
    ranked_by: str = ""
    notes: tuple[str, ...] = field(default=())


def paper_table(task: str, runs: Sequence[Run], *, published: bool = True) -> Table:
    """Table V, VI, VII or VIII: our runs that hold this task among the published rows.

    Raises: BadConfig for an unknown task, or if there is nothing to show.
    """
    if task not in PUBLISHED:
        raise BadConfig(f"unknown task {task!r}; known: {', '.join(PUBLISHED)}")
    name = PUBLISHED[task]
    detection = task == "fakeclass"
    ours = [(_detection_line if detection else _open_line)(run.model, run.of(task)) for run in runs if run.of(task)]
    theirs = [_published_line(name, row) for row in load_table(name)] if published else []
    if not ours and not theirs:
        raise BadConfig(f"none of the runs holds the task {task!r}")
    columns = ("fake", "real", "what", "yes_or_no", *GENERATORS, "overall") if detection else (*OPEN_COLUMNS, "overall")
    lines = _ranked([*theirs, *ours], "overall")
    notes = [str(found) for found in misprints(name)] if published else []
    notes = [f"misprint, kept as printed: {note}" for note in notes]
    notes = [*_notes_on_runs(task, runs), *notes]
    if not detection:
        notes += _open_notes(task, runs)
    return Table(name, TABLES[name].title, columns, tuple(lines), detection, "overall", tuple(notes))


def signal_table(runs: Sequence[Run], *, published: bool = True) -> Table:
    """Detection beyond accuracy: d' and criterion c for all, AUC of P(fake) and coverage for ours.

    A chat model, a tuned captioner and the default detector stand in one table, ranked by d'. For a published row d'
    and c follow from its printed rates (a non-answer about a photograph counts as "fake" there, for the paper does not
    print how many there were).

    Raises: BadConfig if there is nothing to show.
    """
    lines = [_signal_line(run.model, run.of("fakeclass")) for run in runs if run.of("fakeclass")]
    if published:
        lines += [_published_signal(row) for row in load_table("fakebench_detection") if "(" not in row["model"]]
    if not lines:
        raise BadConfig("none of the runs holds the task 'fakeclass'")
    columns = ("overall", "answered_only", "coverage", "fake", "real", "auc", "d_prime", "criterion_c")
    ordered = sorted(lines, key=lambda line: -_sort_value(line, "d_prime"))
    meaning = "c > 0 leans to saying real; d' tells fakes from photographs whatever the leaning"
    notes = (meaning, *_notes_on_runs("fakeclass", runs))
    return Table("signal", "Detection: accuracy, leaning and scores", columns, tuple(ordered), True, "d_prime", notes)


def breakdown_table(task: str, runs: Sequence[Run], by: str) -> Table:
    """One line a model and value of a property: generator, content tag, criterion, question type, authenticity.

    Raises: BadConfig for an unknown property, or if no answer has it.
    """
    if by not in BREAKDOWNS:
        raise BadConfig(f"unknown breakdown {by!r}; known: {', '.join(BREAKDOWNS)}")
    lines = []
    for run in runs:
        parts: dict[str, list[Row]] = {}
        for row in run.of(task):
            for value in _values(row, by):
                parts.setdefault(value, []).append(row)
        for value in _in_order(by, parts):
            line = _part_line(task, run.model, parts[value])
            lines.append(Line(f"{run.model} | {value}", ours=True, cells=line.cells, n=len(parts[value]), group=value))
    if not lines:
        raise BadConfig(f"no answer of the task {task!r} has a {by.replace('_', ' ')}")
    columns = tuple(next(iter(line.cells for line in lines)))
    title = f"{TABLES[PUBLISHED[task]].title.split(':')[0]}, by {by.replace('_', ' ')}"
    return Table(f"{task}_by_{by}", title, columns, tuple(lines), task == "fakeclass")


def _values(row: Row, by: str) -> Iterable[str]:
    if by == "content":
        return row.content
    value = str(row.label) if by == "authenticity" else getattr(row, by)
    if by == "generator" and row.label is Label.REAL:
        value = "(photographs)"
    return () if value is None else (str(value),)


def _in_order(by: str, parts: Iterable[str]) -> list[str]:
    order = list(CRITERION_IDS) if by == "criterion" else []
    return sorted(parts, key=lambda value: (order.index(value) if value in order else len(order), value))


def _accuracy(rows: Sequence[Row]) -> Estimate:
    """Paper mode: a non-answer is wrong; the interval counts the questions about one image together."""
    right = [row.verdict is row.label for row in rows]
    found = share(right, clusters_of([row.image for row in rows])) if rows else Estimate(None)
    return _scaled(found)


def _scaled(found: Estimate) -> Estimate:
    def percent(value: float | None) -> float | None:
        return None if value is None else 100 * value

    return Estimate(percent(found.value), percent(found.low), percent(found.high), found.interval)


def _detection_line(model: str, every: Sequence[Row]) -> Line:
    rows = asked(every)
    fakes = [row for row in rows if row.label is Label.FAKE]
    reals = [row for row in rows if row.label is Label.REAL]
    cells = {"fake": _accuracy(fakes), "real": _accuracy(reals)}
    cells["what"] = _accuracy([row for row in rows if row.question_type == "what"])
    cells["yes_or_no"] = _accuracy([row for row in rows if row.question_type in ("fake_yn", "real_yn")])
    for generator in GENERATORS:
        cells[generator] = _accuracy([row for row in fakes if same_generator(row.generator, generator)])
    cells["overall"] = halves_mean(cells["fake"], cells["real"])
    return Line(model, ours=True, cells=cells, n=len(rows), group="ours")


def same_generator(written: str | None, column: str) -> bool:
    """Whether a data set's spelling names a column of Table V: `dalle3` is `DALL-E3`, `sd` is `SD`."""
    return written is not None and written.lower().replace("-", "") == column.lower().replace("-", "")


def _open_line(model: str, every: Sequence[Row]) -> Line:
    rows = asked(every)
    images = [row.image for row in rows]
    cells = {c: mean_by_image([row.scores.get(c) for row in rows], images) for c in OPEN_COLUMNS}
    means = {name: found.value for name, found in cells.items()}
    overall = open_answer_scores(means)["overall"]
    spread = mean_by_image([row.scores.get("overall") for row in rows], images)
    cells["overall"] = _moved(spread, overall)
    return Line(model, ours=True, cells=cells, n=len(rows), group="ours")


def _moved(interval: Estimate, value: float | None) -> Estimate:
    """The interval laid around the formula's value: the mean of per-answer scores differs where a judge was unread."""
    if value is None or interval.value is None or interval.low is None or interval.high is None:
        return Estimate(value)
    shift = value - interval.value
    return Estimate(value, interval.low + shift, interval.high + shift, interval.interval)


def _part_line(task: str, model: str, every: Sequence[Row]) -> Line:
    rows = asked(every)
    if task == "fakeclass":
        figures = _figures(rows)
        cells = {"accuracy": _accuracy(rows), "answered_only": _percent(figures["accuracy_answered"])}
        return Line(model, ours=True, cells=cells | {"coverage": _percent(figures["answered"])})
    line = _open_line(model, rows)
    images = [row.image for row in rows]
    extra = {c: mean_by_image([r.scores.get(c) for r in rows], images) for c in ("clue_precision", "clue_recall")}
    cells = line.cells | extra | {"fault_rate": mean_by_image([r.scores.get("fault") for r in rows], images)}
    return Line(model, ours=True, cells=cells)


def _percent(value: float | None) -> Estimate:
    return Estimate(None if value is None else 100 * value)


def _figures(rows: Sequence[Row]) -> dict[str, float | None]:
    return verdict_figures(
        [r.label for r in rows], [r.outcome for r in rows], [r.verdict for r in rows], [r.p_fake for r in rows]
    )


def _signal_line(model: str, every: Sequence[Row]) -> Line:
    rows = asked(every)
    figures = _figures(rows)
    line = _detection_line(model, every)
    cells = {name: line.cells[name] for name in ("overall", "fake", "real")}
    cells |= {"answered_only": _percent(figures["accuracy_answered"]), "coverage": _percent(figures["answered"])}
    cells |= {name: Estimate(figures[name]) for name in ("auc", "d_prime", "criterion_c")}
    return Line(model, ours=True, cells=cells, n=len(rows), group="ours")


def _published_signal(row: dict[str, Any]) -> Line:
    counts = (round(row["fake"] * 30), 3000, 3000 - round(row["real"] * 30), 3000)
    found = sensitivity(*counts)
    cells = {name: _printed_share(name, row) for name in ("overall", "fake", "real")}
    cells |= {"d_prime": Estimate(found.d_prime if found else None)}
    cells |= {"criterion_c": Estimate(found.criterion if found else None)}
    return Line(row["model"], ours=False, cells=cells, n=6000, group=row["group"])


def _published_line(name: str, row: dict[str, Any]) -> Line:
    detection = name == PUBLISHED["fakeclass"]
    columns = [c for c in row if c not in ("model", "group", "proprietary", "rank")]
    cells = {c: _printed_share(c, row) if detection else _printed_mean(row[c]) for c in columns}
    marked = {cell for m in misprints(name) if m.model == row["model"] for cell in m.suspects}
    return Line(
        row["model"],
        ours=False,
        cells=cells,
        n=6000 if detection and not row["model"].startswith("Humans") else None,
        printed_rank=row["rank"],
        misprinted=frozenset(marked),
        group=row.get("group") or "lmm",
    )


def _printed_share(column: str, row: dict[str, Any]) -> Estimate:
    """A printed percentage with its Wilson interval at FakeBench's counts; none for human rows."""
    value = row[column]
    if value is None or row["model"].startswith("Humans"):
        return Estimate(value)
    n = _PUBLISHED_N.get(column, 300)
    low, high = wilson(value / 100 * n, n) or (0.0, 1.0)
    return Estimate(value, 100 * low, 100 * high, "wilson")


def _printed_mean(value: float | None) -> Estimate:
    """A printed mean: the paper gives no spread, so all that is known of its error is the rounding."""
    return Estimate(None) if value is None else Estimate(value, value - 0.0005, value + 0.0005, "rounding")


def _ranked(lines: Sequence[Line], column: str) -> list[Line]:
    """Lines with ranks, best first; reference rows (humans, random guess) come first and have none."""
    references = [line for line in lines if line.group == "reference"]
    others = [line for line in lines if line.group != "reference"]
    ranks = rank([line.cells[column] for line in others])
    placed = [replace(line, rank=found) for line, found in zip(others, ranks, strict=True)]
    return references + sorted(placed, key=lambda line: (line.rank is None, -_sort_value(line, column)))


def _sort_value(line: Line, column: str) -> float:
    value = line.cells[column].value
    return float("-inf") if value is None else value


def _open_notes(task: str, runs: Sequence[Run]) -> list[str]:
    notes = [
        "published rows have no spread: their intervals are the rounding, so their ranks look surer than they are",
        "text metrics and judge prompts are reconstructed (docs/judging.md): ours and theirs are near, not the same",
    ]
    used = [run for run in runs if run.of(task)]
    if used:
        notes += [f"{name}: {signature}" for name, signature in signatures().items()]
        notes += sorted({f"sim: {run.signatures['sim']}" for run in used if "sim" in run.signatures})
    notes += [f"{run.model} was judged by {run.judge}" for run in used if run.judge]
    notes += [f"{run.model} was not judged: no judge scores and no overall" for run in used if not run.judge]
    return notes


def _notes_on_runs(task: str, runs: Sequence[Run]) -> list[str]:
    notes = []
    for run in runs:
        rows = run.of(task)
        notes += _note_on_data(run, rows)
        lost = len(rows) - len(asked(rows))
        if lost:
            notes.append(f"{run.model}: {lost} of {len(rows)} questions met an infrastructure error and are not scored")
        notes += [f"{run.model}: {problem}" for problem in run.problems]
    return notes


def _note_on_data(run: Run, rows: Sequence[Row]) -> list[str]:
    """A warning where ours stand beside published rows without having seen the same images."""
    others = [name for name in run.datasets if name != "FakeBench"]
    images = len({row.image for row in rows})
    if others and rows:
        names = ", ".join(others)
        return [
            f"{run.model}: {images} images of {names}, not FakeBench; beside the published rows for orientation only"
        ]
    whole = 6000 if rows and rows[0].task == "fakeclass" else 3000
    if run.datasets and rows and images < whole:
        return [
            f"{run.model}: {images} of FakeBench's {whole:,} images; beside the published rows for orientation only"
        ]
    return []
