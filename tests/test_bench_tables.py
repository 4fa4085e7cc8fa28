"""Runs, tables, charts and submissions from real Inspect logs of scripted models."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import typer
from bench_logs import detection_samples, open_samples, scripted, strict_judge, write_log
from typer.testing import CliRunner

from defake.bench.charts import draw_bars, draw_radar, draw_radar_of_parts
from defake.bench.judging import judge_logs, run_baselines, warnings_for
from defake.bench.ranking import halves_mean, is_better, mean_by_image, rank
from defake.bench.rendering import to_csv, to_json, to_markdown
from defake.bench.runs import Row, Run, asked, read_runs
from defake.bench.submission import write_submission
from defake.bench.tables import breakdown_table, paper_table, same_generator, signal_table
from defake.cli._bench_tables import add_commands
from defake.errors import BadConfig, BadDataset, DefakeError
from defake.metrics.intervals import Estimate
from defake.published import GENERATORS, load_table
from defake.questions.answers import Outcome
from defake.records import Label

# Inspect leaves its own streams to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Unclosed <MemoryObject:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """One run folder: detection with a refusal and a failed call, FakeQA judged by a strict judge."""
    folder = tmp_path_factory.mktemp("run")
    patch = pytest.MonkeyPatch()
    patch.setenv("INSPECT_CACHE_DIR", str(folder / "cache"))

    def detect(text):
        i = int(text[1:])
        if i == 11:
            return ConnectionError("no route to host")
        return {0: "I cannot say", 1: "real 0.4", 7: "fake 0.7"}.get(i, "fake 0.9" if i < 6 else "real 0.1")

    def explain(text):
        i, criterion = text.split()
        return f"The {criterion} of number {i} is jagged." if i in "01" else "It is a natural picture."

    write_log(folder / "logs", detection_samples(), detect)
    write_log(folder / "logs", open_samples("fakeqa"), explain, judge=strict_judge(), opened=True)
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def run(logs):
    """The run of that folder."""
    (found,) = read_runs([logs])
    return found


def test_every_question_is_read_with_one_outcome(run):
    """Answers, refusals and failed calls come back as logged, with metadata, scores and the judge's name."""
    rows = {row.id: row for row in run.of("fakeclass")}
    assert len(rows) == 12
    assert rows["0.png|q"].outcome is Outcome.REFUSAL
    assert rows["11.png|q"].outcome is Outcome.INFRASTRUCTURE
    assert (rows["1.png|q"].verdict, rows["1.png|q"].p_fake) == (Label.REAL, 0.4)
    assert (rows["2.png|q"].generator, rows["2.png|q"].content) == ("dalle3", ("things", "photo"))
    assert (run.model, run.judge) == ("mockllm/candidate", "mockllm/referee")
    first = next(row for row in run.of("fakeqa") if row.id == "0|edge")
    assert first.scores["completeness"] == 2
    assert first.scores["sim"] is None
    assert first.reference == "The edge of number 0 is jagged."


def test_table_v_by_hand(run):
    """4 of 6 fakes right, 4 of 5 answered photographs, the failed call not scored, the refusal wrong."""
    table = paper_table("fakeclass", [run])
    (ours,) = [line for line in table.lines if line.ours]
    assert ours.n == 11
    assert ours.cells["fake"].value == pytest.approx(100 * 4 / 6)
    assert ours.cells["real"].value == pytest.approx(100 * 4 / 5)
    assert ours.cells["overall"].value == pytest.approx(100 * (4 / 6 + 4 / 5) / 2)
    assert ours.cells["DALL-E3"].value == pytest.approx(100 * 2 / 3)
    assert ours.cells["Glide"].value == pytest.approx(100 * 2 / 3)
    assert ours.cells["proGAN"].value is None
    assert ours.cells["overall"].low < ours.cells["overall"].value < ours.cells["overall"].high
    assert any("1 of 12 questions met an infrastructure error" in note for note in table.notes)


def test_a_run_on_other_images_says_so(run):
    """Beside the published rows, a run on a set that is not FakeBench, or on a part of it, is marked."""
    own = replace(run, datasets=("holiday pictures",))
    part = replace(run, datasets=("FakeBench",))
    assert any("of holiday pictures, not FakeBench" in note for note in paper_table("fakeclass", [own]).notes)
    assert any("of FakeBench's 6,000 images" in note for note in paper_table("fakeclass", [part]).notes)


def test_published_rows_are_printed_as_they_are(run):
    """Every published cell of every table appears with the paper's decimals; misprints carry a star and a note."""
    for task, name in (("fakeclass", "fakebench_detection"), ("fakeqa", "fakebench_finegrained")):
        table = paper_table(task, [run])
        text = to_markdown(table)
        places = 2 if table.percent else 3
        for row in load_table(name):
            (line,) = [x for x in text.splitlines() if f"| {row['model']} |" in x]
            for column in table.columns:
                assert row[column] is None or f"{row[column]:.{places}f}" in line
    assert "0.00* | 0.00*" in to_markdown(paper_table("fakeclass", []))
    assert "0.335*" in to_markdown(paper_table("inference", []))


def test_published_ties_are_those_of_the_notes():
    """InstructBLIP and LLaVA are a tie, as are Visual-GLM and IDEFICS; GPT-4V stands alone at the top."""
    ranks = {line.model: line.rank for line in paper_table("fakeclass", []).lines if line.rank}
    assert ranks["InstructBLIP"].group == ranks["LLaVA-v1.5"].group
    assert ranks["Visual-GLM"].group == ranks["IDEFICS-Instruct"].group
    assert (ranks["GPT-4V"].best, ranks["GPT-4V"].worst) == (1, 1)
    assert "Humans (overall)" not in ranks


def test_ranks_by_hand():
    """Three values, the first two within each other's intervals: places 1 to 2 are shared, the third is surely last."""
    values = [Estimate(0.50, 0.45, 0.55), Estimate(0.52, 0.47, 0.57), Estimate(0.30, 0.25, 0.35), Estimate(None)]
    ranks = rank(values)
    assert [(r.place, r.best, r.worst, r.group) for r in ranks[:3]] == [(2, 1, 2, 1), (1, 1, 2, 1), (3, 3, 3, 2)]
    assert ranks[3] is None
    assert str(ranks[0]) == "2 (1-2)"
    assert not is_better(values[1], values[0])
    assert is_better(values[0], values[2])


def test_newcombe_against_a_published_case():
    """Newcombe (1998), example a: 56/70 against 48/80 differ by 0.2000 with lower limit 0.0524."""
    from defake.metrics.intervals import wilson

    first, second = (Estimate(k / n, *wilson(k, n)) for k, n in ((56, 70), (48, 80)))
    lower = first.value - second.value - np.hypot(first.value - first.low, second.high - second.value)
    assert lower == pytest.approx(0.0524, abs=5e-5)
    assert is_better(first, second)


def test_mean_by_image_equals_its_slow_twin():
    """The interval follows from the spread of image totals; with one answer an image it is the usual standard error."""
    rng = np.random.default_rng(0)
    values = list(rng.normal(size=40))
    plain = mean_by_image(values, [str(i) for i in range(40)])
    assert plain.high - plain.value == pytest.approx(1.959964 * np.std(values, ddof=1) / np.sqrt(40), rel=1e-6)
    twice = mean_by_image([v for v in values for _ in range(2)], [str(i) for i in range(40) for _ in range(2)])
    assert twice.high == pytest.approx(plain.high)  # saying everything twice makes nothing surer
    assert mean_by_image([None, None], ["a", "b"]) == Estimate(None)
    assert mean_by_image([1.0, None], ["a", "b"]) == Estimate(1.0)


def test_halves_mean_by_hand():
    """(0.4 + 0.8)/2 with margins 0.03 and 0.04: margin 0.025."""
    found = halves_mean(Estimate(0.4, 0.37, 0.43), Estimate(0.8, 0.76, 0.84))
    assert (found.value, found.low, found.high) == (pytest.approx(0.6), pytest.approx(0.575), pytest.approx(0.625))
    assert halves_mean(Estimate(None), Estimate(0.5)) == Estimate(None)


def test_open_table_follows_the_formula(run):
    """Judge columns are means over answers: 4 of 8 earned 2; without similarity there is no overall, never a 0."""
    table = paper_table("fakeqa", [run], published=False)
    (ours,) = table.lines
    assert ours.cells["completeness"].value == 1.0
    assert ours.cells["judge_avg"].value == 1.0
    assert ours.cells["sim"].value is None
    assert ours.cells["overall"].value is None
    assert "| - |" in to_markdown(table)
    assert any(note.startswith("bleu1: BLEU-1|") for note in table.notes)


def test_a_whole_overall_carries_its_interval():
    """With all parts the overall is the formula of the column means."""
    rows = tuple(
        Row(str(i), "fakeqa", Label.FAKE, Outcome.OK, image=str(i), scores={
            "auto_avg": 0.1 * i, "judge_avg": 1.0, "bleu1": 0.1 * i, "bleu2": 0.1 * i, "rougeL": 0.1 * i,
            "sim": 0.1 * i, "completeness": 1.0, "preciseness": 1.0, "relevance": 1.0, "overall": (0.1 * i + 0.5) / 2})
        for i in range(5)
    )  # fmt: skip
    (line,) = [x for x in paper_table("fakeqa", [Run("m", rows)]).lines if x.ours]
    assert line.cells["overall"].value == pytest.approx((0.2 + 0.5) / 2)
    assert line.cells["overall"].low < 0.35 < line.cells["overall"].high
    assert line.rank.place == 12


def test_signal_table_puts_all_kinds_together(run):
    """AUC, d', c and coverage of ours by hand; the paper's d' as in the notes: GeminiPro 2.08 above GPT-4V 2.02."""
    table = signal_table([run])
    (ours,) = [line for line in table.lines if line.ours]
    assert ours.cells["coverage"].value == pytest.approx(100 * 10 / 11)
    assert ours.cells["answered_only"].value == pytest.approx(100 * 8 / 10)
    # P(fake): fakes 0.4 and four 0.9, photographs 0.7 and four 0.1: 24 of 25 pairs in order, for 0.4 < 0.7.
    assert ours.cells["auc"].value == pytest.approx(24 / 25)
    theirs = {line.model: line for line in table.lines}
    assert theirs["GeminiPro"].cells["d_prime"].value == pytest.approx(2.08, abs=0.005)
    assert theirs["GPT-4V"].cells["criterion_c"].value == pytest.approx(0.76, abs=0.005)


@pytest.mark.parametrize(("task", "by", "values"), [
    ("fakeclass", "generator", ["(photographs)", "Glide", "dalle3"]),
    ("fakeclass", "content", ["people", "photo", "things"]),
    ("fakeclass", "question_type", ["fake_yn", "real_yn", "what"]),
    ("fakeqa", "authenticity", ["fake", "real"]),
    ("fakeqa", "criterion", ["texture", "edge"]),
])  # fmt: skip
def test_breakdowns(run, task, by, values):
    """One line a value, criteria in the paper's order, every answer in its place."""
    table = breakdown_table(task, [run], by)
    assert [line.group for line in table.lines] == values
    if by != "content":
        assert sum(line.n for line in table.lines) == len(run.of(task))


def test_the_false_fault_rate_is_of_photographs(run):
    """The photograph's two answers claim no fault; of the fakes' six, four do."""
    lines = {line.group: line for line in breakdown_table("fakeqa", [run], "authenticity").lines}
    assert lines["real"].cells["fault_rate"].value == 0
    assert lines["fake"].cells["fault_rate"].value == pytest.approx(4 / 6)


def test_wrong_names_list_the_known(run):
    """Unknown tasks, breakdowns and columns are answered with what there is."""
    with pytest.raises(BadConfig, match="known: fakeclass, faultfinding"):
        paper_table("fakeclas", [run])
    with pytest.raises(BadConfig, match="known: authenticity"):
        breakdown_table("fakeqa", [run], "colour")
    with pytest.raises(BadConfig, match="has a criterion"):
        breakdown_table("fakeclass", [run], "criterion")
    with pytest.raises(BadConfig, match="none of the runs holds"):
        paper_table("inference", [run], published=False)


def test_generator_spellings():
    """FakeBench's file names and Table V's heads are the same ten generators."""
    names = ["proGAN", "styleGAN", "cogview2", "FuseDream", "VQDM", "Glide", "sd", "dalle2", "dalle3", "midjourney"]
    assert [next(c for c in GENERATORS if same_generator(n, c)) for n in names] == list(GENERATORS)
    assert not same_generator(None, "SD")


def test_csv_and_json_hold_everything(run):
    """Unrounded values with their limits; undefined ones are empty or null, and both forms agree."""
    table = paper_table("fakeclass", [run])
    lines = json.loads(to_json(table))["lines"]
    for row, line in zip(csv.DictReader(io.StringIO(to_csv(table))), lines, strict=True):
        assert row["model"] == line["model"]
        for column in table.columns:
            value = line["cells"].get(column, {}).get("value")
            assert row[column] == ("" if value is None else str(value))


# Runs that are resumed, broken or doubled


def test_a_resumed_run_counts_the_last_answer(logs, tmp_path):
    """A second log that answers the failed question replaces the error, and never the other way round."""
    import shutil

    shutil.copytree(logs / "logs", tmp_path / "logs")
    write_log(tmp_path / "logs", detection_samples()[11:], lambda _: "real 0.2")
    (run,) = read_runs([tmp_path])
    assert len(run.of("fakeclass")) == 12
    assert len(asked(run.of("fakeclass"))) == 12
    write_log(tmp_path / "logs", detection_samples()[11:], lambda _: ConnectionError("again"))
    (run,) = read_runs([tmp_path])
    assert len(asked(run.of("fakeclass"))) == 12


def test_a_truncated_log_is_named_and_the_rest_goes_on(logs, tmp_path):
    """A log cut in half and a file of nonsense are problems of the run; alone, they are an error."""
    import shutil

    good = sorted((logs / "logs").glob("*.eval"))
    shutil.copy(good[0], tmp_path / good[0].name)
    (tmp_path / "half.eval").write_bytes(good[1].read_bytes()[: good[1].stat().st_size // 2])
    (tmp_path / "nonsense.json").write_text('{"a": ')
    (run,) = read_runs([tmp_path])
    assert run.rows
    assert sum("cannot be read as an Inspect log" in p for p in run.problems) == 2
    with pytest.raises(BadDataset, match=r"half.eval cannot be read.*resume"):
        read_runs([tmp_path / "half.eval"])
    with pytest.raises(BadDataset, match="no benchmark log in"):
        read_runs([tmp_path / "empty"])


def test_foreign_samples_are_left_out(tmp_path):
    """A log of another benchmark has no question of ours; that is said sample by sample."""
    from inspect_ai import Task, eval  # noqa: A004
    from inspect_ai.dataset import Sample

    eval(
        Task([Sample(id="x", input="2+2?")]), model=scripted("m", lambda _: "4"), log_dir=str(tmp_path), display="none"
    )
    (run,) = read_runs([tmp_path])
    assert not run.rows
    assert "sample 'x' is no benchmark question" in run.problems[0]


def test_two_runs_of_one_model_are_told_apart(logs):
    """The same model twice in one table gets the folder's name behind it."""
    names = [run.model for run in read_runs([logs, logs])]
    assert names == [f"mockllm/candidate ({logs.name})"] * 2


# Judging afterwards


def test_a_run_is_judged_afterwards(tmp_path, monkeypatch):
    """Answers logged without a judge get judge scores; all else stays; baselines tell the judge's worth."""
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path / "cache"))

    def explain(text):
        number, criterion = text.split()
        return ConnectionError("gone") if text == "2 edge" else f"The {criterion} of number {number} is jagged."

    write_log(tmp_path / "logs", open_samples("fakeqa"), explain, opened=True)
    (before,) = read_runs([tmp_path])
    assert all(row.scores.get("completeness") is None for row in before.rows)
    judge_logs(tmp_path, strict_judge("late"), rounds=2, similarity=False)
    (after,) = read_runs([tmp_path])
    assert after.judge == "mockllm/late"
    assert [r.id for r in after.rows] == [r.id for r in before.rows]
    assert [r.outcome for r in after.rows] == [r.outcome for r in before.rows]
    assert [r.scores.get("completeness") for r in after.rows] == [None if r.id == "2|edge" else 2.0 for r in after.rows]
    assert [r.scores.get("bleu1") for r in after.rows] == [r.scores.get("bleu1") for r in before.rows]
    figures = run_baselines(after, strict_judge("late"), np.random.default_rng(0), count=5)
    assert figures["actual"]["judge_avg"] == (2.0, 5)
    assert figures["null"]["judge_avg"][0] == figures["wrong_image"]["judge_avg"][0] == 0
    assert warnings_for("openai/gpt-5", [Run("azureai/gpt-4o", ())])


def test_without_references_there_is_nothing_to_judge(tmp_path):
    """FakeBench's own open questions have blank answers: said, not scored."""
    samples = open_samples("fakeqa")
    for sample in samples:
        sample.target = ""
    write_log(tmp_path, samples, lambda _: "x", opened=True)
    with pytest.raises(BadDataset, match="judged by its authors"):
        judge_logs(tmp_path, "mockllm/model")


# Submission


def test_a_submission_has_the_query_files_keys(run, tmp_path):
    """FakeClass and FakeQA come back with FakeBench's own keys, every answer in its place; the failed one is empty."""
    found = write_submission(run, tmp_path)
    detection = json.loads((tmp_path / "FakeClass.json").read_text())
    assert list(detection[0]) == ["image_id", "question", "answer", "authenticity"]
    assert [e["authenticity"] for e in detection] == [0] * 6 + [1] * 6
    assert {e["image_id"]: e["answer"] for e in detection}["11.png"] == ""
    assert found.unanswered == 1
    assert found.incomplete["fakeclass"] == (12, 6000)
    entries = json.loads((tmp_path / "FakeQA.json").read_text())
    assert list(entries[0]) == ["Q1", "A1", "Q2", "A2", "image_id"]
    assert entries[0]["A2"] == "The edge of number 0 is jagged."
    assert not (tmp_path / "FakeClue.json").exists()
    with pytest.raises(BadDataset, match="no answer to submit"):
        write_submission(Run("m", ()), tmp_path)


def test_both_clue_modes_share_an_entry(tmp_path):
    """Fault-finding and inference answers of one image stand beside their prompts; gold places stay blank."""
    rows = [Row("1", task, Label.FAKE, Outcome.OK, f"said {task}", question=f"asked {task}", image="a.png")
            for task in ("faultfinding", "inference")]  # fmt: skip
    write_submission(Run("m", tuple(rows)), tmp_path)
    (entry,) = json.loads((tmp_path / "FakeClue.json").read_text())
    assert entry["faultfinding_mode"] == "asked faultfinding"
    assert entry["inference_answer"] == "said inference"
    assert entry["telltale_clues"] == ""


# Charts


def test_charts_are_drawn(run, tmp_path):
    """Bars and radars are written as PNG and SVG with every model's name in them."""
    table = paper_table("fakeclass", [run])
    assert draw_bars(table, tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in draw_radar(table, tmp_path / "radar.svg", GENERATORS).read_bytes()[:500]
    parts = breakdown_table("fakeclass", [run], "generator")
    assert draw_radar_of_parts(parts, tmp_path / "parts.png", "accuracy").stat().st_size > 5000
    for call in (
        lambda: draw_bars(table, tmp_path / "bars.txt"),
        lambda: draw_bars(table, tmp_path / "b.png", "beauty"),
        lambda: draw_radar(table, tmp_path / "r.png", ["fake"]),
        lambda: draw_radar(table, tmp_path / "r.png", GENERATORS, ["nobody"]),
        lambda: draw_radar_of_parts(breakdown_table("fakeqa", [run], "criterion"), tmp_path / "r.png", "bleu1"),
        lambda: draw_bars(paper_table("fakeqa", [run], published=False), tmp_path / "b.png"),
    ):
        with pytest.raises(BadConfig):
            call()


# Commands


@pytest.fixture
def cli():
    """The three commands as `defake bench` gets them; a DefakeError is raised for the test to see."""
    app = typer.Typer()
    add_commands(app)

    def call(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "80"})
        if isinstance(result.exception, DefakeError):
            raise result.exception
        return result

    return call


def test_the_table_command(cli, logs, tmp_path):
    """Text fits 80 columns and shows ours; the other forms go to stdout or a file; charts are written."""
    result = cli("table", logs)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "mockllm/candidate" in result.stdout.replace("\n", "")
    assert "* misprint" in result.stdout
    out = tmp_path / "new" / "t.csv"
    assert cli("table", logs, "--task", "fakeqa", "--format", "csv", "--out", out).exit_code == 0
    assert out.read_text().startswith("model,ours,")
    assert json.loads(cli("table", logs, "--task", "signal", "--format", "json", "--no-published").stdout)["lines"]
    assert (
        cli("table", "--task", "fakeclass", "--bars", tmp_path / "b.svg", "--radar", tmp_path / "r.svg").exit_code == 0
    )
    assert (tmp_path / "b.svg").exists()
    assert "criterion" in cli("table", logs, "--task", "fakeqa", "--by", "criterion").stdout
    for wrong in (
        ["--task", "x"],
        ["--format", "xml"],
        ["--format", "csv"],
        ["--task", "fakeclass", "--by", "criterion"],
    ):
        with pytest.raises(BadConfig):
            cli("table", logs, *wrong)
    with pytest.raises(BadConfig, match="name one"):
        cli("table", "--by", "generator")


def test_submit_and_judge_commands(cli, logs, tmp_path):
    """Files on stdout, what is missing on stderr; a run that is not there is said."""
    result = cli("submit", logs, "--out", tmp_path)
    assert result.exit_code == 0
    assert "FakeClass.json" in result.stdout
    assert "12 of the 6,000" in result.stderr
    with pytest.raises(BadDataset, match="no benchmark log"):
        cli("judge", tmp_path / "nowhere", "--judge", "mockllm/model")
