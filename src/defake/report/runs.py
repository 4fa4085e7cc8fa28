"""Stored runs as the report needs them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defake.errors import BadConfig, BadDataset
from defake.evaluate import Protocol, evaluate_scores
from defake.robustness import RECORD as ROBUSTNESS
from defake.store import CONFIG, RunFolder, read_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defake.evaluate import Evaluation
    from defake.store import Scores

METRICS = "metrics.json"


@dataclass(frozen=True, slots=True)
class Run:
    """One detector's scores, what they amount to, and where its images lie (`root` None: not known)."""

    name: str
    scores: Scores
    evaluation: Evaluation
    config: dict[str, Any]
    root: Path | None = None
    robustness: dict[str, Any] | None = None

    @property
    def tested(self) -> Scores:
        """The rows the figures are of."""
        from defake.evaluate.protocol import split_parts

        is_test, _, _ = split_parts(self.scores.split, self.evaluation.protocol)
        return self.scores.where(is_test)


def read_runs(paths: Sequence[str | Path]) -> tuple[list[Run], dict[str, dict[str, Any]]]:
    """(runs, robustness records by detector) of run folders, files of scores and folders of `defake robustness`.

    Runs of one name are numbered. A robustness record belongs to the run of its detector, if there is one.

    Raises: BadConfig for a folder that is neither; BadDataset for scores that cannot be read.
    """
    runs: list[Run] = []
    curves: dict[str, dict[str, Any]] = {}
    for path in map(Path, paths):
        record = read_json(path / ROBUSTNESS) if path.is_dir() else None
        if record is not None:
            curves[_free(str(record.get("detector") or path.name), curves)] = record
        if not path.is_dir():
            runs.append(_from_scores(path))
        elif (path / CONFIG).is_file():
            runs.append(_from_folder(path))
        elif record is None:
            raise BadConfig(f"{path} holds neither a run ({CONFIG}) nor robustness curves ({ROBUSTNESS})")
    if not runs and not curves:
        raise BadConfig("a report needs at least one run: defake report RUN ...")
    taken: dict[str, Any] = {}
    for number, run in enumerate(runs):
        name = _free(run.name, taken)
        taken[name] = None
        runs[number] = replace(run, name=name, robustness=curves.get(str(_detector(run)), run.robustness))
    return runs, curves


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None if there is no such file.

    Raises: BadConfig if it is damaged.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadConfig(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise BadConfig(f"{path} must hold a JSON object, but holds {type(content).__name__}")
    return content


def _from_folder(path: Path) -> Run:
    stored = RunFolder.open(path)
    context = stored.config.get("context") or {}
    metrics = read_json(path / METRICS) or {}
    try:
        # The protocol the figures were printed with, so that the report says the same.
        protocol = Protocol(**(metrics.get("protocol") or {}))
    except TypeError as error:
        raise BadConfig(f"{path / METRICS} holds a protocol this version does not know: {error}") from error
    name = str(context.get("name") or path.resolve().name)
    scores = stored.scores()
    own = float(context.get("own_threshold", 0.5))
    evaluation = evaluate_scores(scores, protocol, detector=name, own_threshold=own)
    null = metrics.get("zero_pixel_null")
    root = context.get("root")
    return Run(name, scores, replace(evaluation, zero_pixel_null=null), stored.config, Path(root) if root else None)


def _from_scores(path: Path) -> Run:
    if not path.is_file():
        raise BadDataset(f"no such run folder or file of scores: {path}")
    scores = read_scores(path)
    return Run(path.stem, scores, evaluate_scores(scores, detector=path.stem), {"scores": path.name})


def _detector(run: Run) -> str | None:
    found = (run.config.get("depends_on") or {}).get("detector")
    return None if found is None else str(found)


def _free(name: str, taken: dict[str, Any]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free
