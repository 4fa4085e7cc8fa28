"""Records refuse what makes no sense, at the door."""

import json
from dataclasses import FrozenInstanceError

import pytest

from defake.errors import BadConfig, BadDataset, BadImage
from defake.records import Label, Problem, Sample, TileScore, Verdict, VerdictWord


def test_a_label_is_one_of_two_words():
    """Case and blanks are forgiven; 0 and 1 are not, because formats disagree on them."""
    assert Label.parse(" Fake ") is Label.FAKE
    for word in ("0", 1, "generated", "", None):
        with pytest.raises(BadDataset, match="expected 'fake' or 'real'"):
            Label.parse(word)


def test_a_verdict_has_a_score_or_an_error():
    """Both, neither, or half of a verdict is refused."""
    problem = Problem.of(BadImage("empty", "nothing in it"))
    Verdict("a", "d", VerdictWord.FAKE, 0.9)
    Verdict("a", "d", error=problem)
    for fields in (
        {},
        {"verdict": VerdictWord.FAKE},
        {"fake_score": 0.5},
        {"verdict": VerdictWord.REAL, "fake_score": 0.1, "error": problem},
    ):
        with pytest.raises(BadConfig):
            Verdict("a", "d", **fields)


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan"), float("inf"), "0.5"])
def test_a_score_is_a_probability(score):
    """Nothing outside [0, 1] becomes a fake_score."""
    with pytest.raises(BadConfig, match=r"\[0, 1\]"):
        Verdict("a", "d", VerdictWord.FAKE, score)
    with pytest.raises(BadConfig):
        TileScore(0, 0, 5, 5, score)


def test_a_tile_lies_in_the_image():
    """Negative corners and empty rectangles are refused."""
    for box in ((-1, 0, 5, 5), (0, 0, 0, 5)):
        with pytest.raises(BadConfig, match="tile"):
            TileScore(*box, 0.5)


def test_records_are_frozen():
    """A sample cannot be changed after it was checked."""
    sample = Sample("a.png", Label.REAL)
    with pytest.raises(FrozenInstanceError):
        sample.path = "b.png"
    with pytest.raises(BadDataset):
        Sample("", Label.REAL)
    with pytest.raises(BadDataset):
        Sample("a", "real")


def test_the_json_form_keeps_its_order():
    """Keys come as documented, and time stays out."""
    row = Verdict("a", "d", VerdictWord.REAL, 0.25, elapsed_s=1.0).as_dict()
    assert list(row) == ["path", "verdict", "fake_score", "detector", "reasons", "tiles", "provenance", "error"]
    assert json.loads(json.dumps(row))["verdict"] == "real"
