"""What tables and submissions are made of: the answers of a benchmark run, read from its Inspect logs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defake.errors import BadDataset
from defake.questions.answers import Outcome
from defake.records import Label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TASKS = ("fakeclass", "faultfinding", "inference", "fakeqa")
_VERDICT_SCORERS = ("verdict", "outcome")


@dataclass(frozen=True, slots=True)
class Row:
    """One question and what became of it; `scores` holds the open answer's columns, None where undefined."""

    id: str
    task: str
    label: Label
    outcome: Outcome
    answer: str = ""
    verdict: Label | None = None
    p_fake: float | None = None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    question: str = ""
    question_type: str | None = None
    generator: str | None = None
    content: tuple[str, ...] = ()
    criterion: str | None = None
    image: str = ""
    slot: str | None = None
    mode: str | None = None
    variant: str | None = None
    reference: str = ""
    caption: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """All answers of one model on `datasets`; `problems` names logs and samples that could not be used."""

    model: str
    rows: tuple[Row, ...]
    judge: str | None = None
    signatures: Mapping[str, str] = field(default_factory=dict)
    logs: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()

    def of(self, task: str) -> list[Row]:
        """The rows of one task."""
        return [row for row in self.rows if row.task == task]


def read_runs(paths: Iterable[str | Path]) -> list[Run]:
    """One run a path and model: a log file, a folder of logs, or a run folder with `logs/` in it.

    Logs of one path and model are laid together; where a question stands in several (a resumed run) the last answer
    counts, an infrastructure error never against an answer. A log that cannot be read is named in `problems`.

    Raises: BadDataset if a path holds no readable log.
    """
    found: list[Run] = []
    for path in paths:
        found += _read_path(Path(path))
    counts: dict[str, int] = {}
    for run in found:
        counts[run.model] = counts.get(run.model, 0) + 1
    return [_named(run) if counts[run.model] > 1 else run for run in found]


def asked(rows: Iterable[Row]) -> list[Row]:
    """The questions that a model answered at all: infrastructure errors are never scored."""
    return [row for row in rows if row.outcome is not Outcome.INFRASTRUCTURE]


def _named(run: Run) -> Run:
    """A run told apart from another of the same model by where it lies."""
    place = Path(run.logs[-1]).parent
    name = place.parent.name if place.name == "logs" else place.name
    return replace(run, model=f"{run.model} ({name})")


def log_files(path: Path) -> list[Path]:
    """The Inspect logs at a path: the file itself, or those of a folder or its `logs/`, sorted."""
    if path.is_file():
        return [path]
    # A run folder keeps its logs in one place; its other JSON files are none.
    folder = path / "logs" if (path / "logs").is_dir() or (path / "bench.json").is_file() else path
    files = [f for f in folder.glob("*") if f.suffix == ".eval" or (f.suffix == ".json" and f.name != "logs.json")]
    return sorted(files)


def _read_path(path: Path) -> list[Run]:
    files = log_files(path)
    if not files:
        raise BadDataset(
            f"no benchmark log in {path}; expected an Inspect log (.eval) or a folder `defake bench run` wrote"
        )
    problems: list[str] = []
    logs: dict[str, list[tuple[Path, Any]]] = {}
    for file in files:
        try:
            log = _read_log(file)
        except BadDataset as error:
            problems.append(str(error))
            continue
        logs.setdefault(str(log.eval.model), []).append((file, log))
    if not logs:
        raise BadDataset("; ".join(problems))
    return [_run(model, some, problems) for model, some in logs.items()]


def _read_log(file: Path) -> Any:
    from inspect_ai.log import read_eval_log

    try:
        return read_eval_log(str(file), exclude_fields={"events", "store", "attachments"})
    except Exception as error:  # whatever its zip, JSON and schema readers raise
        why = f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else 'no detail'}"
        raise BadDataset(
            f"{file} cannot be read as an Inspect log ({why}); resume a run that was cut off with `defake bench run`"
        ) from error


def _run(model: str, logs: Sequence[tuple[Path, Any]], problems: Sequence[str]) -> Run:
    rows: dict[tuple[str, str, int], Row] = {}
    told = list(problems)
    judge: str | None = None
    signatures: dict[str, str] = {}
    for file, log in sorted(logs, key=lambda pair: str(pair[1].eval.created)):
        if log.status != "success":
            told.append(f"{file.name}: the run ended as {log.status!r}; its answers so far are counted")
        for sample in log.samples or []:
            try:
                row = _row(sample)
            except (KeyError, ValueError, TypeError) as error:
                told.append(f"{file.name}: sample {sample.id!r} is no benchmark question ({error})")
                continue
            key = (row.task, row.id, int(sample.epoch))
            if row.outcome is not Outcome.INFRASTRUCTURE or key not in rows:
                rows[key] = row
            notes = _notes(sample)
            judge = (notes.get("judge") or {}).get("model") or judge
            if notes.get("similarity"):
                signatures["sim"] = notes["similarity"]
    files = tuple(str(file) for file, _ in logs)
    datasets = tuple(sorted({str(log.eval.dataset.name) for _, log in logs}))
    return Run(model, tuple(rows.values()), judge, signatures, files, tuple(told), datasets)


def _notes(sample: Any) -> dict[str, Any]:
    score = (sample.scores or {}).get("open_answer")
    return (score.metadata or {}) if score else {}


def _row(sample: Any) -> Row:
    facts = sample.metadata or {}
    scores = sample.scores or {}
    verdict = next((scores[name] for name in _VERDICT_SCORERS if name in scores), None)
    value = (verdict.metadata or {}) if verdict is not None else {}
    task = str(facts["task"])
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}")
    target = sample.target if isinstance(sample.target, str) else "\n".join(sample.target)
    return Row(
        id=str(sample.id),
        task=task,
        label=Label(facts["authenticity"]),
        outcome=_outcome(sample, value),
        answer=sample.output.completion if sample.output and sample.output.choices else "",
        verdict=Label(verdict.answer) if verdict is not None and verdict.answer in tuple(Label) else None,
        p_fake=_number(value.get("p_fake")),
        scores={
            name: _number(v) for name, v in (scores["open_answer"].value if "open_answer" in scores else {}).items()
        },
        question=str(facts.get("question") or ""),
        question_type=facts.get("question_type"),
        generator=facts.get("generator"),
        content=tuple(facts.get("content") or ()),
        criterion=facts.get("criterion"),
        image=str(facts.get("image_key") or facts.get("file") or sample.id),
        slot=facts.get("slot"),
        mode=facts.get("mode"),
        variant=facts.get("variant"),
        reference=target,
        caption=facts.get("caption"),
    )


def _open_scores(scores: Mapping[str, Any]) -> dict[str, float | None]:
    value = scores["open_answer"].value if "open_answer" in scores else {}
    return {name: _number(found) for name, found in value.items()} if isinstance(value, dict) else {}


def _outcome(sample: Any, value: Mapping[str, Any]) -> Outcome:
    """A sample with an error, or without any score, was never answered."""
    if sample.error is not None or "outcome" not in value:
        return Outcome.INFRASTRUCTURE
    return Outcome(str(value["outcome"]))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
