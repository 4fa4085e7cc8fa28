"""The audit: probes, duplicates and source confounding, and what they mean in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .duplicates import Duplicates, find_duplicates
from .headers import read_headers
from .probes import Facts, Probe, header_facts, path_facts, run_probe, together

if TYPE_CHECKING:
    from collections.abc import Callable

    from defake.datasets.manifest import Manifest, RowProblem

# Lower end of a probe's interval. Source: ours; 0.60 is where the field asks to refuse a score (field practice for
# shortcut probes), 0.75 is beyond the average LMM of FakeBench.
LEAK, FORMATS = 0.60, 0.75
# Share of images from collections that hold one class only, above which label and collection cannot be told apart.
CONFOUNDED = 0.5
# Rows the null of `evaluate` is worked out from; it runs with every evaluation.
NULL_IMAGES = 4000


@dataclass(frozen=True, slots=True)
class SourceConfounding:
    """Whether the label follows from the collection alone.

    `one_class_share`: share of the images with a source whose source holds one class only; None where no image has one.
    `rule_accuracy`: what "each source means its more frequent label" scores on them.
    """

    n_sources: int
    n_with_source: int
    one_class_sources: int
    one_class_share: float | None
    rule_accuracy: float | None


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything found; `verdict` is the sentence to quote, `sentences` the grounds."""

    n_fake: int
    n_real: int
    problems: tuple[RowProblem, ...]
    missing: tuple[str, ...]
    unreadable: tuple[str, ...]
    probes: tuple[Probe, ...]
    sources: SourceConfounding
    duplicates: Duplicates | None
    verdict: str
    sentences: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def audit_manifest(
    manifest: Manifest,
    *,
    rng: np.random.Generator,
    duplicates: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> Audit:
    """Probe a data set for shortcuts; only the search for near-duplicates decodes pixels.

    `progress(step, done, total)`. Where files are missing, what stands in the manifest is probed, and the headers of
    the files that are there.
    """
    tell = progress or (lambda _step, _done, _total: None)
    tell("headers", 0, len(manifest))
    facts, missing, unreadable = _facts(manifest)
    probes = []
    for number, one in enumerate(facts):
        tell("probes", number, len(facts))
        probes.append(run_probe(one, manifest, rng=rng))
    there = len(manifest) - len(missing)
    found = None
    if duplicates and there:
        present = np.ones(len(manifest), bool)
        present[list(missing)] = False
        found = find_duplicates(manifest.where(present), progress=lambda done: tell("duplicates", done, there))
    sources = confounding(manifest)
    verdict, sentences = in_words(probes, sources, found)
    return Audit(
        n_fake=int(manifest.is_fake.sum()),
        n_real=int((~manifest.is_fake).sum()),
        problems=manifest.problems,
        missing=tuple(manifest.paths[i] for i in missing),
        unreadable=tuple(f"{manifest.paths[i]}: {why}" for i, why in unreadable.items()),
        probes=tuple(probes),
        sources=sources,
        duplicates=found,
        verdict=verdict,
        sentences=tuple(sentences),
    )


def zero_pixel_null(manifest: Manifest, *, rng: np.random.Generator) -> Probe:
    """How well all file facts together tell the label: what a detector's AUC must be read against.

    From at most 4,000 images, drawn at random; whole sources held out where each class has two or more.
    """
    if len(manifest) > NULL_IMAGES:
        chosen = np.zeros(len(manifest), bool)
        chosen[rng.choice(len(manifest), NULL_IMAGES, replace=False)] = True
        manifest = manifest.where(chosen)
    return run_probe(together(_facts(manifest)[0]), manifest, rng=rng)


def confounding(manifest: Manifest) -> SourceConfounding:
    """Count how many images come from collections that hold one class only."""
    has = np.array([source is not None for source in manifest.sources], dtype=bool)
    names, codes = np.unique(manifest.sources[has].astype(str), return_inverse=True)
    if not len(names):
        return SourceConfounding(0, 0, 0, None, None)
    fakes = np.bincount(codes, weights=manifest.is_fake[has], minlength=len(names))
    sizes = np.bincount(codes, minlength=len(names))
    pure = (fakes == 0) | (fakes == sizes)
    right = float(np.maximum(fakes, sizes - fakes).sum() / sizes.sum())
    return SourceConfounding(len(names), int(has.sum()), int(pure.sum()), float(sizes[pure].sum() / sizes.sum()), right)


def in_words(probes: list[Probe], sources: SourceConfounding, duplicates: Duplicates | None) -> tuple[str, list[str]]:
    """The verdict and its grounds, worst first."""
    known = sorted((p for p in probes if p.low is not None), key=lambda p: -(p.low or 0))
    leaks = [p for p in known if (p.low or 0) >= LEAK]
    hidden = [p for p in known if p not in leaks and p.by_source and (p.auc_same_sources or 0) >= FORMATS]
    sentences = [_leak(p) for p in leaks]
    if hidden:
        names = ", ".join(f"{p.probe} ({p.auc_same_sources:.2f})" for p in hidden)
        sentences.append(
            f"AUC at or above {FORMATS:.2f} as long as the same sources are on both sides, and not shown to carry over"
            f" to other sources: {names}."
        )
    if sources.one_class_share is not None and sources.one_class_share >= CONFOUNDED:
        sentences.append(
            f"{sources.one_class_share:.0%} of the images come from sources that hold one class only: a detector can"
            f" learn the source instead of the class."
        )
    if duplicates and duplicates.n_across_splits:
        sentences.append(
            f"{duplicates.n_across_splits} pairs of near-duplicates lie across splits"
            f" ({duplicates.images_in_pairs_across_splits} images)."
        )
    if duplicates and duplicates.n_contradicting:
        sentences.append(f"{duplicates.n_contradicting} pairs of near-duplicates have contradicting labels.")
    return _verdict(known, leaks, hidden), sentences


def _verdict(known: list[Probe], leaks: list[Probe], hidden: list[Probe]) -> str:
    if not known:
        return "Nothing can be told: a probe needs at least two images of each class."
    worst = known[0]
    if worst.low is not None and worst.low >= FORMATS:
        return f"This data set is about file formats: '{worst.probe}' alone tells the label at AUC {_auc(worst)}."
    if leaks:
        return f"This data set leaks: '{worst.probe}' alone tells the label at AUC {_auc(worst)}."
    if hidden:
        return (
            f"This data set may be about file formats: within its sources '{hidden[0].probe}' tells the label at AUC"
            f" {hidden[0].auc_same_sources:.2f}; across sources it is too small to tell ({_auc(hidden[0])})."
        )
    return f"No leak found: no probe's AUC is {LEAK:.2f} or more with 95 % confidence."


def _leak(probe: Probe) -> str:
    held_out = "whole sources held out" if probe.by_source else "images held out, sources not known or too few"
    rule = f" The rule {probe.rule} scores {probe.rule_accuracy:.2%}." if probe.rule_accuracy is not None else ""
    return f"{probe.probe}: AUC {_auc(probe)}, {held_out}.{rule}"


def _auc(probe: Probe) -> str:
    return f"{probe.auc:.3f} ({probe.low:.3f} to {probe.high:.3f})"


def _facts(manifest: Manifest) -> tuple[list[Facts], list[int], dict[int, str]]:
    """Every probe's facts, the indices of missing files, and why others have no readable header."""
    headers, failures = read_headers([manifest.resolve(i) for i in range(len(manifest))])
    missing = [index for index, why in failures.items() if why == "no such file"]
    facts = [*path_facts(manifest), *header_facts(headers)]
    if len(facts) > 1:
        facts.append(together(facts))
    return facts, missing, {index: why for index, why in failures.items() if why != "no such file"}
