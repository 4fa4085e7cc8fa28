"""Evaluation: stored scores to figures, manifests to scores, detectors against each other."""

import math
import time

import numpy as np
import pytest
from PIL import Image
from scripted import BrightnessDetector, FailingDetector, SilentDetector
from sklearn import metrics as sk

from defake.datasets.manifest import read_manifest
from defake.detectors import Detector
from defake.errors import BadConfig, BadDataset
from defake.evaluate import FIGURES, Protocol, evaluate_scores, score_manifest, start_run
from defake.evaluate.matrix import cross_generator
from defake.evaluate.pairs import compare
from defake.evaluate.protocol import split_parts
from defake.evaluate.shares import measured_rates, share_of_fakes
from defake.metrics.detection import threshold_at_fpr
from defake.metrics.intervals import wilson
from defake.store import Scores, write_json


def made(seed=0, n=300, *, generators=("g1", "g2"), sources=12, split="test", gap=0.25):
    """Scores of n images, half of them fakes of the generators in turn."""
    rng = np.random.default_rng(seed)
    fake = np.arange(n) < n // 2
    names = [generators[i % len(generators)] if f else None for i, f in enumerate(fake)]
    return Scores(
        path=np.array([f"{split}/{i}.jpg" for i in range(n)], dtype=object),
        is_fake=fake,
        generator=np.array(names, dtype=object),
        source=np.array([f"s{i}" for i in rng.integers(0, sources, n)], dtype=object),
        split=np.array([split] * n, dtype=object),
        fake_score=np.clip(rng.normal(0.4 + gap * fake, 0.2), 0, 1),
        error=np.full(n, None, dtype=object),
    )


def joined(*parts):
    """Scores one below the other."""
    columns = [part.columns() for part in parts]
    return Scores(**{name: np.concatenate([c[name] for c in columns]) for name in columns[0]})


def changed(scores, **columns):
    """The same with other columns."""
    return Scores(**{**scores.columns(), **columns})


QUICK = {"n_resamples": 60}


def test_every_figure_is_scikit_learns():
    """Overall and per generator against all photographs, at the frozen threshold."""
    test, val = made(0), made(1, split="val")
    found = evaluate_scores(joined(test, val), Protocol(**QUICK))
    threshold = threshold_at_fpr(val.is_fake, val.fake_score, 0.05)
    assert found.threshold.value == threshold
    assert (found.threshold.origin, found.threshold.split, found.threshold.n_reals) == ("validation", "val", 150)
    for row, mask in ((found.overall, test.is_fake), (found.row("g1"), test.generator == "g1")):
        rows = mask | ~test.is_fake
        y, s = test.is_fake[rows], test.fake_score[rows]
        called = s >= threshold
        expected = {
            "auc": sk.roc_auc_score(y, s),
            "ap": sk.average_precision_score(y, s),
            "accuracy": sk.accuracy_score(y, called),
            "balanced_accuracy": sk.balanced_accuracy_score(y, called),
            "f1": sk.f1_score(y, called),
            "tpr": sk.recall_score(y, called),
            "fpr": called[~y].mean(),
            "brier": sk.brier_score_loss(y, s),
        }
        for name, value in expected.items():
            assert row.figures[name].value == pytest.approx(value), name
        for name in FIGURES:
            estimate = row.figures[name]
            assert estimate.low <= estimate.value <= estimate.high, name
            kinds = {"accuracy": "wilson", "tpr": "wilson", "fpr": "wilson"}
            kinds |= {"tpr_at_fpr_1": "bootstrap+wilson", "tpr_at_fpr_5": "bootstrap+wilson"}
            assert estimate.interval == (kinds.get(name, "bootstrap") if row.kind != "mean" else "bootstrap")


def test_the_mean_is_of_the_generators():
    """Its value is the plain mean of the rows above it; the whole comes last."""
    found = evaluate_scores(made(generators=("a", "b", "c")), Protocol(**QUICK))
    assert [row.name for row in found.rows] == ["a", "b", "c", "mean of generators", "all"]
    for name in FIGURES:
        values = [found.row(g).figures[name].value for g in "abc"]
        assert found.row("mean of generators").figures[name].value == pytest.approx(np.mean(values))


def test_independent_images_have_the_textbook_interval():
    """Without sources accuracy has Wilson's own interval."""
    scores = changed(made(), source=np.full(300, None, dtype=object))
    found = evaluate_scores(scores, Protocol(threshold=0.5, **QUICK))
    accuracy = found.overall.figures["accuracy"]
    low, high = wilson(round(accuracy.value * 300), 300)
    assert (accuracy.low, accuracy.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))
    assert any("independent" in note for note in found.notes)


def test_the_test_set_never_chooses_its_threshold():
    """Other test scores, the same validation scores: the same threshold."""
    val = made(1, split="val")
    one = evaluate_scores(joined(made(2), val), Protocol(**QUICK)).threshold
    two = evaluate_scores(joined(made(3, gap=0.0), val), Protocol(**QUICK)).threshold
    assert one == two
    with pytest.raises(BadConfig, match="tested split"):
        Protocol(split="val", val_split="val")
    with pytest.raises(BadConfig, match="not both"):
        Protocol(threshold=0.5, val_split="val")


def test_oracle_only_when_asked():
    """The best threshold on these labels appears under its name, beside the frozen one, or not at all."""
    scores = made()
    assert evaluate_scores(scores, Protocol(**QUICK)).overall.oracle is None
    found = evaluate_scores(scores, Protocol(oracle=True, **QUICK)).overall
    best = max(sk.balanced_accuracy_score(scores.is_fake, scores.fake_score >= t) for t in scores.fake_score)
    assert found.oracle["oracle_balanced_accuracy"] == pytest.approx(best)


def test_without_validation_the_detectors_own():
    """No split to choose on: the detector's own threshold, and it says so."""
    found = evaluate_scores(made(), Protocol(**QUICK), own_threshold=0.62)
    assert (found.threshold.value, found.threshold.origin) == (0.62, "detector")
    assert "no validation split" in str(found.threshold)


def test_splits_are_kept_apart():
    """Training rows are never tested unless named; unknown splits are told with those there are."""
    splits = np.array(["train", "val", "dev", None], dtype=object)
    test, val, notes = split_parts(splits, Protocol())
    assert list(test) == [False, False, True, True]
    assert list(val) == [False, True, False, False]
    assert "train" in notes[0]
    assert list(split_parts(splits, Protocol(split="train"))[0]) == [True, False, False, False]
    assert split_parts(splits, Protocol(threshold=0.5))[1] is None
    with pytest.raises(BadDataset, match=r"'tset'; there are: dev, train, val"):
        split_parts(splits, Protocol(split="tset"))
    with pytest.raises(BadDataset, match="no row is left"):
        split_parts(splits[:1], Protocol())
    scores = joined(made(0), changed(made(1, split="val"), is_fake=np.ones(300, dtype=bool)))
    with pytest.raises(BadDataset, match="no scored photograph"):
        evaluate_scores(scores, Protocol(**QUICK))


@pytest.mark.parametrize("label", [True, False])
def test_one_class_only(label):
    """What needs both classes is blank, the rest is there, and the note says why."""
    scores = changed(made(), is_fake=np.full(300, label))
    found = evaluate_scores(scores, Protocol(**QUICK))
    for name in ("auc", "ap", "eer", "balanced_accuracy", "tpr_at_fpr_1"):
        assert found.overall.figures[name].value is None
        assert found.overall.figures[name].low is None
    assert found.overall.figures["accuracy"].value is not None
    assert found.prevalence == ()
    assert any("only" in note for note in found.notes)


def test_unanswered_and_empty_generator():
    """Errors are left out and counted; a generator without a score has blanks, and so has the mean."""
    scores = made(generators=("a", "b"))
    lost = scores.generator == "b"
    error = np.where(lost, "empty: 0 bytes", None)
    scores = changed(scores, fake_score=np.where(lost, np.nan, scores.fake_score), error=error)
    found = evaluate_scores(scores, Protocol(threshold=0.5, **QUICK))
    assert (found.row("b").n_fake, found.row("b").n_unanswered) == (0, 75)
    assert found.row("b").figures["auc"].value is None
    assert found.row("mean of generators").figures["auc"].value is None
    assert found.overall.figures["auc"].value is not None
    assert any("75 of 300" in note for note in found.notes)
    right = (scores.fake_score >= 0.5) == scores.is_fake
    assert found.accuracy_unanswered_wrong == pytest.approx((right & ~lost).mean())
    with pytest.raises(BadDataset, match="none of the 300 images"):
        evaluate_scores(changed(scores, fake_score=np.full(300, np.nan)), Protocol(**QUICK))


def test_photographs_of_the_same_source():
    """`reals="source"` sets a generator against its own collection, and is blank where that has no photographs."""
    scores = made(generators=("a", "b"), sources=1)
    source = np.where(scores.generator == "b", "only fakes", scores.source)
    found = evaluate_scores(changed(scores, source=source), Protocol(reals="source", **QUICK))
    assert (found.row("a").n_real, found.row("b").n_real) == (150, 0)
    assert found.row("b").figures["auc"].value is None
    with pytest.raises(BadConfig, match="reals"):
        Protocol(reals="none")


def test_a_hundred_thousand_stored_scores_in_time():
    """All figures with 1,000 resamples for 20 generators in under 20 seconds of CPU."""
    start = time.process_time()
    found = evaluate_scores(made(n=100_000, generators=[f"g{i}" for i in range(20)]))
    assert time.process_time() - start < 20
    assert found.overall.figures["auc"].high - found.overall.figures["auc"].low < 0.02


def test_no_fake_caught_is_not_none_ever():
    """No fake of 20 above the photographs: TPR at 1 % FPR is 0, and its interval reaches what 20 images leave open."""
    scores = made(n=40, generators=("g",))
    scores = changed(scores, fake_score=np.where(scores.is_fake, 0.2, 0.8), source=np.full(40, None, dtype=object))
    found = evaluate_scores(scores, Protocol(threshold=0.5, **QUICK)).overall.figures["tpr_at_fpr_1"]
    assert (found.value, found.low, found.high) == (0.0, 0.0, pytest.approx(wilson(0, 20)[1]))


def test_the_same_seed_the_same_figures():
    """Nothing but the seed is random."""
    one, two = (evaluate_scores(made(), Protocol(seed=4, **QUICK)).as_dict() for _ in range(2))
    assert one == two


def test_matrix_leaves_the_diagonal_out():
    """Mean and worst of unseen generators only; who does not say what it saw is named and left out."""
    easy = evaluate_scores(made(0, generators=("a", "b"), gap=0.6), Protocol(**QUICK))
    hard = evaluate_scores(made(1, generators=("a", "b"), gap=0.1), Protocol(**QUICK))
    found = cross_generator([("on-a", ["a"], easy), ("on-b", ["b"], hard), ("unknown", None, hard)])
    unseen = [easy.row("b").figures["auc"].value, hard.row("a").figures["auc"].value]
    assert found.off_diagonal_mean == pytest.approx(np.mean(unseen))
    assert found.n_off_diagonal == 2
    assert found.worst == ("on-b", "a", min(unseen))
    assert any("unknown" in text for text in found.skipped)
    assert cross_generator([("on-b", ["b"], hard)], "eer").worst[2] == hard.row("a").figures["eer"].value
    assert cross_generator([("both", ["a", "b"], easy)]).off_diagonal_mean is None
    with pytest.raises(BadConfig, match="unknown metric 'f2'"):
        cross_generator([("on-a", ["a"], easy)], "f2")
    with pytest.raises(BadConfig, match="distinct"):
        cross_generator([("x", ["a"], easy), ("x", ["b"], hard)])


def test_comparison_in_words():
    """A far better detector is named; a copy cannot be told apart; p-values are corrected together."""
    rng = np.random.default_rng(5)
    good = made(0, gap=0.5)
    bad = changed(good, fake_score=rng.random(300))
    runs = {"good": good, "copy": good, "bad": bad}
    pairs = {(p.first, p.second): p for p in compare(runs, Protocol(threshold=0.6, **QUICK))}
    assert pairs["good", "bad"].says["auc"] == "good is better than bad"
    assert "cannot be separated" in pairs["good", "copy"].says["auc"]
    assert pairs["good", "copy"].says["mcnemar"] == "good and copy cannot be separated on these images"
    assert pairs["good", "bad"].adjusted["mcnemar"] > pairs["good", "bad"].right.p_value
    expected = sk.roc_auc_score(good.is_fake, good.fake_score) - sk.roc_auc_score(bad.is_fake, bad.fake_score)
    assert pairs["good", "bad"].auc.estimate.value == pytest.approx(expected)


def test_comparison_needs_the_same_images():
    """One run, no shared image, contradicting labels."""
    one = made()
    with pytest.raises(BadConfig, match="two detectors"):
        compare({"a": one})
    with pytest.raises(BadDataset, match="share no image"):
        compare({"a": one, "b": changed(one, path=np.array([f"x{i}" for i in range(300)], dtype=object))})
    with pytest.raises(BadDataset, match="label 300 images differently"):
        compare({"a": one, "b": changed(one, is_fake=~one.is_fake)})


@pytest.fixture
def pictures(tmp_path):
    """Ten fakes brighter than ten reals, and their manifest."""
    rng = np.random.default_rng(0)
    rows = ["path,label,generator,source,split"]
    for i in range(20):
        level = 170 + 4 * i if i < 10 else 20 + 8 * (i - 10)
        pixels = np.clip(rng.normal(level, 3, (16, 20, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{'fake' if i < 10 else 'real'},{'g' if i < 10 else ''},s{i % 3},test")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    return tmp_path


def test_a_manifest_is_scored_in_order(pictures):
    """One row an image, as the detector scores it alone, in batches of any size."""
    manifest = read_manifest(pictures / "manifest.csv")
    detector = BrightnessDetector()
    found = score_manifest(detector, manifest, batch_size=7)
    assert list(found.path) == list(manifest.paths)
    assert detector.calls == math.ceil(20 / 7)
    expected = [np.asarray(Image.open(pictures / p)).mean() / 255 for p in found.path]
    np.testing.assert_allclose(found.fake_score, expected)
    assert evaluate_scores(found, Protocol(**QUICK)).overall.figures["auc"].value == 1.0


@pytest.mark.parametrize("only", ["both", "real", "fake"])
def test_a_transform_touches_one_class_or_both(pictures, only):
    """Applied to the pixels of the named class alone."""
    manifest = read_manifest(pictures / "manifest.csv")
    found = score_manifest(BrightnessDetector(), manifest, transform=np.zeros_like, transform_only=only)
    touched = found.fake_score == 0
    assert (touched == {"both": np.ones(20, bool), "real": ~found.is_fake, "fake": found.is_fake}[only]).all()
    with pytest.raises(BadConfig, match="transform_only"):
        score_manifest(BrightnessDetector(), manifest, transform_only="fakes")


class Interrupted(BrightnessDetector):
    """Is killed at its third batch."""

    def score(self, images):
        """Two batches, then a stop by hand."""
        if self.calls == 2:
            raise KeyboardInterrupt
        return super().score(images)


def test_a_killed_run_is_continued(pictures):
    """What was scored before is not scored again, and the result is that of an undisturbed run."""
    manifest = read_manifest(pictures / "manifest.csv")
    with pytest.raises(KeyboardInterrupt):
        score_manifest(
            Interrupted(), manifest, start_run(pictures / "run", BrightnessDetector(), "b", manifest), batch_size=4
        )
    again = BrightnessDetector()
    ticks = []
    run = start_run(pictures / "run", again, "b", manifest)
    found = score_manifest(again, manifest, run, batch_size=4, progress=ticks.append)
    assert again.calls == 3
    assert sum(ticks) == 20
    whole = score_manifest(BrightnessDetector(), manifest)
    np.testing.assert_array_equal(found.fake_score, whole.fake_score)
    assert list(found.path) == list(whole.path)


def test_missing_files_are_all_listed(pictures):
    """Before anything is scored; told to skip, they are rows with an error and the rest goes on."""
    gone = [3, 7, 15]
    for i in gone:
        (pictures / f"{i}.png").unlink()
    manifest = read_manifest(pictures / "manifest.csv")
    detector = BrightnessDetector()
    with pytest.raises(BadDataset) as caught:
        score_manifest(detector, manifest)
    assert "3 of 20 files are missing" in str(caught.value)
    assert all(f"{i}.png" in str(caught.value) for i in gone)
    assert detector.calls == 0
    found = score_manifest(detector, manifest, skip_missing=True)
    assert sorted(int(p[:-4]) for p in found.path[~found.answered]) == gone
    assert all(error.startswith("missing:") for error in found.error[~found.answered])


def test_a_broken_file_is_a_row(pictures):
    """An empty file and a text: rows with their code, and the other 18 are scored."""
    (pictures / "1.png").write_bytes(b"")
    (pictures / "12.png").write_text("hello")
    found = score_manifest(BrightnessDetector(), read_manifest(pictures / "manifest.csv"))
    assert {p: e.split(":")[0] for p, e in zip(found.path, found.error, strict=True) if e} == {
        "1.png": "empty",
        "12.png": "not_an_image",
    }
    assert found.answered.sum() == 18


def test_a_failing_image_does_not_take_its_batch_along(pictures):
    """The detector gives up on dark images only: the bright ones of the same batch have their score."""
    found = score_manifest(FailingDetector(), read_manifest(pictures / "manifest.csv"))
    assert found.answered[found.is_fake].all()
    assert not found.answered[~found.is_fake].any()
    assert all("out of memory" in error for error in found.error[~found.answered])


def test_no_answer_is_no_error(pictures):
    """NaN stays NaN: nothing to evaluate, and it says so."""
    found = score_manifest(SilentDetector(), read_manifest(pictures / "manifest.csv"))
    assert not found.answered.any()
    assert set(found.error) == {None}
    with pytest.raises(BadDataset, match="gave no answer"):
        evaluate_scores(found)


class Broken(Detector):
    """Breaks its contract."""

    name = "broken"

    def __init__(self, value, extra=0):
        self.value, self.extra = value, extra

    def score(self, images):
        """The same for each image, and some scores too many."""
        return np.full(len(images) + self.extra, self.value)


@pytest.mark.parametrize(
    ("detector", "says"),
    [(Broken(7.0), "lies in"), (Broken(-0.1), "lies in"), (Broken(np.inf), "lies in"), (Broken(0.5, 1), "gave shape")],
)
def test_a_score_that_is_none_never_becomes_one(pictures, detector, says):
    """Logits, infinities and arrays of another length are errors in the rows, not figures."""
    found = score_manifest(detector, read_manifest(pictures / "manifest.csv"), batch_size=20)
    assert not found.answered.any()
    assert all(says in error for error in found.error)


def test_share_of_an_unlabelled_set(pictures):
    """From the run's rates at its frozen threshold; another detector's run is refused."""
    manifest = read_manifest(pictures / "manifest.csv")
    detector = BrightnessDetector()
    run = start_run(pictures / "run", detector, "brightness", manifest)
    scores = score_manifest(detector, manifest, run)
    with pytest.raises(BadConfig, match="not evaluated yet"):
        measured_rates(pictures / "run", detector)
    write_json(pictures / "run" / "metrics.json", evaluate_scores(scores, Protocol(threshold=0.3, **QUICK)).as_dict())
    rates = measured_rates(pictures / "run", detector)
    reals = scores.fake_score[~scores.is_fake]
    assert (rates.tpr.share, rates.fpr.share) == (1.0, pytest.approx((reals >= 0.3).mean()))
    found = share_of_fakes([0.9, 0.9, 0.1, 0.1, np.nan], rates)
    assert found.n == 4
    assert found.value == pytest.approx((0.5 - rates.fpr.share) / (1 - rates.fpr.share))
    with pytest.raises(BadConfig, match="is of detector 'brightness', not 'silent'"):
        measured_rates(pictures / "run", SilentDetector())
