"""From stored scores to figures with intervals: per generator, their mean, and all together."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from defake.errors import BadConfig, BadDataset
from defake.metrics.calibration import (
    bin_edges,
    reliability_curve,
    tally_brier,
    tally_calibration_error,
)
from defake.metrics.detection import Tally, defined, oracle_threshold, threshold_at_fpr
from defake.metrics.intervals import (
    FEW_SOURCES,
    Estimate,
    clusters_of,
    levels_of,
    percentile_interval,
    resampled_counts,
    share,
    wider,
)
from defake.metrics.prevalence import PREVALENCES, PredictiveValues, predictive_values

from .protocol import Protocol, Threshold, freeze_threshold, split_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from defake.store import Scores

    Floats: TypeAlias = NDArray[np.float64]
    Mask: TypeAlias = NDArray[np.bool_]

# Name -> (heading, whether lower is better). The order is that of the tables.
FIGURES: dict[str, tuple[str, bool]] = {
    "auc": ("AUC", False),
    "ap": ("AP", False),
    "tpr_at_fpr_1": ("TPR at 1 % FPR", False),
    "tpr_at_fpr_5": ("TPR at 5 % FPR", False),
    "eer": ("EER", True),
    "accuracy": ("accuracy", False),
    "balanced_accuracy": ("balanced accuracy", False),
    "f1": ("F1", False),
    "tpr": ("TPR", False),
    "fpr": ("FPR", True),
    "ece": ("ECE", True),
    "brier": ("Brier", True),
}
OVERALL, MEAN, NOT_NAMED = "all", "mean of generators", "(not named)"


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one generator's fakes against photographs; `kind` is `generator`, `mean` or `overall`.

    `n_fake` and `n_real` have a score, `n_unanswered` have none. `oracle` is set only if asked for: the threshold that
    these very labels like best, and its balanced accuracy.
    """

    name: str
    kind: str
    n_fake: int
    n_real: int
    n_unanswered: int
    fake_sources: int
    real_sources: int
    figures: dict[str, Estimate]
    oracle: dict[str, float | None] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything said about one detector's scores on one set; the last row is the whole."""

    detector: str
    threshold: Threshold
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    protocol: Protocol
    reliability: list[dict[str, float]]
    prevalence: tuple[PredictiveValues, ...]
    zero_pixel_null: dict[str, Any] | None = None
    accuracy_unanswered_wrong: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def overall(self) -> Row:
        """All fakes against all photographs."""
        return self.rows[-1]

    def row(self, name: str) -> Row:
        """One generator's row.

        Raises: BadConfig for a name there is not.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise BadConfig(f"no row {name!r}; there are: {', '.join(row.name for row in self.rows)}")

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, `metrics.json` of a run folder."""
        return asdict(self)


def metrics_at(threshold: float) -> dict[str, Callable[[Tally], Floats]]:
    """Every figure as a function of a Tally."""
    return {
        "auc": Tally.auc,
        "ap": Tally.average_precision,
        "tpr_at_fpr_1": partial(Tally.tpr_at_fpr, fpr=0.01),
        "tpr_at_fpr_5": partial(Tally.tpr_at_fpr, fpr=0.05),
        "eer": Tally.equal_error_rate,
        "accuracy": partial(Tally.accuracy, threshold=threshold),
        "balanced_accuracy": partial(Tally.balanced_accuracy, threshold=threshold),
        "f1": partial(Tally.f1, threshold=threshold),
        "tpr": partial(Tally.tpr, threshold=threshold),
        "fpr": partial(Tally.fpr, threshold=threshold),
        "ece": tally_calibration_error,
        "brier": tally_brier,
    }


def evaluate_scores(
    scores: Scores, protocol: Protocol | None = None, *, detector: str = "", own_threshold: float = 0.5
) -> Evaluation:
    """Figures of stored scores: each generator's fakes against the photographs, their mean, and all together.

    Every figure has an interval: accuracy, TPR and FPR at the frozen threshold Wilson's at the effective sample size of
    the clustered images; TPR at a declared FPR the wider of that and the bootstrap's (no fake caught says little of the
    next ones, and no resample knows it); the others a bootstrap by source (`metrics.intervals`). `own_threshold` is
    used where there is no validation split and none was given.

    Raises: BadDataset for a split that is not there or a test part without a score; BadConfig for a protocol that
    contradicts itself.
    """
    protocol = protocol or Protocol()
    is_test, is_val, notes = split_parts(scores.split, protocol)
    threshold = freeze_threshold(scores.where(is_val) if is_val is not None else None, protocol, own_threshold)
    test = scores.where(is_test)
    if not test.answered.any():
        raise BadDataset(f"none of the {len(test)} images to evaluate has a score: {_first_error(test)}")
    sheet = _Sheet(test, protocol, threshold.value)
    rows = sheet.rows()
    whole = rows[-1]
    return Evaluation(
        detector,
        threshold,
        tuple(rows),
        (*notes, *_notes(test, whole)),
        protocol,
        [asdict(b) for b in reliability_curve(test.is_fake, test.fake_score)],
        _prevalence(whole),
        accuracy_unanswered_wrong=_unanswered_wrong(test, threshold.value),
    )


class _Sheet:
    """The test part, with the photographs' resamples that all generators share."""

    def __init__(self, test: Scores, protocol: Protocol, threshold: float) -> None:
        self.test, self.protocol, self.threshold = test, protocol, threshold
        self.metrics = metrics_at(threshold)
        self.rng = np.random.default_rng(protocol.seed)
        self.clusters = clusters_of(test.source)
        self.fakes, self.reals = test.is_fake & test.answered, ~test.is_fake & test.answered
        self.levels, placed = levels_of(
            test.fake_score[test.answered], test.is_fake[test.answered], [threshold, *bin_edges()]
        )
        self.where = np.zeros(len(test), dtype=np.int64)
        self.where[test.answered] = placed
        self.real_counts = self._resample(self.reals)

    def rows(self) -> list[Row]:
        """Generators by name, their mean, the whole."""
        names = np.array([name or NOT_NAMED for name in self.test.generator], dtype=object)
        found: list[Row] = []
        drawn: list[dict[str, Floats]] = []
        of_fakes = sorted(set(names[self.test.is_fake]))
        for name in [] if of_fakes == [NOT_NAMED] else of_fakes:
            chosen = self.test.is_fake & (names == name)
            row, values = self._row(name, "generator", chosen, self._photographs(chosen))
            found.append(row)
            drawn.append(values)
        if len(found) > 1:
            found.append(self._mean(found, drawn))
        found.append(self._row(OVERALL, "overall", self.test.is_fake, ~self.test.is_fake)[0])
        return found

    def _photographs(self, fakes: Mask) -> Mask:
        if self.protocol.reals == "all":
            return ~self.test.is_fake
        sources = {source for source in self.test.source[fakes] if source}
        return np.asarray(~self.test.is_fake & np.array([source in sources for source in self.test.source], dtype=bool))

    def _resample(self, rows: Mask) -> NDArray[np.float32]:
        n = self.protocol.n_resamples
        return resampled_counts(self.where[rows], len(self.levels), self.clusters[rows], n_resamples=n, rng=self.rng)

    def _row(self, name: str, kind: str, fakes: Mask, reals: Mask) -> tuple[Row, dict[str, Floats]]:
        test, both = self.test, (fakes | reals) & self.test.answered
        fakes_in, reals_in = fakes & test.answered, reals & test.answered
        exact = Tally.of(test.is_fake[both], test.fake_score[both])
        shared = np.array_equal(reals_in, self.reals)
        resampled = Tally(
            self.levels, self._resample(fakes_in), self.real_counts if shared else self._resample(reals_in)
        )
        values = {name: metric(resampled) for name, metric in self.metrics.items()}
        figures = {name: self._estimate(defined(metric(exact)), values[name]) for name, metric in self.metrics.items()}
        called = test.fake_score >= self.threshold
        for key, rows, hit in (
            ("accuracy", both, called == test.is_fake), ("tpr", fakes_in, called), ("fpr", reals_in, called),
        ):  # fmt: skip
            figures[key] = share(hit[rows], self.clusters[rows], self.protocol.confidence)
        for key, fpr in (("tpr_at_fpr_1", 0.01), ("tpr_at_fpr_5", 0.05)):
            if figures[key].value is not None:
                at = threshold_at_fpr(test.is_fake[both], test.fake_score[both], fpr)
                caught = share((test.fake_score >= at)[fakes_in], self.clusters[fakes_in], self.protocol.confidence)
                figures[key] = wider(figures[key], caught)
        oracle = self._oracle(exact, test.is_fake[both], test.fake_score[both]) if self.protocol.oracle else None
        counts = self._counts(fakes_in, reals_in, (fakes | reals) & ~test.answered)
        return Row(name=name, kind=kind, **counts, figures=figures, oracle=oracle), values

    def _estimate(self, value: float | None, values: Floats) -> Estimate:
        if value is None:
            return Estimate(None)
        return Estimate(value, *percentile_interval(values, value, self.protocol.confidence), "bootstrap")

    def _mean(self, rows: list[Row], drawn: list[dict[str, Floats]]) -> Row:
        figures: dict[str, Estimate] = {}
        for name in self.metrics:
            known = [row.figures[name].value for row in rows]
            value = None if None in known else float(np.mean([v for v in known if v is not None]))
            figures[name] = self._estimate(value, np.mean([values[name] for values in drawn], axis=0))
        counts = self._counts(self.fakes, self.reals, ~self.test.answered)
        return Row(name=MEAN, kind="mean", **counts, figures=figures, oracle=None)

    def _counts(self, fakes: Mask, reals: Mask, unanswered: Mask) -> dict[str, int]:
        return {
            "n_fake": int(fakes.sum()),
            "n_real": int(reals.sum()),
            "n_unanswered": int(unanswered.sum()),
            "fake_sources": len(np.unique(self.clusters[fakes])),
            "real_sources": len(np.unique(self.clusters[reals])),
        }

    @staticmethod
    def _oracle(exact: Tally, is_fake: Mask, scores: Floats) -> dict[str, float | None]:
        best = oracle_threshold(is_fake, scores)
        return {
            "oracle_threshold": best,
            "oracle_balanced_accuracy": None if best is None else defined(exact.balanced_accuracy(best)),
        }


def _first_error(test: Scores) -> str:
    errors = [error for error in test.error if error]
    return str(errors[0]) if errors else "the detector gave no answer"


def _notes(test: Scores, whole: Row) -> list[str]:
    notes = []
    if whole.n_unanswered:
        errors = sum(error is not None for error in test.error[~test.answered])
        notes.append(
            f"{whole.n_unanswered} of {len(test)} images have no score ({errors} with an error) and are left out"
        )
    if not (whole.n_fake and whole.n_real):
        there = "generated images" if whole.n_fake else "photographs"
        notes.append(f"only {there} have a score: what needs both classes is blank")
    few = [
        f"{n} {'sources' if n > 1 else 'source'} of {kind}"
        for n, kind in ((whole.fake_sources, "generated images"), (whole.real_sources, "photographs"))
        if 0 < n < FEW_SOURCES
    ]
    if few:
        notes.append(f"{' and '.join(few)}: intervals say little of further sources")
    if not any(test.source):
        notes.append("no row names a source: intervals take every image as independent")
    return notes


def _prevalence(whole: Row) -> tuple[PredictiveValues, ...]:
    tpr, fpr = whole.figures["tpr"].value, whole.figures["fpr"].value
    if tpr is None or fpr is None:
        return ()
    return tuple(predictive_values(tpr, fpr, prevalence) for prevalence in PREVALENCES)


def _unanswered_wrong(test: Scores, threshold: float) -> float | None:
    right = test.answered & ((test.fake_score >= threshold) == test.is_fake)
    return float(right.mean()) if len(test) else None
