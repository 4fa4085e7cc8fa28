"""defake.report: one file that asks for nothing, believes no name, and says what it does not know."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from defake.cli import app
from defake.errors import BadConfig, BadDataset
from defake.evaluate import Protocol, evaluate_scores
from defake.published import misprints
from defake.report import write_report
from defake.report.gallery import worst_mistakes
from defake.report.runs import read_runs
from defake.report.words import conclude
from defake.store import RunFolder, Scores, write_json

NASTY = '<script>alert("x")</script>'


def scores_of(n=40, *, shift=1.5, seed=0, is_fake=None):
    """Scored images (n) of two generators and four sources, the first without a score."""
    rng = np.random.default_rng(seed)
    is_fake = np.arange(n) % 2 == 0 if is_fake is None else is_fake
    score = 1 / (1 + np.exp(-(shift * np.where(is_fake, 1, -1) + rng.normal(0, 1, n))))
    score[0] = np.nan
    column = lambda of: np.array([of(i) for i in range(n)], dtype=object)  # noqa: E731
    return Scores(
        path=column(lambda i: f"{i}.png" if i != 3 else f"{NASTY}.png"),
        is_fake=is_fake,
        generator=column(lambda i: ("gan", NASTY)[i % 4 // 2] if is_fake[i] else None),
        source=column(lambda i: f"s{i % 4}"),
        split=column(lambda _: None),
        fake_score=score,
        error=column(lambda i: f"truncated: {NASTY}" if i == 0 else None),
    )


def store(tmp_path, name, scores, *, root=None, trained_on=None, null=0.6):
    """A run folder as `defake evaluate` leaves it."""
    run = RunFolder.start(
        tmp_path / name, {"detector": name}, {"name": name, "root": root and str(root), "trained_on": trained_on}
    )
    run.append(scores)
    run.finish()
    evaluation = evaluate_scores(scores, Protocol(n_resamples=50), detector=name)
    record = None if null is None else {"auc": null, "low": null - 0.05, "high": null + 0.05}
    write_json(run.folder / "metrics.json", replace(evaluation, zero_pixel_null=record).as_dict())
    return run.folder


def curves(tmp_path, name):
    """A robustness record with two families."""
    point = {"n_fake": 9, "n_real": 9}
    estimate = {"value": 0.9, "low": 0.8, "high": 0.95, "interval": "bootstrap"}
    point |= dict.fromkeys(("auc", "balanced_accuracy", "tpr", "fpr", "shift"), estimate)
    points = [{**point, "spec": "none", "family": "none", "level": None, "applied_to": "both"}]
    for spec in ("jpeg:90", "jpeg:50", "long:64+jpeg:60"):
        family = "+".join(part.partition(":")[0] for part in spec.split("+"))
        points += [
            {**point, "spec": spec, "family": family, "level": None, "applied_to": side}
            for side in ("both", "real", "fake")
        ]
    points[-1] = {**points[-1], "auc": {"value": None, "low": None, "high": None, "interval": ""}}
    (tmp_path / name).mkdir()
    record = {"detector": name, "threshold": {"value": 0.5}, "points": points, "sentences": [f"Bias: {NASTY}"]}
    (tmp_path / name / "robustness.json").write_text(json.dumps(record))
    return tmp_path / name


class Page(HTMLParser):
    """Tags, addresses, ids and text of a page; complains of tags left open."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.ids, self.words, self.open = [], [], [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        """Note a tag and what it points at."""
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for key, value in attrs:
            if key in ("src", "href", "action", "data", "poster", "srcset"):
                self.addresses.append(value)
            if key == "id":
                self.ids.append(value)

    def handle_endtag(self, tag):
        """Close the tag that is open."""
        assert self.open.pop() == tag, tag

    def handle_data(self, text):
        """Note the words."""
        self.words.append(text)

    @property
    def text(self):
        """All words, blanks made one."""
        return " ".join(" ".join(self.words).split())


def page_of(path):
    """The parsed page."""
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def images(tmp_path):
    """A picture for every image but two, one of which is damaged."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(40):
        Image.new("RGB", (300, 200), (6 * i, 90, 200)).save(folder / f"{i}.png")
    (folder / "5.png").unlink()
    (folder / "7.png").write_bytes(b"no image")
    return folder


def test_the_page_asks_for_nothing_and_believes_no_name(tmp_path, images):
    """No address but data URIs and its own sections, no script even where names are scripts, every tag closed."""
    first = store(tmp_path, "first", scores_of(), root=images, trained_on=["gan"])
    second = store(tmp_path, "second & <b>", scores_of(seed=1, shift=0.3), root=images)
    out = write_report([first, second, curves(tmp_path, "first-curves")], tmp_path / "r.html", title=NASTY)
    page = page_of(out)
    assert "script" not in page.tags
    assert {a.partition(",")[0] for a in page.addresses if not a.startswith("#")} == {
        *("data:image/svg+xml;base64", "data:image/jpeg;base64"),
    }
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)
    assert "default-src 'none'" in out.read_text()
    assert "@import" not in out.read_text()
    assert not re.search(r"url\(", out.read_text())
    assert page.text.count(NASTY) > 5


def test_the_page_says_what_was_measured(tmp_path, images):
    """Conclusion, null, generators, matrix, difference, robustness, errors, published rows with misprints, set-up."""
    first = store(tmp_path, "first", scores_of(), root=images, trained_on=["gan"])
    second = store(tmp_path, "second", scores_of(seed=1, shift=0.3), root=images)
    text = page_of(write_report([first, second, curves(tmp_path, "c")], tmp_path / "r.html")).text
    for words in (
        *(
            "first, second",
            "AUC without a pixel (null) 60.0",
            "seen in training",
            "trained on gan",
            "mean of generators",
        ),
        *("Not in mean and worst cell: second", "Difference between runs", "McNemar", "Images whose verdict differs"),
        *("long+jpeg", "jpeg:50", "Photographs called fake", "Generated images missed", "Where 1 % of the images"),
        *("published: FakeBench", "Configuration", "numpy", "Images without a score (1)", "truncated"),
    ):
        assert words in text, words
    for name in ("fakebench_detection", "fakebench_interpretation", "fakebench_reasoning"):
        assert misprints(name)
        for one in misprints(name):
            assert f"Misprint: {one}" in text


def test_the_same_runs_give_the_same_file(tmp_path, images):
    """No date, no random identifier: two reports of one run are equal byte for byte."""
    run = store(tmp_path, "run", scores_of(), root=images)
    pages = [write_report([run], tmp_path / name).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


def test_the_worst_errors_come_first(tmp_path, images):
    """False alarms from the highest score down, misses from the lowest up; what has no picture says why."""
    scores = scores_of(shift=-1.5)
    (run,), _ = read_runs([store(tmp_path, "run", scores, root=images)])
    for is_fake, sign in ((False, -1), (True, 1)):
        count, worst = worst_mistakes(run, is_fake=is_fake, limit=100, thumbnails=True)
        wrong = scores.answered & (scores.is_fake == is_fake) & ((scores.fake_score >= 0.5) != is_fake)
        assert count == len(worst) == wrong.sum()
        found = [mistake.fake_score for mistake in worst]
        assert found == sorted(found, key=lambda score: sign * score)
    shown = {
        m.path: m
        for is_fake in (True, False)
        for m in worst_mistakes(run, is_fake=is_fake, limit=99, thumbnails=True)[1]
    }
    assert shown["9.png"].thumbnail.startswith("data:image/jpeg")
    assert (shown["5.png"].why, shown["7.png"].why) == ("missing", "not an image")


def test_no_thumbnails_means_no_pixel_in_the_file(tmp_path, images):
    """With --no-thumbnails the errors are listed and no photograph is embedded."""
    run = store(tmp_path, "run", scores_of(shift=-1), root=images)
    done = CliRunner().invoke(
        app, ["report", str(run), "--out", str(tmp_path / "deep" / "r.html"), "--no-thumbnails", "--mistakes", "2"]
    )
    assert done.exit_code == 0, done.output
    assert "MB)" in done.stdout
    text = (tmp_path / "deep" / "r.html").read_text()
    assert "data:image/jpeg" not in text
    assert "the 2 worst" in text


def test_a_file_of_scores_is_enough(tmp_path):
    """A CSV of scores makes a report; what it does not hold is said to be missing."""
    (tmp_path / "s.csv").write_text("path,label,fake_score\na,fake,0.9\nb,real,0.2\nc,real,0.7\nd,fake,\n")
    text = page_of(write_report([tmp_path / "s.csv"], tmp_path / "r.html")).text
    assert "not measured" in text
    assert "No generated image names its generator" in text
    assert "the run does not say where its images lie" in text


def test_one_class_is_undefined_not_zero(tmp_path):
    """Photographs alone: the conclusion says undefined, no cell invents a figure, the page is whole."""
    run = store(tmp_path, "run", scores_of(is_fake=np.zeros(40, bool)), null=None)
    text = page_of(write_report([run], tmp_path / "r.html")).text
    assert "AUC is undefined" in text
    assert "only photographs have a score" in text


def test_curves_alone_make_a_report(tmp_path):
    """A folder of `defake robustness` needs no run beside it."""
    page = page_of(write_report([curves(tmp_path, "alone")], tmp_path / "r.html"))
    assert "Robustness and bias" in page.text
    assert "summary" not in page.ids


def test_runs_of_other_images_are_reported_and_not_compared(tmp_path):
    """Two runs that share no image keep their own tables; the reason stands where the comparison would."""
    other = scores_of()
    other = replace(other, path=np.array([f"other/{path}" for path in other.path], dtype=object))
    text = page_of(
        write_report([store(tmp_path, "a", scores_of()), store(tmp_path, "b", other)], tmp_path / "r.html")
    ).text
    assert "cannot be compared: a and b share no image" in text


def test_runs_of_one_name_are_told_apart(tmp_path):
    """The same detector on two sets is numbered, not merged."""
    for folder in ("x", "y"):
        store(tmp_path / folder, "same", scores_of())
    runs, _ = read_runs([tmp_path / "x" / "same", tmp_path / "y" / "same"])
    assert [run.name for run in runs] == ["same", "same (2)"]


def test_what_is_no_run_is_refused(tmp_path):
    """An empty folder, a missing file, damaged metrics and nothing at all are errors that name the path."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadConfig, match="holds neither a run"):
        write_report([tmp_path / "empty"], tmp_path / "r.html")
    with pytest.raises(BadDataset, match="no such run folder"):
        write_report([tmp_path / "gone"], tmp_path / "r.html")
    with pytest.raises(BadConfig, match="at least one run"):
        write_report([], tmp_path / "r.html")
    run = store(tmp_path, "run", scores_of())
    with pytest.raises(BadConfig, match="cannot be written"):
        write_report([run], run / "config.json" / "r.html")
    (run / "metrics.json").write_text("{")
    with pytest.raises(BadConfig, match=r"metrics\.json cannot be read"):
        write_report([run], tmp_path / "r.html")


@pytest.mark.parametrize(
    ("null", "says"),
    [
        (None, "was not measured"),
        ({"auc": 0.5, "low": 0.45, "high": 0.55}, "clearly above"),
        ({"auc": 0.9, "low": 0.85, "high": 0.99}, "overlap"),
        ({"auc": 1.0, "low": 0.99, "high": 1.0}, "says nothing about pixels"),
        ({"auc": None, "low": None, "high": None}, "was not measured"),
    ],
)
def test_the_conclusion_reads_the_score_against_the_null(null, says):
    """Above, overlapping, not above, not measured: each in words."""
    evaluation = evaluate_scores(scores_of(200), Protocol(n_resamples=50))
    assert 0.9 < evaluation.overall.figures["auc"].value < 1
    assert says in " ".join(conclude(replace(evaluation, zero_pixel_null=null)))
