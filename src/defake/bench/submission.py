"""The JSON files FakeBench's authors score by e-mail: their own query files with a model's answers filled in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defake.errors import BadDataset
from defake.questions.answers import Outcome
from defake.records import Label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .runs import Row, Run

FILES = {"fakeclass": "FakeClass.json", "fakeclue": "FakeClue.json", "fakeqa": "FakeQA.json"}
# Questions of the whole release; a run over anything else is a part. Source: counted in the query files.
RELEASED = {"fakeclass": 6_000, "faultfinding": 3_000, "inference": 3_000, "fakeqa": 41_971}


@dataclass(frozen=True, slots=True)
class Submission:
    """The files written, and what is missing in them: questions without an answer, parts of the release not asked."""

    files: tuple[Path, ...]
    unanswered: int
    incomplete: dict[str, tuple[int, int]]


def write_submission(run: Run, folder: str | Path) -> Submission:
    """Write FakeClass.json, FakeClue.json and FakeQA.json, as far as the run holds them, and `submission.json`.

    Answers are the model's own words. A question that got none (an infrastructure error) keeps an empty answer and is
    counted. Keys are those of the query files; FakeClue has no place for answers, so `faultfinding_answer` and
    `inference_answer` stand beside the two prompts.

    Raises: BadDataset if the run holds no FakeBench task.
    """
    folder = Path(folder)
    made = {
        "fakeclass": [_class_entry(row) for row in sorted(run.of("fakeclass"), key=lambda r: (r.label, r.image))],
        "fakeclue": _clue_entries(run),
        "fakeqa": _qa_entries(run.of("fakeqa")),
    }
    if not any(made.values()):
        raise BadDataset(f"the run of {run.model} holds no answer to submit")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for task, entries in made.items():
        if entries:
            files.append(folder / FILES[task])
            _write(files[-1], entries)
    unanswered = sum(not said(row) for row in run.rows)
    counts = {task: (len(run.of(task)), released) for task, released in RELEASED.items()}
    incomplete = {task: pair for task, pair in counts.items() if pair[0] != pair[1]}
    about = {"model": run.model, "answers": {t: n for t, (n, _) in counts.items()}, "unanswered": unanswered}
    _write(folder / "submission.json", about | {"incomplete": {t: list(p) for t, p in incomplete.items()}})
    return Submission((*files, folder / "submission.json"), unanswered, incomplete)


def said(row: Row) -> str:
    """The answer as the model gave it; empty for an infrastructure error."""
    return "" if row.outcome is Outcome.INFRASTRUCTURE else row.answer


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")


def _class_entry(row: Row) -> dict[str, Any]:
    return {
        "image_id": row.image,
        "question": row.question,
        "answer": said(row),
        "authenticity": int(row.label is Label.REAL),  # FakeBench writes 0 for fake
    }


def _clue_entries(run: Run) -> list[dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    for task in ("faultfinding", "inference"):
        for row in run.of(task):
            entry = entries.setdefault(
                row.image,
                {
                    "image_caption": row.caption or "",
                    "content_categories": ", ".join(row.content),
                    "telltale_clues": "",
                    "telltale_categories": "",
                    "image_id": row.image,
                    "generation_model": row.generator or "",
                },
            )
            entry[f"{task}_mode"] = row.question
            entry[f"{task}_answer"] = said(row)
    return list(entries.values())


def _qa_entries(rows: Sequence[Row]) -> list[dict[str, str]]:
    entries: dict[str, dict[str, str]] = {}
    for row in sorted(rows, key=_slot):
        number = _slot(row)
        entry = entries.setdefault(row.image, {})
        entry[f"Q{number}"] = row.question
        entry[f"A{number}"] = said(row)
    return [{**entry, "image_id": image} for image, entry in entries.items()]


def _slot(row: Row) -> int:
    if not row.slot or not row.slot[1:].isdigit():
        raise BadDataset(f"question {row.id!r} has no place in FakeQA.json; only runs over FakeBench can be submitted")
    return int(row.slot[1:])
