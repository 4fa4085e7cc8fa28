"""`defake evaluate`: figures of detectors on labelled images, with intervals, and of runs that are stored."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defake.errors import BadConfig, BadDataset

if TYPE_CHECKING:
    from defake.datasets.manifest import Manifest
    from defake.evaluate import Evaluation, Protocol
    from defake.store import Scores

METRICS = "metrics.json"
SECONDS_BETWEEN_LINES = 60.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN]...", help="Stored runs, or files of scores: nothing is scored again."),
    ] = None,
    *,
    detector: Annotated[
        list[str] | None, typer.Option(help="A name from `defake detectors` or a trained folder; may be repeated.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Labelled images: a manifest or a folder.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where the manifest's relative paths start.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; with several detectors one in it for each.")] = None,
    val_split: Annotated[
        str | None, typer.Option(help="Choose the threshold on this split (default: val, if there is one).")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Test this split (default: all but validation and train).")] = None,
    fpr: Annotated[float, typer.Option(help="The declared false positive rate of the threshold.")] = 0.05,
    threshold: Annotated[float | None, typer.Option(help="A threshold frozen elsewhere, instead.")] = None,
    reals: Annotated[
        str, typer.Option(help="Set each generator against 'all' photographs, or those of the same 'source'.")
    ] = "all",
    scores: Annotated[list[Path] | None, typer.Option(help="The same as RUN: a run folder, Parquet or CSV.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="A file that `defake calibrate` wrote.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Compare the detectors or runs two by two.")] = False,
    matrix: Annotated[bool, typer.Option("--matrix", help="The runs' training against test generators.")] = False,
    metric: Annotated[str, typer.Option(help="The figure in the matrix.")] = "auc",
    skip_missing: Annotated[bool, typer.Option("--skip-missing", help="Score the others where files miss.")] = False,
    null: Annotated[bool, typer.Option(help="Measure what file facts alone tell, the zero-pixel null.")] = True,
    oracle: Annotated[bool, typer.Option("--oracle", help="Also the threshold these very labels like best.")] = False,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Measure detectors on labelled images: every figure with its interval, beside the zero-pixel null.

    defake evaluate --detector default --data manifest.csv --out runs/default

    defake evaluate --matrix runs/*
    """
    from defake.evaluate import Protocol

    protocol = Protocol(
        val_split=val_split, split=split, fpr=fpr, threshold=threshold, reals=_reals(reals), oracle=oracle,
        n_resamples=resamples, seed=seed,
    )  # fmt: skip
    stored = [*(runs or []), *(scores or [])]
    if bool(stored) == bool(detector):
        raise BadConfig("name either detectors with --data, or stored runs: defake evaluate --help")
    if detector:
        if data is None:
            raise BadConfig("--detector needs labelled images: --data MANIFEST")
        fresh = _Fresh(data, root, out, calibration, skip_missing=skip_missing, null=null)
        found = fresh.results(detector, protocol)
    else:
        found = [_stored(path, protocol) for path in stored]
    _report(found, protocol, compare=compare, matrix=metric if matrix else None, as_json=json_)


class Result:
    """One detector's scores and what they amount to."""

    def __init__(
        self, scores: Scores, evaluation: Evaluation, trained_on: list[str] | None, folder: Path | None
    ) -> None:
        self.name = evaluation.detector
        self.scores, self.evaluation, self.trained_on, self.folder = scores, evaluation, trained_on, folder


class _Fresh:
    """Detectors scored on one manifest."""

    def __init__(
        self, data: Path, root: Path | None, out: Path | None, calibration: Path | None, *, skip_missing: bool,
        null: bool,
    ) -> None:  # fmt: skip
        self.data, self.root, self.out, self.calibration = data, root, out, calibration
        self.skip_missing, self.null = skip_missing, null

    def results(self, specs: list[str], protocol: Protocol) -> list[Result]:
        """Score, evaluate and store each detector."""
        from defake.datasets.manifest import describe_problems, read_manifest
        from defake.evaluate.protocol import split_parts

        if len(set(specs)) < len(specs):
            raise BadConfig(f"each detector once: {', '.join(specs)}")
        manifest = read_manifest(self.data, root=self.root)
        if manifest.problems:
            print(f"defake: {describe_problems(manifest.problems)}", file=sys.stderr)
        is_test, is_val, _ = split_parts(manifest.splits, protocol)
        needed = manifest.where(is_test if is_val is None else is_test | is_val)
        found = [self._score(spec, needed, len(specs) > 1) for spec in specs]
        null = zero_pixel_null(manifest.where(is_test)) if self.null else None
        return [_evaluated(*one, protocol, null) for one in found]

    def _score(self, spec: str, manifest: Manifest, several: bool) -> tuple[Scores, dict[str, Any], Path]:
        from defake.detectors import load_detector
        from defake.evaluate import score_manifest, start_run

        model = load_detector(spec, calibration=self.calibration)
        name = re.sub(r"[^\w.-]+", "-", Path(spec).name if Path(spec).is_dir() else spec).strip("-.") or "detector"
        base = self.out or Path("runs") / (self.data.stem if not several else "")
        folder = base / name if several or self.out is None else base
        run = start_run(folder, model, spec, manifest, context={"name": name, "data": str(self.data)})
        with watched(len(manifest), name) as progress:
            scores = score_manifest(model, manifest, run, skip_missing=self.skip_missing, progress=progress)
        return scores, {**run.config["context"], "name": name}, folder


def _evaluated(
    scores: Scores, context: dict[str, Any], folder: Path | None, protocol: Protocol, null: dict[str, Any] | None
) -> Result:
    from defake.evaluate import evaluate_scores
    from defake.store import write_json

    own = float(context.get("own_threshold", 0.5))
    evaluation = replace(
        evaluate_scores(scores, protocol, detector=context["name"], own_threshold=own), zero_pixel_null=null
    )
    if folder is not None:
        write_json(folder / METRICS, evaluation.as_dict())
    return Result(scores, evaluation, context.get("trained_on"), folder)


def _stored(path: Path, protocol: Protocol) -> Result:
    from defake.store import RunFolder, read_scores

    if not path.is_dir():
        return _evaluated(read_scores(path), {"name": path.stem}, None, protocol, None)
    run = RunFolder.open(path)
    context = {**run.config.get("context", {}), "name": path.resolve().name}
    null = None
    try:
        null = json.loads((path / METRICS).read_text(encoding="utf-8"))["zero_pixel_null"]
    except (OSError, ValueError, KeyError):
        print(f"defake: {path} has no zero-pixel null stored", file=sys.stderr)
    scores, expected = run.scores(), context.get("n_images")
    result = _evaluated(scores, context, None, protocol, null)
    if expected is not None and len(scores) < expected:
        note = f"the run is not finished: {len(scores)} of {expected} images"
        result.evaluation = replace(result.evaluation, notes=(note, *result.evaluation.notes))
    return result


def zero_pixel_null(manifest: Manifest) -> dict[str, Any]:
    """What file facts alone reach on the tested images."""
    import numpy as np

    from defake.audit import zero_pixel_null as measure

    probe = measure(manifest, rng=np.random.default_rng(0))
    return {"auc": probe.auc, "low": probe.low, "high": probe.high, "n_images": probe.n_images}


def _reals(word: str) -> Any:
    if word not in ("all", "source"):
        raise BadConfig(f"--reals must be 'all' or 'source', but got {word!r}")
    return word


@contextmanager
def watched(total: int, name: str) -> Iterator[Callable[[int], None]]:
    """A bar on stderr where that is a terminal, elsewhere a line a minute."""
    if not sys.stderr.isatty():
        yield _minutely(total, name)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda count: bar.advance(task, count)


def _minutely(total: int, name: str) -> Callable[[int], None]:
    done, told = 0, time.monotonic()

    def progress(count: int) -> None:
        nonlocal done, told
        done += count
        if time.monotonic() - told > SECONDS_BETWEEN_LINES:
            told = time.monotonic()
            print(f"defake: {name}: {done} of {total} images", file=sys.stderr)

    return progress


def _report(found: list[Result], protocol: Protocol, *, compare: bool, matrix: str | None, as_json: bool) -> None:
    from defake.evaluate.matrix import cross_generator
    from defake.evaluate.pairs import compare as compare_all

    from . import _tables

    named = _distinct(found)
    pairs = table = None
    if compare:
        own = {name: result.evaluation.threshold.value for name, result in named.items()}
        pairs = compare_all({name: result.scores for name, result in named.items()}, protocol, own)
    if matrix:
        rows = [(name, result.trained_on, result.evaluation) for name, result in named.items()]
        table = cross_generator(rows, matrix)
    if as_json:
        content: dict[str, Any] = {"evaluations": [result.evaluation.as_dict() for result in found]}
        content |= {"comparison": [pair.as_dict() for pair in pairs]} if pairs is not None else {}
        content |= {"matrix": table.as_dict()} if table is not None else {}
        print(json.dumps(content, allow_nan=False))
        return
    if table is not None:
        _tables.show(_tables.show_matrix(table))
    if not matrix:
        _tables.show(*(_tables.show_evaluation(result.evaluation) for result in found))
    if pairs is not None:
        _tables.show(_tables.show_pairs(pairs))
    for result in found:
        if result.folder is not None:
            print(f"defake: scores and figures are in {result.folder}", file=sys.stderr)


def _distinct(found: list[Result]) -> dict[str, Result]:
    named: dict[str, Result] = {}
    for result in found:
        if result.name in named:
            raise BadDataset(f"two runs are named {result.name!r}; rename a folder, or compare runs of different names")
        named[result.name] = result
    return named
