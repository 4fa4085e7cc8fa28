"""Judge a finished run, or judge it again: only the replies that are missing are asked for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
from inspect_ai import score as score_log
from inspect_ai.log import read_eval_log, write_eval_log
from inspect_ai.model import get_model

from defake.errors import BadDataset

from .judge import DEFAULT_ROUNDS, Item, judge_baselines
from .judge_prompts import family_warning
from .open_answers import JUDGE_ROLE, open_answer
from .runs import asked, log_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from inspect_ai.model import Model

    from .runs import Run

SCORER = "open_answer"


def judge_logs(path: Path, judge: str | Model, *, rounds: int = DEFAULT_ROUNDS, similarity: bool = True) -> list[Path]:
    """Score the open answers of every log at a path anew with this judge; gives the logs that were written.

    The other scores of a log stay. Replies the judge gave before come from the cache, so that a pass after a failure
    asks only for what is missing. A log without references has nothing to be judged by and is left as it is.

    Raises: BadDataset if no log at the path has an open answer with a reference.
    """
    written = []
    for file in log_files(path):
        log = read_eval_log(str(file))
        answered = [s for s in log.samples or [] if s.error is None and s.metadata.get("task") != "fakeclass"]
        if not any("".join(s.target).strip() for s in answered):
            continue
        for sample in log.samples or []:
            if sample.scores:
                sample.scores.pop(SCORER, None)
        # Errored samples have no answer; the candidate itself must not be loaded only to be judged.
        log.samples = answered
        whole = read_eval_log(str(file)).samples or []
        scored = score_log(
            log,
            open_answer(judge_rounds=rounds, similarity=similarity),
            model="none",
            model_roles={JUDGE_ROLE: judge},
            action="append",
            display="none",
        )
        fresh = {(s.id, s.epoch): s for s in scored.samples or []}
        scored.samples = [fresh.get((s.id, s.epoch), s) for s in whole]
        write_eval_log(scored, str(file))
        written.append(file)
    if not written:
        raise BadDataset(f"{path} holds no open answer with a reference; FakeBench's own are judged by its authors")
    return written


def run_baselines(
    run: Run, judge: str | Model, rng: np.random.Generator, *, count: int = 50, rounds: int = 1
) -> dict[str, dict[str, tuple[float | None, int]]]:
    """Judge up to `count` answers of a run beside the null, shuffled-reference and wrong-image baselines.

    Raises: BadDataset if no answer has a reference.
    """
    rows = [r for task in ("faultfinding", "inference", "fakeqa") for r in asked(run.of(task)) if r.reference.strip()]
    if not rows:
        raise BadDataset(f"no answer of {run.model} has a reference to be judged by")
    chosen = rng.permutation(len(rows))[:count]
    items = [
        Item(
            question=rows[i].question,
            answer=rows[i].answer,
            reference=rows[i].reference,
            kind=f"{rows[i].task} {rows[i].criterion or ''}",
            image=rows[i].image,
            candidate=run.model,
            file=rows[i].image,
        )
        for i in chosen
    ]
    return anyio.run(partial(judge_baselines, get_model(judge), items, rng, rounds=rounds))


def warnings_for(judge: str, runs: Sequence[Run]) -> list[str]:
    """One sentence a run whose model is of the judge's family."""
    return [warning for run in runs if (warning := family_warning(judge, run.model))]
