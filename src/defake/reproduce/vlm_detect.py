"""VLM-DETECT's experiment: train every model on one generator, test it on all, keep seen and unseen apart.

Source: Keita et al., VLM-DETECT (arXiv 2404.02726) and Bi-LORA (arXiv 2404.01959).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from defake.datasets.manifest import Manifest, read_manifest
from defake.detectors import load_detector
from defake.errors import BadConfig, BadDataset
from defake.metrics.intervals import Estimate, clusters_of, draw
from defake.published import load_table
from defake.training.examples import Choice, check_rows, gather_examples
from defake.training.figures import measure_scores, score_manifest
from defake.training.progress import silent
from defake.training.recipe import Recipe
from defake.training.run import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from defake.training.examples import Examples, Part
    from defake.training.job import Outcome
    from defake.training.progress import Say

PUBLISHED = "vlm_detect_ldm_trained"
PUBLISHED_MODEL, PUBLISHED_TRAINED_ON = "blip2", "LDM"
RESAMPLES = 1000
THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Contender:
    """One model of the table: how it is trained and from what."""

    name: str
    kind: str
    source: str
    recipe: Recipe = field(default_factory=Recipe)
    layer: str | None = None


# Only BLIP-2's recipe is published as code; that of the conventional networks is ours.
_CONVENTIONAL = Recipe(tune="full", learning_rate=1e-4)
CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("blip2", "captioner", "Salesforce/blip2-opt-2.7b"),
        Contender("vit-gpt2", "captioner", "nlpconnect/vit-gpt2-image-captioning"),
        Contender("resnet50", "classifier", "resnet50", _CONVENTIONAL),
        Contender("xception", "classifier", "xception", _CONVENTIONAL),
        Contender("deit", "classifier", "deit", _CONVENTIONAL),
        Contender("probe", "probe", "blip2", layer="qformer"),
    )
}


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one generator's fakes and all test photographs."""

    generator: str
    is_seen: bool
    n_fake: int
    n_real: int
    figures: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Table:
    """One model's rows and its mean accuracies; a mean is undefined where there is no such generator."""

    model: str
    rows: tuple[Row, ...]
    mean_unseen: Estimate
    mean_all: Estimate

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def reproduce(
    data: str | Path,
    train_on: str,
    contenders: Sequence[Contender],
    out: Path,
    *,
    root: str | Path | None = None,
    seed: int = 42,
    choice: Choice | None = None,
    say: Say = silent,
) -> list[Table]:
    """Train each contender on photographs and the fakes of `train_on`, then test it on every generator.

    The data need the splits `train` and `test` (and `val`, or else a tenth of `train` is held out). Models and scores
    that are finished in `out` are taken as they are.

    Raises: BadDataset if a split or the generator is missing; the errors of training.
    """
    choice = choice or Choice()
    test = _test_part(data, root, train_on, choice)
    seen = Choice((train_on,), choice.allow_fakebench, choice.skip_bad_rows)
    examples = gather_examples(data, root=root, seed=seed, choice=seen)
    _require_apart(examples, test)
    tables = []
    for number, contender in enumerate(contenders, start=1):
        say(f"[{number}/{len(contenders)}] {contender.name}")
        outcome = _train(contender, examples, out / contender.name, say)
        scores = _scores_of(outcome, test, say)
        tables.append(tabulate(contender.name, test.manifest, scores, train_on, np.random.default_rng(seed)))
        write_json(out / "tables.json", {"train_on": train_on, "tables": [table.as_dict() for table in tables]})
    return tables


def choose(names: Sequence[str], known: Mapping[str, Contender]) -> list[Contender]:
    """The contenders of these names, all of them if there is none.

    Raises: BadConfig for an unknown name.
    """
    unlike = [name for name in names if name not in known]
    if unlike:
        raise BadConfig(f"unknown model(s) {', '.join(unlike)}; known: {', '.join(known)}")
    return [known[name] for name in names or known]


def _test_part(data: str | Path, root: str | Path | None, train_on: str, choice: Choice) -> Part:
    manifest = read_manifest(data, root=root)
    splits = {split for split in manifest.splits if split is not None}
    if not {"train", "test"} <= splits:
        raise BadDataset(
            f"{data} needs rows of the splits train and test, but has {', '.join(sorted(splits)) or 'none'}"
        )
    generators = {name for name in manifest.generators if name is not None}
    if train_on not in generators:
        raise BadDataset(f"no fakes of {train_on!r} in {data}; there are: {', '.join(sorted(generators)) or 'none'}")
    return check_rows(manifest.where(split="test"), str(data), choice)


def _require_apart(examples: Examples, test: Part) -> None:
    used = {*examples.train.file_hashes, *(examples.val.file_hashes if examples.val else ())}
    shared = sum(file_hash in used for file_hash in test.file_hashes)
    if shared:
        raise BadDataset(
            f"{shared} test image(s) also stand in train or val: remove them, or the figures are worthless"
        )


def _train(contender: Contender, examples: Examples, out: Path, say: Say) -> Outcome:
    if contender.kind == "probe":
        from defake.training.probe import train_probe

        return train_probe(contender.source, examples, out, layer=contender.layer, say=say)
    train: Callable[..., Outcome]
    if contender.kind == "captioner":
        from defake.training.captioner import train_captioner as train
    else:
        from defake.training.classifier import train_classifier as train
    return train(contender.source, examples, contender.recipe, out, say=say)


def _scores_of(outcome: Outcome, test: Part, say: Say) -> NDArray[np.float64]:
    """fake_score of every test image, read back where the same weights have scored the same files."""
    weights = json.loads((outcome.folder / "results.json").read_text(encoding="utf-8"))["weights_sha256"]
    key = {"images": test.sha256(), "weights": weights}
    place = outcome.folder / "test_scores.json"
    if place.is_file():
        stored = json.loads(place.read_text(encoding="utf-8"))
        if {name: stored.get(name) for name in key} == key:
            return np.array([np.nan if score is None else score for score in stored["fake_scores"]], dtype=np.float64)
    say(f"scoring {len(test)} test images")
    scores = score_manifest(load_detector(str(outcome.folder)), test.manifest)
    listed = [None if np.isnan(score) else float(score) for score in scores]
    write_json(place, {**key, "fake_scores": listed})
    return scores


def tabulate(model: str, test: Manifest, scores: NDArray[np.float64], train_on: str, rng: np.random.Generator) -> Table:
    """The table of one model from its scores `(n,)` of the test images; the seen generator comes first."""
    names = sorted({name for name in test.generators if name is not None}, key=lambda name: (name != train_on, name))
    real = ~test.is_fake
    rows = []
    for name in names:
        mask = real | (test.generators == name)
        figures = measure_scores(test.is_fake[mask], scores[mask], test.sources[mask], rng=rng, threshold=THRESHOLD)
        rows.append(Row(name, name == train_on, int((mask & ~real).sum()), int(real.sum()), figures))
    unseen = [row.generator for row in rows if not row.is_seen]
    return Table(
        model,
        tuple(rows),
        mean_accuracy(test, scores, unseen, rng),
        mean_accuracy(test, scores, [row.generator for row in rows], rng),
    )


def mean_accuracy(
    test: Manifest, scores: NDArray[np.float64], generators: Sequence[str], rng: np.random.Generator
) -> Estimate:
    """Mean over generators of the accuracy on its fakes and all photographs, with a bootstrap interval by source.

    One resample draws the photographs once for all generators, as they are shared; an unanswered image counts as wrong.
    """
    if not generators:
        return Estimate(None)
    right = ~np.isnan(scores) & ((scores >= THRESHOLD) == test.is_fake)
    groups = [~test.is_fake, *(test.generators == name for name in generators)]
    parts = [(right[mask], clusters_of(test.sources[mask])) for mask in groups]

    def mean(weights: Sequence[NDArray[np.float64]]) -> float:
        hits = [float((w * r).sum()) for w, (r, _) in zip(weights, parts, strict=True)]
        sizes = [float(w.sum()) for w in weights]
        both = [(hits[0] + h) / (sizes[0] + n) for h, n in zip(hits[1:], sizes[1:], strict=True) if sizes[0] + n]
        return float(np.mean(both)) if both else float("nan")

    value = mean([np.ones(len(r)) for r, _ in parts])
    resampled = [mean([draw(clusters, rng).astype(float) for _, clusters in parts]) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Estimate(value, float(min(low, value)), float(max(high, value)), "bootstrap")


def published_rows(model: str, train_on: str) -> dict[str, tuple[float, float]]:
    """Published (accuracy, F1) in % by generator; empty where the paper's table cannot be compared with this run.

    The cells of the other models could not be read and stay empty.
    """
    if model != PUBLISHED_MODEL or train_on != PUBLISHED_TRAINED_ON:
        return {}
    return {row["generator"]: (row["accuracy"], row["f1"]) for row in load_table(PUBLISHED)}
