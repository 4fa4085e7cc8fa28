"""Questions: prompts, parser, criteria, forced choice."""

import json
import math
import time
from collections import Counter

import pytest
from golden_answers import GOLDEN

from defake.errors import BadConfig
from defake.questions import (
    CRITERION_IDS,
    Outcome,
    Prompts,
    Reading,
    criterion_of,
    criterion_question,
    detection_question,
    fault_finding_question,
    inference_question,
    own_criterion_question,
    p_fake,
    polarity_pair,
    question_type,
    read_faults,
    read_open,
    read_verdict,
)
from defake.records import Label

YES_MEANS = {"what": None, "fake?": Label.FAKE, "real?": Label.REAL}


@pytest.mark.parametrize(("asked", "text", "expected"), GOLDEN, ids=lambda x: repr(x)[:40])
def test_golden_answers(asked, text, expected):
    """Every golden answer is read as written down, as a verdict or as a typed outcome."""
    got = read_verdict(text, yes_means=YES_MEANS[asked])
    assert str(got.label or got.outcome) == expected, got


def test_golden_answers_survive_the_usual_dress():
    """Surrounding blank lines, bold type and a repeated prompt change no golden verdict."""
    for asked, text, expected in GOLDEN:
        kind = {"what": "what", "fake?": "fake_yn", "real?": "real_yn"}[asked]
        question = detection_question(kind)
        for dressed in (f"\n\n{text}\n", f"{question.prompt}\n{text}"):
            got = question.read(dressed)
            assert str(got.label or got.outcome) == expected, (dressed, got)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No", Label.REAL),  # the answer came before the cut
        ("Yes, because the", Label.FAKE),
        ("The texture of this image", Outcome.TRUNCATED),
        ("It might be fake. But then the", Outcome.TRUNCATED),  # reasoning was cut off before its verdict
        ("Answer: yes\nThe", Label.FAKE),
        ("", Outcome.TRUNCATED),
    ],
)
def test_a_cut_off_answer_counts_only_with_a_verdict_in_front(text, expected):
    """A verdict said before the cut counts; words of unfinished reasoning do not."""
    got = read_verdict(text, yes_means=Label.FAKE, stop_reason="max_tokens")
    assert (got.label or got.outcome) == expected


def test_a_content_filter_is_a_refusal():
    """The provider's filter is read as a refusal, whatever text came along."""
    assert read_verdict("fake", stop_reason="content_filter").outcome is Outcome.REFUSAL
    assert read_open("fine", stop_reason="content_filter").outcome is Outcome.REFUSAL


@pytest.mark.parametrize(
    "text", ["the image is fake " * 3000, "not " * 9000, "{" * 50000, "<think>" * 9000, "but " * 9000]
)
def test_long_answers_take_no_time(text):
    """No answer, however odd, holds up the run."""
    start = time.perf_counter()
    read_verdict(text, yes_means=Label.FAKE)
    read_faults(text)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("None.", Label.REAL),
        ("No visible signs of AI generation.", Label.REAL),
        ("The image does not show any obvious anomalies.", Label.REAL),
        ("This is not a fake image; it appears to be a real photograph.", Label.REAL),
        ("没有明显的瑕疵。", Label.REAL),
        ("This is a fake image because: the hands melt.", Label.FAKE),
        ("There are no shadows under the car, and the text is garbled.", Label.FAKE),
        ("I'm sorry, but I can't assist with that.", Outcome.REFUSAL),
        ("", Outcome.UNPARSED),
    ],
)
def test_faults_are_named_or_not(text, expected):
    """Fault-finding answers tell whether faults are claimed, so that claims on photographs can be counted."""
    got = read_faults(text)
    assert (got.label or got.outcome) == expected


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("The texture is waxy.", "stop", Outcome.OK),
        ("The texture is", "max_tokens", Outcome.TRUNCATED),
        (" \n", "stop", Outcome.UNPARSED),
        ("As an AI language model, I cannot see.", "stop", Outcome.REFUSAL),
        ("<think>long", "stop", Outcome.UNPARSED),
    ],
)
def test_open_answers_have_an_outcome_too(text, stop, expected):
    """An open answer is there, cut off, empty or declined."""
    assert read_open(text, stop_reason=stop).outcome is expected


def test_a_verdict_needs_the_outcome_ok():
    """A reading cannot hold a verdict and a failure."""
    with pytest.raises(BadConfig, match="only an outcome 'ok'"):
        Reading(Outcome.REFUSAL, Label.FAKE)


@pytest.mark.shared
def test_paper_prompts_are_the_released_ones(shared):
    """The paper prompts are, byte for byte, those of the released query files."""
    rows = json.loads((shared / "fakebench" / "FakeClass.json").read_text())
    assert {r["question"] for r in rows} == {detection_question(k).prompt for k in ("what", "fake_yn", "real_yn")}
    for row in rows:
        question = detection_question(question_type(row["question"]))
        assert question.right_answer(Label.FAKE if row["authenticity"] == 0 else Label.REAL) == row["answer"]
    clues = json.loads((shared / "fakebench" / "FakeClue.json").read_text())
    assert {r["faultfinding_mode"] for r in clues} == {fault_finding_question().prompt}
    assert {r["inference_mode"] for r in clues} == {inference_question().prompt}


def test_the_paper_says_the_fakeqa_phrase_twice():
    """FakeQA's paper prompt is what the released script sends: prefix, text up to the first "?", phrase again."""
    got = criterion_question("How is the texture regarding the authenticity of this image?")
    assert got.prompt == (
        "Answer this question without itemizing: How is the texture regarding the authenticity of this image "
        "regarding the image authenticity?"
    )
    assert criterion_question("How is the texture? ").prompt == (
        "Answer this question without itemizing: How is the texture regarding the image authenticity?"
    )
    fixed = criterion_question("How is the texture? ", Prompts.FIXED).prompt
    assert fixed.count("image") == 1
    assert "texture" in fixed


@pytest.mark.shared
def test_released_questions_map_to_criteria_by_keyword(shared):
    """All 41,971 released questions name a criterion; 494 stand at another criterion's index.

    489 of them name another criterion in its own words; the other 5 say realistic, convincing or colour. Counting
    "Are the reflections realistic" at index 13 (unrealistic) as in place leaves the 488 that were counted before.
    """
    rows = json.loads((shared / "fakebench" / "FakeQA.json").read_text())
    misplaced = Counter()
    total = 0
    for row in rows:
        for place, expected in enumerate(CRITERION_IDS, start=1):
            if wording := row.get(f"Q{place}"):
                total += 1
                got = criterion_of(wording)
                assert got is not None, wording
                misplaced[wording] += got != expected
    loose = [w for w in misplaced if criterion_of(w) in ("unrealistic", "overall_tone")
             and not any(word in w for word in ("unrealis", "tone"))]  # fmt: skip
    assert (total, sum(misplaced.values())) == (41_971, 494)
    assert sum(misplaced[w] for w in loose) == 5
    reflections = "Are the reflections realistic regarding the authenticity of this image?"
    assert sum(misplaced.values()) - 5 - misplaced[reflections] == 488


def test_every_criterion_has_a_question_of_its_own():
    """The question made for a criterion maps back to it, in both prompt sets."""
    for criterion_id in CRITERION_IDS:
        for prompts in Prompts:
            assert own_criterion_question(criterion_id, prompts).criterion == criterion_id


def test_unknown_wordings_are_refused():
    """A question that names no criterion, and an unknown FakeClass question, raise."""
    with pytest.raises(BadConfig, match="no telltale criterion"):
        criterion_question("How are you?")
    with pytest.raises(BadConfig, match="not a question of FakeClass"):
        question_type("Fake?")
    with pytest.raises(BadConfig, match="unknown question type"):
        detection_question("why")


def test_a_polarity_pair_asks_both_ways():
    """The same verdict takes opposite words in the two questions of a pair."""
    for prompts in Prompts:
        for reasons_first in (False, True):
            fake, real = polarity_pair(prompts, reasons_first=reasons_first)
            assert (fake.right_answer(Label.FAKE), real.right_answer(Label.FAKE)) == ("yes", "no")
            assert (fake.read("Yes").label, real.read("Yes").label) == (Label.FAKE, Label.REAL)
            assert fake.prompt != real.prompt


def test_reasons_first_announces_the_answer():
    """The chain-of-thought variant asks for a line the parser reads, and drops "one word"."""
    for prompts in Prompts:
        question = detection_question("what", prompts, reasons_first=True)
        assert "one word" not in question.prompt
        assert "Answer: fake or real" in question.prompt
        assert question.read("It may be real at first.\nAnswer: fake").label is Label.FAKE


def log(**probabilities):
    """Alternatives from probabilities."""
    return {token: math.log(p) for token, p in probabilities.items()}


def test_forced_choice_by_hand():
    """P(fake) is the share of fake among both words, spellings summed: (0.5 + 0.1) / (0.6 + 0.2) = 0.75."""
    question = detection_question("what")
    table = [{"Fake": math.log(0.5), " fake": math.log(0.1), "Real": math.log(0.2), "The": math.log(0.2)}]
    assert p_fake(question, ["Fake"], table) == pytest.approx(0.75)


def test_forced_choice_follows_the_polarity():
    """Yes counts for fake in one question of a pair and for real in the other."""
    fake, real = polarity_pair()
    table = [log(Yes=0.8, No=0.2)]
    assert p_fake(fake, ["Yes"], table) == pytest.approx(0.8)
    assert p_fake(real, ["Yes"], table) == pytest.approx(0.2)


def test_forced_choice_bounds_the_word_that_is_not_listed():
    """A word missing from the alternatives gets the least probability listed: 0.9 / (0.9 + 0.05)."""
    assert p_fake(detection_question("what"), ["fake"], [log(fake=0.9, the=0.05)]) == pytest.approx(0.9 / 0.95)


def test_forced_choice_is_undefined_where_it_would_mislead():
    """No answer word, no alternatives, or a negated word: None, never a number."""
    question = detection_question("what")
    assert p_fake(question, ["It", " is"], [log(It=1.0), log(**{" is": 1.0})]) is None
    assert p_fake(question, [], []) is None
    negated = [log(not_=0.9), log(fake=0.9, real=0.1)]
    assert p_fake(question, ["not", " fake"], negated, Label.REAL) is None


def test_forced_choice_after_reasons_takes_the_last_word():
    """With reasons first the announced word counts, not one in the reasons."""
    question = detection_question("what", reasons_first=True)
    table = [log(real=0.9, fake=0.1), log(x=1.0), log(real=0.3, fake=0.7)]
    assert p_fake(question, ["real", "x", "fake"], table, Label.FAKE) == pytest.approx(0.7)
