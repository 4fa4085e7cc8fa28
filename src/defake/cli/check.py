"""`defake check`: score files and say why."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from defake.errors import BadConfig
from defake.records import Verdict

STYLES = {"fake": "bold red", "real": "green", "unsure": "yellow"}
# Up to this many files a bar would only flicker.
SILENT_UP_TO = 4


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, glob patterns; - reads a list from stdin.")],
    detector: Annotated[str, typer.Option(help="A name from `defake detectors`, or a folder of trained weights.")] = (
        "default"
    ),
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    heatmap: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write an overlay of each image's tile scores to DIR.")
    ] = None,
    max_megapixels: Annotated[float, typer.Option(min=0.001, help="Refuse larger images, before decoding.")] = 100.0,
) -> None:
    """Tell generated images from photographs, and say why.

    Exit code 0: every file was scored; 1: some could not be; 2: wrong usage.
    """
    from defake.checking import check_many, find_images
    from defake.detectors import load_detector
    from defake.images import Limits

    limits = Limits(max_megapixels=max_megapixels)
    if heatmap is not None:
        _make_folder(heatmap)
    files = list(find_images(_read_list(paths)))
    if not files:
        raise BadConfig(f"no images found in {', '.join(paths)}")
    verdicts = _watched(check_many(files, load_detector(detector), limits), len(files))
    if heatmap is not None:
        verdicts = _with_heatmaps(verdicts, heatmap, limits)
    failed = _print_json(verdicts) if json_lines else _print_table(verdicts)
    if failed:
        raise typer.Exit(1)


def _read_list(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if path != "-":
            yield path
            continue
        text = os.fsdecode(sys.stdin.buffer.read())
        # `find -print0` allows any name; plain lines are what people type.
        yield from (line for line in (text.split("\0") if "\0" in text else text.splitlines()) if line.strip())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfig(f"--heatmap {folder}: cannot make the folder: {error.strerror}") from error


def _watched(verdicts: Iterator[Verdict], total: int) -> Iterator[Verdict]:
    if total <= SILENT_UP_TO or not sys.stderr.isatty():
        yield from verdicts
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("checking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(verdicts, total=total)


def _with_heatmaps(verdicts: Iterator[Verdict], folder: Path, limits: object) -> Iterator[Verdict]:
    from defake.heatmap import draw_heatmap
    from defake.images import Limits, read_image

    assert isinstance(limits, Limits)
    for verdict in verdicts:
        if verdict.error is None and verdict.path is not None:
            # Two folders may hold the same name: the path's hash keeps their overlays apart.
            mark = hashlib.sha256(os.fsencode(Path(verdict.path).absolute())).hexdigest()[:8]
            overlay = draw_heatmap(read_image(verdict.path, limits).pixels, verdict)
            overlay.save(folder / f"{Path(verdict.path).stem[:80]}-{mark}.png")
        yield verdict


def _print_json(verdicts: Iterator[Verdict]) -> int:
    failed = 0
    for verdict in verdicts:
        failed += verdict.error is not None
        print(json.dumps(verdict.as_dict()), flush=True)
    return failed


def _print_table(verdicts: Iterator[Verdict]) -> int:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(verdicts)
    folder = _shared_folder([row.path or "" for row in rows])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=_printable(f"in {folder}") if folder else None)
    table.title_justify = "left"
    table.add_column("file", max_width=32, overflow="fold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("fake", justify="right", no_wrap=True)
    table.add_column("why", ratio=1)
    table.add_column("s", justify="right", no_wrap=True)
    for row in rows:
        word = str(row.verdict or "error")
        score = "" if row.fake_score is None else f"{row.fake_score:.0%}"
        name = Text(_printable((row.path or "image").removeprefix(folder)))
        table.add_row(name, Text(word, STYLES.get(word, "magenta")), score, _why(row), f"{row.elapsed_s:.2f}")
    console = Console()
    console.print(table)
    counts = Counter(str(row.verdict or "error") for row in rows)
    console.print(", ".join(f"{number} {word}" for word, number in sorted(counts.items())))
    return counts["error"]


def _shared_folder(paths: list[str]) -> str:
    """The folder all files lie in, with its slash, where naming it once saves room."""
    folders = {str(Path(path).parent) for path in paths}
    if len(paths) < 2 or len({Path(folder).is_absolute() for folder in folders}) > 1:
        return ""
    folder = os.path.commonpath(folders)
    return f"{folder.rstrip('/')}/" if folder not in ("", ".") else ""


def _why(verdict: Verdict) -> str:
    from rich.markup import escape

    if verdict.error is not None:
        return escape(_printable(f"{verdict.error.code}: {verdict.error.message}"))
    return escape("; ".join(reason.text for reason in verdict.reasons[:3]))


def _printable(text: str) -> str:
    """Names may hold control codes or bytes that are no text; a terminal must not obey them."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
