"""What must hold between the cells of one row, and the cells for which it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .tables import GENERATORS, TABLES, load_table

if TYPE_CHECKING:
    from collections.abc import Mapping

OPEN_TABLES = ("fakebench_interpretation", "fakebench_reasoning", "fakebench_finegrained")


@dataclass(frozen=True, slots=True)
class Identity:
    """`column` = the sum of weight x cell over `terms`.

    Source: recomputed on every row of Tables V-VIII; the papers state none of them.
    """

    column: str
    terms: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        names = [name for name, _ in self.terms]
        weights = {round(weight, 6) for _, weight in self.terms}
        if weights == {round(1 / len(names), 6)}:
            inside = "the generators" if tuple(names) == GENERATORS else ", ".join(names)
            return f"{self.column} = mean of {inside}"
        return f"{self.column} = " + " + ".join(f"{weight:g} {name}" for name, weight in self.terms)

    def value(self, row: Mapping[str, Any]) -> float | None:
        """The right-hand side of a row, or None where a cell is empty."""
        if any(row.get(name) is None for name, _ in self.terms):
            return None
        return float(sum(weight * row[name] for name, weight in self.terms))

    def slack(self, decimals: int) -> float:
        """The largest gap that rounding every printed cell to `decimals` can cause."""
        half_unit = 0.5 * 10.0**-decimals
        return half_unit * (1 + sum(abs(weight) for _, weight in self.terms)) + 1e-9


def _mean(column: str, names: tuple[str, ...]) -> Identity:
    return Identity(column, tuple((name, 1 / len(names)) for name in names))


_DETECTION = (
    _mean("fake", GENERATORS),
    _mean("overall", ("fake", "real")),
    _mean("overall", ("what", "yes_or_no")),
)
_OPEN_ANSWERS = (
    _mean("auto_avg", ("bleu1", "bleu2", "rougeL", "sim")),
    _mean("judge_avg", ("completeness", "preciseness", "relevance")),
    Identity("overall", (("auto_avg", 0.5), ("judge_avg", 0.25))),
)


def identities(name: str) -> tuple[Identity, ...]:
    """The identities that a table's rows obey; none for a table without aggregate columns."""
    if name == "fakebench_detection":
        return _DETECTION
    return _OPEN_ANSWERS if name in OPEN_TABLES else ()


def open_answer_scores(row: Mapping[str, float | None]) -> dict[str, float | None]:
    """`auto_avg`, `judge_avg` and `overall` of a row that holds the seven components.

    overall = (auto_avg + judge_avg / 2) / 2, so that both halves weigh the same in [0, 1]; None where a part
    is missing.

    Source: recomputed from Tables VI-VIII.
    """
    scores: dict[str, float | None] = {}
    for identity in _OPEN_ANSWERS:
        scores[identity.column] = identity.value({**row, **scores})
    return scores


@dataclass(frozen=True, slots=True)
class Misprint:
    """A broken identity: the printed cell, what the others give, and the cells under suspicion."""

    table: str
    model: str
    identity: str
    column: str
    printed: float
    expected: float
    suspects: tuple[str, ...]

    def __str__(self) -> str:
        decimals = TABLES[self.table].decimals
        return (
            f"{self.model}: {self.column} is printed {self.printed:.{decimals}f}, but {self.identity} gives "
            f"{self.expected:.{decimals}f}; suspect: {', '.join(self.suspects)}"
        )


def misprints(name: str) -> list[Misprint]:
    """Every identity of a table that its printed cells break by more than rounding can explain, in row order.

    Human rows are left out: their columns (best, worst, overall) come from different people, so no identity holds.

    Raises: UnknownName for a table there is not.
    """
    found = []
    for row in load_table(name):
        if str(row.get("model", "")).startswith("Humans"):
            continue
        gaps = {i: gap for i in identities(name) if (gap := _gap(i, row)) is not None}
        broken = [i for i, gap in gaps.items() if abs(gap) > i.slack(TABLES[name].decimals)]
        held = [i for i in gaps if i not in broken]
        for identity in broken:
            value = row[identity.column]
            suspects = _suspects(identity, row, held)
            found.append(
                Misprint(name, row["model"], str(identity), identity.column, value, value - gaps[identity], suspects)
            )
    return found


def _gap(identity: Identity, row: Mapping[str, Any]) -> float | None:
    expected, value = identity.value(row), row.get(identity.column)
    return None if expected is None or value is None else float(value) - expected


def _suspects(identity: Identity, row: Mapping[str, Any], held: list[Identity]) -> tuple[str, ...]:
    """The result of a broken identity, or its terms where other identities vouch for the result.

    A result is vouched for if another identity gives it too, or if it enters one whose own result is so confirmed.
    Among the terms those printed as exactly zero come first: an omitted figure is likelier than a wrong one.
    """
    vouched = {i.column for i in held if sum(j.column == i.column for j in held) > 1}
    confirmed = {i.column for i in held} | {name for i in held if i.column in vouched for name, _ in i.terms}
    if identity.column not in confirmed:
        return (identity.column,)
    names = tuple(name for name, _ in identity.terms)
    zeros = tuple(name for name in names if row[name] == 0)
    fresh = tuple(n for n in names if n not in {t for i in held for t, _ in i.terms})
    return zeros or fresh or names


def vlm_detect_means() -> dict[str, float]:
    """The mean accuracy of the VLM-DETECT table over all sets, and over those not seen in training, in %.

    The abstract's 93.41 % "on unseen generation models" is the mean over all, the training generator included.

    Source: ours, by arithmetic from the table.
    """
    rows = load_table("vlm_detect_ldm_trained")
    unseen = [row["accuracy"] for row in rows if not row["seen_in_training"]]
    every = [row["accuracy"] for row in rows]
    return {"all": sum(every) / len(every), "unseen": sum(unseen) / len(unseen)}
