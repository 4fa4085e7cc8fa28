"""The published tables: loaded as printed, checked by their own arithmetic."""

import csv

import pytest

from defake.errors import UnknownName
from defake.published import (
    GENERATORS,
    TABLES,
    identities,
    load_table,
    misprints,
    open_answer_scores,
    printed,
    vlm_detect_means,
)

OPEN_TABLES = ["fakebench_interpretation", "fakebench_reasoning", "fakebench_finegrained"]


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_is_what_was_copied(name, shared):
    """Cell for cell the loader gives the figures of the source file, printed the way it prints them."""
    with (shared / "published" / f"{name}.csv").open() as file:
        source = list(csv.DictReader(file))
    rows = load_table(name)
    assert len(rows) == len(source)
    for row, raw in zip(rows, source, strict=True):
        for key, value in raw.items():
            assert printed(name, key, row[key]) == (value or "-"), (row["model"], key)


def test_table_sizes():
    """Table V has 4 references, 14 LMMs and 6 detectors; Tables VI-VIII the 14 LMMs; VLM-DETECT 7 sets."""
    detection = load_table("fakebench_detection")
    assert [sum(r["group"] == g for r in detection) for g in ("reference", "lmm", "specialized")] == [4, 14, 6]
    lmms = {r["model"] for r in detection if r["group"] == "lmm"}
    for name in OPEN_TABLES:
        assert {r["model"] for r in load_table(name)} == lmms
    assert len(load_table("vlm_detect_ldm_trained")) == 7


def test_the_known_misprints_and_only_those():
    """The identities, up to rounding, break in exactly six places, those the notes on the papers name."""
    found = {
        (m.table.removeprefix("fakebench_"), m.model, m.column, round(m.expected, 3), m.suspects)
        for name in TABLES
        for m in misprints(name)
    }
    assert found == {
        ("detection", "GeminiPro", "overall", 67.55, ("overall",)),
        ("detection", "LLaVA-v1.5", "fake", 29.432, ("DALL-E2", "DALL-E3")),
        ("detection", "Qwen-VL", "overall", 56.17, ("what", "yes_or_no")),
        ("interpretation", "Qwen-VL", "auto_avg", 0.123, ("auto_avg",)),
        ("reasoning", "Q-Instruct", "overall", 0.345, ("overall",)),
    }
    assert sum(len(misprints(name)) for name in TABLES) == 6  # GeminiPro breaks both identities of its overall


def test_identities_against_a_plain_twin():
    """Fake = generator mean, Overall = (Fake+Real)/2 = (What+YesNo)/2, and the open-answer formula, by hand."""
    for row in load_table("fakebench_detection"):
        if row["model"] in ("Humans (best)", "Humans (worst)", "Humans (overall)"):
            continue
        plain = [sum(row[g] for g in GENERATORS) / 10, (row["fake"] + row["real"]) / 2]
        plain.append(None if row["what"] is None else (row["what"] + row["yes_or_no"]) / 2)
        given = [i.value(row) for i in identities("fakebench_detection")]
        assert given == [None if v is None else pytest.approx(v) for v in plain]
    matched = 0
    for name in OPEN_TABLES:
        for row in load_table(name):
            auto = (row["bleu1"] + row["bleu2"] + row["rougeL"] + row["sim"]) / 4
            judge = (row["completeness"] + row["preciseness"] + row["relevance"]) / 3
            ours = open_answer_scores(row)
            assert ours == {
                "auto_avg": pytest.approx(auto),
                "judge_avg": pytest.approx(judge),
                "overall": pytest.approx((auto + judge / 2) / 2),
            }
            matched += abs(row["overall"] - ours["overall"]) <= 0.001
    assert matched == 40  # of 42: the other two are the misprints


def test_a_missing_part_leaves_the_score_empty():
    """An undefined component makes its average and the overall None, never 0."""
    row = {"bleu1": 0.1, "bleu2": 0.1, "rougeL": 0.1, "sim": None}
    row |= {"completeness": 2.0, "preciseness": 1.0, "relevance": 0.0}
    assert open_answer_scores(row) == {"auto_avg": None, "judge_avg": pytest.approx(1.0), "overall": None}


def test_rounding_alone_is_no_misprint():
    """A cell as far off as rounding can put it is accepted; one unit of the last digit further is not."""
    overall = identities("fakebench_reasoning")[2]
    assert overall.slack(3) == pytest.approx(0.000875, abs=1e-8)
    assert identities("fakebench_detection")[0].slack(2) == pytest.approx(0.01, abs=1e-8)


def test_the_two_means_of_vlm_detect():
    """93.41 % includes the generator trained on; over the six unseen sets the mean is 92.45 %."""
    means = vlm_detect_means()
    assert (round(means["all"], 2), round(means["unseen"], 2)) == (93.41, 92.45)


def test_an_unknown_table_lists_the_known():
    """A wrong name is answered with the names there are."""
    for call in (load_table, misprints):
        with pytest.raises(UnknownName, match="unknown published table 'table5'; known: fakebench_detection"):
            call("table5")


def test_a_misprint_reads_as_a_sentence():
    """The text names the model, the cell, the rule and the suspect."""
    (only,) = misprints("fakebench_reasoning")
    assert str(only) == (
        "Q-Instruct: overall is printed 0.335, but overall = 0.5 auto_avg + 0.25 judge_avg gives 0.345; "
        "suspect: overall"
    )
