"""How well the label can be told without looking at a pixel: cross-validated, with an interval."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from defake.errors import MissingExtra
from defake.metrics.detection import Tally, defined
from defake.metrics.intervals import bootstrap, clusters_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from defake.datasets.manifest import Manifest

    from .headers import Header

    Values: TypeAlias = NDArray[np.float64] | NDArray[np.object_]

FOLDS = 5
# Enough for an interval of +-0.01; more rows only cost time. Source: ours.
MAX_IMAGES = 10_000
# A word that is rarer than this many others is one with all other rare ones. Source: ours.
MAX_CATEGORIES = 200
# Columns of a manifest that describe files, not content. Source: ours.
FILE_COLUMN = re.compile(
    r"(format|width|height|size|bytes|quality|compress|camera|software|exif|mode|codec|container|extension|resolution|"
    r"aspect|megapixel|qtable|quantis|quantiz|subsampl|mime|filetype)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Probe:
    """How well one kind of fact tells fakes from reals.

    `auc`, `low`, `high`: of out-of-fold predictions, with a 95 % bootstrap interval by source. `by_source` says whether
    whole sources were held out; `auc_same_sources` is the AUC when they were not. `rule_accuracy` is what the best rule
    "this value means fake, that one real" scores on the very images, for facts that are one word. None is undefined.
    """

    probe: str
    facts: tuple[str, ...]
    n_images: int
    by_source: bool = False
    auc: float | None = None
    low: float | None = None
    high: float | None = None
    auc_same_sources: float | None = None
    rule_accuracy: float | None = None
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """One probe's input: columns of numbers (NaN = none) or words (None = none), and the rows they are known for."""

    name: str
    columns: dict[str, Values]
    known: NDArray[np.bool_]


def path_facts(manifest: Manifest) -> list[Facts]:
    """What stands in the manifest itself: the extension as written, and columns that describe the file."""
    everywhere = np.ones(len(manifest), bool)
    extensions = np.array([PurePath(path).suffix or None for path in manifest.paths], dtype=object)
    described = {name: manifest.extra(name) for name in manifest.extra_columns if FILE_COLUMN.search(name)}  # noqa: S610
    return [
        Facts("extension", {"extension": extensions}, everywhere),
        *(Facts(f"column {name}", {name: _numbers_or_words(v)}, everywhere) for name, v in described.items()),
    ]


def header_facts(headers: Sequence[Header | None]) -> list[Facts]:
    """What the headers say, for the files that have one."""
    known = np.array([header is not None for header in headers])

    def number(of: Any) -> NDArray[np.float64]:
        values = [None if header is None else of(header) for header in headers]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    def word(of: Any) -> NDArray[np.object_]:
        return np.array([None if header is None else of(header) for header in headers], dtype=object)

    kinds = sorted({kind for header in headers if header is not None for kind in header.metadata})
    groups: dict[str, dict[str, Values]] = {
        "container": {"container": word(lambda h: h.container), "mode": word(lambda h: h.mode)},
        "image size": {
            "width": number(lambda h: h.width),
            "height": number(lambda h: h.height),
            "longer side": number(lambda h: max(h.width, h.height)),
            "aspect": number(lambda h: h.width / h.height),
        },
        "JPEG settings": {
            "quality": number(lambda h: h.jpeg_quality),
            "progressive": number(lambda h: h.jpeg_progressive),
            "sampling": word(lambda h: h.jpeg_sampling),
        },
        "quantisation tables": {"tables": word(lambda h: h.jpeg_tables)},
        "file size": {
            "bytes": number(lambda h: h.bytes),
            "bits per pixel": number(lambda h: 8 * h.bytes / (h.width * h.height)),
        },
        "metadata": {kind: number(lambda h, kind=kind: kind in h.metadata) for kind in kinds},
    }
    return [Facts(name, columns, known) for name, columns in groups.items() if columns and known.any()]


def together(facts: Sequence[Facts]) -> Facts:
    """All facts at once, for the rows that have all of them."""
    columns = {f"{one.name}: {name}": values for one in facts for name, values in one.columns.items()}
    return Facts("all of these", columns, np.logical_and.reduce([one.known for one in facts]))


def run_probe(facts: Facts, manifest: Manifest, *, rng: np.random.Generator) -> Probe:
    """Predict the label from the facts of other images; fold by source where each class has at least two sources."""
    rows = np.flatnonzero(facts.known)
    if len(rows) > MAX_IMAGES:
        rows = np.sort(rng.choice(rows, MAX_IMAGES, replace=False))
    is_fake, clusters = manifest.is_fake[rows], clusters_of(manifest.sources[rows])
    matrix = np.column_stack([_codes(values[rows]) for values in facts.columns.values()])
    accuracy, rule = _best_rule(facts, rows, is_fake)
    base = Probe(facts.name, tuple(facts.columns), len(rows), rule_accuracy=accuracy, rule=rule)
    seed = int(rng.integers(2**31))
    if is_fake.all() or not is_fake.any():
        return base
    if all(len(np.unique(column[~np.isnan(column)])) + np.isnan(column).any() < 2 for column in matrix.T):
        return replace(base, auc=0.5, low=0.5, high=0.5, auc_same_sources=0.5, rule="the same for every image")
    mixed = _out_of_fold(matrix, is_fake, np.arange(len(rows)), seed)
    has_sources = len(np.unique(clusters)) < len(rows)
    apart = _out_of_fold(matrix, is_fake, clusters, seed) if has_sources else None
    if mixed is None:
        return base
    estimate = bootstrap(Tally.auc, is_fake, mixed if apart is None else apart, clusters, rng=rng)
    return replace(
        base,
        by_source=apart is not None,
        auc=estimate.value,
        low=estimate.low,
        high=estimate.high,
        auc_same_sources=defined(Tally.of(is_fake, mixed).auc()),
    )


def _numbers_or_words(values: NDArray[np.object_]) -> Values:
    """Numbers if everything that is there is one."""
    try:
        return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
    except (TypeError, ValueError):
        return np.array([None if value is None else str(value) for value in values], dtype=object)


def _codes(values: Values) -> NDArray[np.float64]:
    """Numbers as they are, words as their rank by frequency (rare ones share the last), none as NaN."""
    if values.dtype != object:
        return np.asarray(values, dtype=np.float64)
    frequent = Counter(word for word in values.tolist() if word is not None).most_common(MAX_CATEGORIES)
    code = {word: float(rank) for rank, (word, _) in enumerate(frequent)}
    return np.array([np.nan if word is None else code.get(word, float(MAX_CATEGORIES)) for word in values.tolist()])


def _out_of_fold(
    matrix: NDArray[np.float64], is_fake: NDArray[np.bool_], groups: NDArray[Any], seed: int
) -> NDArray[np.float64] | None:
    """Predicted chance of fake (n,) by models that saw no image of the same group; None if there are too few groups."""
    try:
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
        from sklearn.tree import DecisionTreeClassifier
    except ModuleNotFoundError as error:
        raise MissingExtra("an audit", "evaluate", error.name or "sklearn") from error
    fewest = min(len(np.unique(groups[is_fake])), len(np.unique(groups[~is_fake])))
    if fewest < 2:
        return None
    alone = len(np.unique(groups)) == len(groups)
    folds = (StratifiedKFold if alone else StratifiedGroupKFold)(min(FOLDS, fewest), shuffle=True, random_state=seed)
    scores = np.full(len(is_fake), np.nan)
    for train, test in folds.split(matrix, is_fake, None if alone else groups):
        if is_fake[train].all() or not is_fake[train].any():
            return None
        # A tree needs no scaling, takes NaN, and cuts codes of words anywhere. Balanced, so that a fold's class share
        # does not shift its scores against those of other folds; rounded, so that ties stay ties across folds.
        smallest = max(1, min(20, len(train) // 40))
        model = DecisionTreeClassifier(min_samples_leaf=smallest, class_weight="balanced", random_state=seed)
        scores[test] = model.fit(matrix[train], is_fake[train]).predict_proba(matrix[test])[:, 1].round(2)
    return scores


def _best_rule(facts: Facts, rows: NDArray[Any], is_fake: NDArray[np.bool_]) -> tuple[float | None, str]:
    """Accuracy on these images of the rule "each word means its more frequent label", and the rule in words."""
    values = next(iter(facts.columns.values()))
    if len(facts.columns) != 1 or values.dtype != object:
        return None, ""
    counts: dict[Any, list[int]] = {}
    for word, fake in zip(values[rows].tolist(), is_fake.tolist(), strict=True):
        counts.setdefault(word, [0, 0])[fake] += 1
    right = sum(max(pair) for pair in counts.values())
    frequent = sorted(counts.items(), key=lambda item: -sum(item[1]))
    named = [f"{'none' if word is None else word} = {'fake' if n[1] > n[0] else 'real'}" for word, n in frequent[:4]]
    more = f", and {len(counts) - 4} more" if len(counts) > 4 else ""
    return right / len(rows), ", ".join(named) + more
