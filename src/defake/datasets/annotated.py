"""Annotated sets: images with reference clues and answers for the telltale criteria (docs/annotated-sets.md)."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defake.errors import BadDataset
from defake.questions import CRITERION_IDS, criterion
from defake.records import Label

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FORMAT = "defake-annotated-set/1"
_FILES = ("annotations.jsonl", "annotations.csv")
_TEXTS = ("generator", "source", "split", "licence", "caption", "fault_finding", "inference")


@dataclass(frozen=True, slots=True)
class Clue:
    """One telltale clue: the criterion it belongs to and what is seen."""

    criterion: str
    text: str

    def __post_init__(self) -> None:
        if self.criterion not in CRITERION_IDS:
            raise BadDataset(f"unknown criterion {self.criterion!r}; known: {', '.join(CRITERION_IDS)}")
        if not self.text.strip():
            raise BadDataset(f"the clue for {self.criterion!r} has no text")


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """One image with its references; `image` is the path as written, `path` where it lies."""

    image: str
    path: Path
    label: Label
    clues: tuple[Clue, ...] = ()
    answers: dict[str, str] = field(default_factory=dict)
    content: tuple[str, ...] = ()
    generator: str | None = None
    source: str | None = None
    split: str | None = None
    licence: str | None = None
    caption: str | None = None
    fault_finding: str | None = None
    inference: str | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.answers) - set(CRITERION_IDS)):
            raise BadDataset(f"unknown criteria in answers: {', '.join(unknown)}; known: {', '.join(CRITERION_IDS)}")
        if self.label is Label.REAL and self.clues:
            raise BadDataset("a real image has telltale clues; expected none (put what is natural into answers)")

    def fault_finding_reference(self) -> str | None:
        """Reference for the fault-finding question: the written one, else made of the clues; None without clues.

        Source: the opening is the one FakeBench's prompt asks for; the composition is ours.
        """
        if self.fault_finding or not self.clues:
            return self.fault_finding
        return f"This is a fake image because: {_sentences(self.clues)}"

    def inference_reference(self) -> str | None:
        """Reference for the inference question: the written one, else the clues or answers and the label.

        Source: ours.
        """
        if self.inference:
            return self.inference
        grounds = _sentences(self.clues) or " ".join(text.strip() for text in self.answers.values())
        return f"{grounds} The image is {self.label}." if grounds else None


def _sentences(clues: Sequence[Clue]) -> str:
    return " ".join(f"{criterion(c.criterion).name.capitalize()}: {c.text.strip()}" for c in clues)


@dataclass(frozen=True, slots=True)
class AnnotatedSet:
    """A folder of annotated images; `problems` holds (line number, message) of the rows left out."""

    root: Path
    images: tuple[AnnotatedImage, ...]
    problems: tuple[tuple[int, str], ...] = ()
    name: str = ""
    licence: str = ""
    notice: str = ""


def is_annotated_set(path: str | Path) -> bool:
    """Whether a folder or file is an annotated set."""
    try:
        file = _annotation_file(Path(path))
    except BadDataset:
        return False
    if file.suffix == ".csv" and file.name not in _FILES:
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            return any(c.startswith(("clue_", "answer_")) for c in next(csv.reader(lines), []))
    return True


def read_annotated(path: str | Path, *, check_files: bool = True) -> AnnotatedSet:
    """Read an annotated set from its folder or its annotation file.

    Rows that cannot be used are left out and listed in `problems`; `check_files` counts a missing image as one.

    Raises: BadDataset if there is no annotation file, or no row of it can be used.
    """
    file = _annotation_file(Path(path))
    header: dict[str, Any] = {}
    images: list[AnnotatedImage] = []
    problems: list[tuple[int, str]] = []
    seen: dict[str, int] = {}
    for number, row in _rows(file):
        if isinstance(row, dict) and "format" in row and "image" not in row:
            header = _header(row, file)
            continue
        try:
            image = _image(row, file.parent, check_files=check_files)
            if image.image in seen:
                raise BadDataset(f"{image.image!r} is annotated on line {seen[image.image]} already")  # noqa: TRY301 - one way out
        except BadDataset as error:
            problems.append((number, str(error)))
            continue
        seen[image.image] = number
        images.append(image)
    if not images:
        why = f"; first problem, line {problems[0][0]}: {problems[0][1]}" if problems else ""
        raise BadDataset(f"no usable image in {file}{why}")
    texts = {key: str(header.get(key, "")) for key in ("name", "licence", "notice")}
    return AnnotatedSet(file.parent, tuple(images), tuple(problems), **texts)


def write_annotated(images: Iterable[AnnotatedImage], folder: str | Path, **header: str) -> Path:
    """Write the JSONL form into a folder (the images themselves stay where they are); gives the file's path.

    `header` may hold `name`, `licence` and `notice`.
    """
    lines: list[dict[str, Any]] = [{"format": FORMAT, **header}]
    for image in images:
        row: dict[str, Any] = {"image": image.image, "label": str(image.label)}
        row |= {key: getattr(image, key) for key in _TEXTS if getattr(image, key)}
        if image.content:
            row["content"] = list(image.content)
        if image.clues:
            row["clues"] = [{"criterion": c.criterion, "text": c.text} for c in image.clues]
        if image.answers:
            row["answers"] = image.answers
        lines.append(row)
    file = Path(folder) / _FILES[0]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return file


def _annotation_file(path: Path) -> Path:
    if path.is_file() and path.suffix in (".jsonl", ".csv"):
        return path
    for name in _FILES:
        if (path / name).is_file():
            return path / name
    raise BadDataset(f"no annotated set at {path}: expected {' or '.join(_FILES)} in it (see docs/annotated-sets.md)")


def _header(row: dict[str, Any], file: Path) -> dict[str, Any]:
    if row["format"] != FORMAT:
        raise BadDataset(f"{file} has the format {row['format']!r}, but this version reads {FORMAT!r}")
    return row


def _rows(file: Path) -> Iterator[tuple[int, object]]:
    """Line number and content; a JSONL line that cannot be read comes as its error text."""
    if file.suffix == ".csv":
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            for row in reader:
                yield reader.line_num, _from_columns(row)
        return
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except ValueError as error:
                    yield number, f"not a JSON object: {error}"


def _from_columns(row: dict[Any, Any]) -> dict[str, Any]:
    cells = {k: v.strip() for k, v in row.items() if isinstance(k, str) and isinstance(v, str) and v.strip()}
    plain: dict[str, Any] = {k: v for k, v in cells.items() if not k.startswith(("clue_", "answer_"))}
    if "content" in plain:
        plain["content"] = plain["content"].split(";")
    plain["clues"] = [
        {"criterion": k.removeprefix("clue_"), "text": v} for k, v in cells.items() if k.startswith("clue_")
    ]
    plain["answers"] = {k.removeprefix("answer_"): v for k, v in cells.items() if k.startswith("answer_")}
    return plain


def _image(row: object, root: Path, *, check_files: bool) -> AnnotatedImage:
    if not isinstance(row, dict):
        raise BadDataset(row if isinstance(row, str) else f"expected a JSON object, but got {type(row).__name__}")
    name = row.get("image")
    if not (isinstance(name, str) and name):
        raise BadDataset("expected 'image', the path of a file relative to the annotations")
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise BadDataset(f"{name!r} lies outside the folder of the set")
    if check_files and not path.is_file():
        raise BadDataset(f"missing file {name!r}")
    answers, clues, content = row.get("answers") or {}, row.get("clues") or [], row.get("content") or []
    if not (isinstance(answers, dict) and isinstance(clues, list) and isinstance(content, list)):
        raise BadDataset("expected 'answers' to be an object, 'clues' and 'content' to be lists")
    if not all(isinstance(c, dict) for c in clues):
        raise BadDataset("expected each clue to be an object with 'criterion' and 'text'")
    texts = {key: str(row[key]) for key in _TEXTS if row.get(key)}
    return AnnotatedImage(
        image=name,
        path=path,
        label=Label.parse(row.get("label")),
        clues=tuple(Clue(str(c.get("criterion", "")), str(c.get("text", ""))) for c in clues),
        answers={str(k): str(v) for k, v in answers.items() if str(v).strip()},
        content=tuple(str(tag).strip() for tag in content if str(tag).strip()),
        **texts,
    )
