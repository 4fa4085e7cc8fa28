"""Run the tasks of a benchmark into a folder that can be resumed: journal, Inspect logs, what was asked for."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from defake import __version__
from defake.datasets.benchmarks import read_items
from defake.datasets.items import Asked
from defake.errors import BackendFailed, BadConfig
from defake.questions import Ability, Prompts

from .prices import read_prices
from .tasks import fakeclass, fakeclue, fakeqa, release_journals

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.log import EvalLog
    from inspect_ai.model import Model

    from .prices import Estimate

JOURNAL, SETTINGS, LOGS = "journal.jsonl", "bench.json", "logs"
_ABOUT_WAITING = ("base_url", "connections", "max_retries", "attempt_timeout_s", "display", "max_cost", "prices")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run asks, of whom, and how; the fields that only concern waiting and money may change on resuming."""

    tasks: tuple[str, ...]
    model: str
    data: str
    prompts: str = "paper"
    variant: str = "plain"
    pairs: bool = False
    reals: bool = False
    logprobs: int = 5
    images: str = ""
    image_form: str = "bytes"
    missing: str = "error"
    partial: bool = False
    limit: int | None = None
    temperature: float | None = 0.0
    seed: int | None = None
    max_tokens: int | None = None
    judge: str = ""
    judge_rounds: int = 5
    base_url: str = ""
    connections: int = 16
    max_retries: int = 4
    attempt_timeout_s: int = 120
    display: str = "plain"
    max_cost: float = 0.0
    prices: str = ""
    model_args: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = [name for name in self.tasks if name not in tuple(Ability)]
        if unknown or not self.tasks:
            raise BadConfig(f"unknown task {', '.join(unknown) or '(none)'}; known: {', '.join(Ability)}, all")
        if self.connections < 1 or self.max_retries < 0 or self.attempt_timeout_s < 1:
            raise BadConfig("connections and attempt timeout must be at least 1, retries at least 0")


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a run: its Inspect logs, and how many answers were taken from the journal."""

    logs: tuple[Path, ...]
    replayed: int
    unasked: int


def run_folder(model: str, data: str) -> Path:
    """Where a run goes unless said otherwise: the same model and data find their folder again."""
    return Path("bench-runs") / re.sub(r"[^A-Za-z0-9.-]+", "_", f"{model}__{Path(data).resolve().name}")


def make_task(ability: str, settings: Settings, journal: Path | None = None) -> Task:
    """The Inspect task of an ability with these settings.

    Raises: BadDataset and BadConfig as the tasks do.
    """
    shared: dict[str, Any] = {
        "data": settings.data,
        "prompts": settings.prompts,
        "images": settings.images,
        "image_form": settings.image_form,
        "missing": settings.missing,
        "partial": settings.partial,
        "journal": str(journal) if journal else "",
        "max_cost": settings.max_cost,
        "prices": settings.prices,
        "model_name": settings.model,
    }
    if ability == Ability.FAKECLASS:
        return fakeclass(variant=settings.variant, pairs=settings.pairs, logprobs=settings.logprobs, **shared)
    if ability == Ability.FAKEQA:
        return fakeqa(reals=settings.reals, judge_rounds=settings.judge_rounds, **shared)
    return fakeclue(
        mode=ability, reals=settings.reals, logprobs=settings.logprobs, judge_rounds=settings.judge_rounds, **shared
    )


def run_bench(settings: Settings, folder: str | Path, *, model: Model | None = None) -> Finished:
    """Ask everything, or what is left of it: answers in the folder's journal are not asked for again.

    `model` is an Inspect model, made from `settings.model` by default.

    Raises: BadConfig if the folder holds a run with other settings, or is in use; BackendFailed if Inspect gives up.
    """
    from . import registration  # noqa: F401 - makes our model providers known where defake is not installed

    folder = Path(folder)
    _claim(settings, folder)
    journal = folder / JOURNAL
    try:
        logs = [
            finished_log(folder / LOGS, ability, settings.limit)
            or _evaluate(make_task(ability, settings, journal), settings, folder, model)
            for ability in settings.tasks
        ]
    finally:
        replayed = release_journals()
    for log in logs:
        if log.status == "error":
            raise BackendFailed(
                f"the run stopped: {log.error.message if log.error else 'see the log'}; resume it later"
            )
    unasked = sum(
        len(log.results.early_stopping.early_stops) for log in logs if log.results and log.results.early_stopping
    )
    return Finished(tuple(_path_of(log) for log in logs), replayed, unasked)


def dry_run(settings: Settings) -> list[tuple[str, Estimate]]:
    """What each task would ask for, without asking: calls, tokens, money.

    Raises: BadDataset and BadConfig as the run would.
    """
    table = read_prices(settings.prices or None)
    asked = Asked(Prompts(settings.prompts), settings.variant == "cot", settings.pairs, settings.reals)
    rows = []
    for ability in settings.tasks:
        found = read_items(
            settings.data,
            Ability(ability),
            asked,
            images=settings.images or None,
            missing=settings.missing,
            partial=settings.partial,
        )
        items = found.items[: settings.limit]
        rows.append((ability, table.estimate(items, settings.model, max_tokens=settings.max_tokens)))
    return rows


def finished_log(folder: Path, ability: str, limit: int | None) -> EvalLog | None:
    """The header of an ability's log in which every question was answered, newest first; None if there is none."""
    from inspect_ai.log import list_eval_logs, read_eval_log

    for place in list_eval_logs(str(folder)) if folder.is_dir() else []:
        log = read_eval_log(place, header_only=True)
        done = log.results is not None and log.results.completed_samples == log.results.total_samples
        if log.eval.task == ability and log.status == "success" and done and log.eval.config.limit == limit:
            return log
    return None


def _evaluate(task: Task, settings: Settings, folder: Path, model: Model | None) -> EvalLog:
    from inspect_ai import eval as inspect_eval

    [log] = inspect_eval(
        task,
        model=model or settings.model,
        model_base_url=settings.base_url or None,
        model_args=settings.model_args,
        model_roles={"judge": settings.judge} if settings.judge else None,
        limit=settings.limit,
        log_dir=str(folder / LOGS),
        log_images=False,
        log_level="warning",
        log_realtime=False,
        log_model_api=False,
        score_display=False,
        display=settings.display,
        max_connections=settings.connections,
        # Twice as many samples as connections: one that waits to be repeated must not leave a connection idle.
        max_samples=2 * settings.connections,
        max_retries=settings.max_retries,
        attempt_timeout=settings.attempt_timeout_s,
        fail_on_error=False,
        **_generation(settings),
    )
    return log


def _path_of(log: EvalLog) -> Path:
    # Inspect names what it lists by URL and what it wrote by path.
    return Path(url2pathname(urlsplit(log.location).path) if "://" in log.location else log.location)


def _generation(settings: Settings) -> dict[str, Any]:
    wanted = {"temperature": settings.temperature, "seed": settings.seed, "max_tokens": settings.max_tokens}
    return {name: value for name, value in wanted.items() if value is not None}


def _claim(settings: Settings, folder: Path) -> None:
    """Write the settings down, or check that the folder's run asks the same."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / SETTINGS
    now = json.loads(json.dumps({"defake": __version__, **asdict(settings)}))
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        loose = {*_ABOUT_WAITING, "defake", "tasks", "limit"}
        changed = sorted(key for key in now if key not in loose and now[key] != before.get(key))
        if changed:
            told = "; ".join(f"{key} was {before.get(key)!r} and is {now[key]!r}" for key in changed)
            raise BadConfig(f"{folder} holds a run with other settings ({told}); choose another folder")
    file.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
