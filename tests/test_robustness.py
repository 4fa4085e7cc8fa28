"""defake.robustness: a detector of compression is caught, a steady one is let go, a killed measurement goes on."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from defake.cli import app
from defake.datasets.manifest import read_manifest
from defake.detectors import Detector
from defake.errors import BadConfig, UnknownName
from defake.evaluate import Protocol, score_manifest
from defake.perturb import parse_levels, parse_perturbation
from defake.registry import DETECTORS, Card, Entry
from defake.robustness import measure_robustness

FEW = Protocol(n_resamples=60)


class GrainDetector(Detector):
    """Calls an image fake the more, the less grain it has: what a detector that learned compression does."""

    name = "grain"

    def __init__(self, source=None):
        self.source = source
        self.seen = 0

    def score(self, images):
        """Score by the mean absolute difference between neighbours."""
        self.seen += len(images)
        grain = [np.abs(np.diff(image.astype(float), axis=1)).mean() for image in images]
        return np.exp(-np.array(grain) / 10)


class TintDetector(Detector):
    """Calls reddish images fake: a cue that no perturbation touches."""

    name = "tint"

    def score(self, images):
        """Score by the share of red."""
        return np.array([image[..., 0].mean() / image.sum(axis=2).mean() for image in images])


@pytest.fixture
def manifest(tmp_path):
    """Sixteen grainy photographs, sixteen smoother, reddish fakes; four sources; an eighth of them for validation."""
    rng = np.random.default_rng(1)
    lines = ["path,label,source,split"]
    for i in range(32):
        fake = i % 2 == 0
        grain = rng.normal(0, 6 if fake else 25, (48, 56, 3))
        Image.fromarray(np.clip(grain + np.array([150 if fake else 110, 110, 110]), 0, 255).astype(np.uint8)).save(
            tmp_path / f"{i}.png"
        )
        lines.append(f"{i}.png,{'fake' if fake else 'real'},s{i % 8 // 2},{'val' if i < 4 else 'test'}")
    (tmp_path / "m.csv").write_text("\n".join(lines))
    return read_manifest(tmp_path / "m.csv")


def test_a_detector_of_compression_is_caught(manifest, tmp_path):
    """Blur on photographs alone ruins it, on fakes alone it helps: the sentence says so, the shifts have the sign."""
    result = measure_robustness(
        GrainDetector(), "grain", manifest, [parse_perturbation("blur:2")], folder=tmp_path / "run", protocol=FEW
    )
    clean = result.points[0]
    assert (clean.spec, clean.auc.value) == ("none", 1.0)
    assert result.point("blur:2", "real").auc.value == 0
    assert result.point("blur:2", "fake").auc.value == 1
    assert result.point("blur:2", "real").fpr.value == 1
    assert result.point("blur:2", "both").shift.low > 0
    assert any(s.startswith("Bias: blur:2 on photographs alone") for s in result.sentences)


def test_a_steady_detector_is_let_go(manifest, tmp_path):
    """A cue that survives everything gives flat curves and no word of bias."""
    result = measure_robustness(
        TintDetector(), "tint", manifest, parse_levels(["jpeg:75", "blur:1"]), folder=tmp_path / "run", protocol=FEW
    )
    assert {point.auc.value for point in result.points} == {1.0}
    assert len(result.sentences) == 1
    assert [point.spec for point in result.points] == ["none", *["jpeg:75"] * 3, *["blur:1"] * 3]


@pytest.mark.parametrize("side", ["both", "real", "fake"])
def test_the_one_sided_sets_are_what_scoring_them_gives(manifest, tmp_path, side):
    """Slow twin: scoring with `transform_only` gives the very scores, and so the AUC, put together from two runs."""
    perturbation = parse_perturbation("noise:12")
    result = measure_robustness(
        GrainDetector(), "grain", manifest, [perturbation], folder=tmp_path / "run", protocol=FEW
    )
    tested = manifest.where(split="test")
    twin = score_manifest(GrainDetector(), tested, transform=perturbation.seeded(0), transform_only=side)
    clean = score_manifest(GrainDetector(), tested)
    wins = twin.fake_score[twin.is_fake][:, None] - twin.fake_score[~twin.is_fake]
    point = result.point("noise:12", side)
    assert point.auc.value == pytest.approx((wins > 0).mean() + (wins == 0).mean() / 2)
    touched = np.ones(len(tested), bool) if side == "both" else tested.is_fake == (side == "fake")
    assert point.shift.value == pytest.approx((twin.fake_score - clean.fake_score)[touched].mean())
    assert point.auc.low <= point.auc.value <= point.auc.high


def test_the_threshold_is_frozen_on_untouched_validation_images(manifest, tmp_path):
    """The `val` split is scored once, untouched, and every point uses that threshold."""
    detector = GrainDetector()
    result = measure_robustness(
        detector, "grain", manifest, parse_levels(["blur:1,2"]), folder=tmp_path / "run", protocol=FEW
    )
    assert result.threshold.origin == "validation"
    assert detector.seen == 4 + 28 * 3
    again = GrainDetector()
    measure_robustness(again, "grain", manifest, parse_levels(["blur:1,2,3"]), folder=tmp_path / "run", protocol=FEW)
    assert again.seen == 28, "what was scored before is not scored again"
    record = json.loads((tmp_path / "run" / "robustness.json").read_text())
    assert len(record["points"]) == 1 + 3 * 3


def test_a_broken_file_is_left_out_of_every_point(manifest, tmp_path):
    """An unreadable image has no score; the others go on, and all points count the same images."""
    manifest.resolve(9).write_bytes(b"no image")
    result = measure_robustness(
        GrainDetector(), "grain", manifest, [parse_perturbation("blur:1")], folder=tmp_path / "run", protocol=FEW
    )
    assert {(point.n_fake, point.n_real) for point in result.points} == {(14, 13)}


def test_one_class_leaves_auc_undefined(manifest, tmp_path):
    """Photographs alone: no AUC, a false positive rate, and a sentence that says why."""
    result = measure_robustness(
        GrainDetector(), "grain", manifest.where(~manifest.is_fake), [parse_perturbation("blur:1")],
        folder=tmp_path / "run", protocol=Protocol(n_resamples=20, threshold=0.5),
    )  # fmt: skip
    assert {point.auc.value for point in result.points} == {None}
    assert result.points[0].fpr.value is not None
    assert "one class only" in result.sentences[0]


def test_nothing_to_do_is_an_error(manifest, tmp_path):
    """No perturbation, or only `none`, is refused before anything is scored; an unknown point lists the known."""
    with pytest.raises(BadConfig, match=r"such as jpeg:90"):
        measure_robustness(GrainDetector(), "grain", manifest, [parse_perturbation("none")], folder=tmp_path / "run")
    result = measure_robustness(
        TintDetector(), "tint", manifest, [parse_perturbation("blur:1")], folder=tmp_path / "run", protocol=FEW
    )
    with pytest.raises(BadConfig, match="there are: blur:1, none"):
        result.point("jpeg:5")


@pytest.fixture
def registered():
    """The grain detector under a name the command line knows."""
    DETECTORS.add(Entry("grain-for-tests", f"{__name__}:GrainDetector", Card(summary="scripted")))
    yield "grain-for-tests"
    del DETECTORS._entries["grain-for-tests"]


@pytest.mark.usefixtures("manifest")
def test_the_command_prints_a_table_and_leaves_a_folder(tmp_path, registered):
    """A row a perturbation at 80 columns, the sentences, `robustness.json`; --images takes fewer."""
    common = ["robustness", "--detector", registered, "--data", str(tmp_path / "m.csv"), "--resamples", "30"]
    run = CliRunner().invoke(
        app, [*common, "--perturb", "jpeg:80,40", "--perturb", "long40+jpeg:60", "--out", str(tmp_path / "r")],
        env={"COLUMNS": "80"},
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    assert max(map(len, run.stdout.splitlines())) <= 80
    for word in ("jpeg:80", "jpeg:40", "long:40+jpeg:60", "Untouched, AUC is 100.0 %"):
        assert word in run.stdout
    assert (tmp_path / "r" / "robustness.json").is_file()
    assert (tmp_path / "r" / "jpeg-80" / "scores.parquet").is_file()
    few = CliRunner().invoke(
        app, [*common, "--perturb", "blur:1", "--images", "6", "--json", "--out", str(tmp_path / "q")]
    )
    record = json.loads(few.stdout)
    assert (record["points"][0]["n_fake"], record["points"][0]["n_real"]) == (3, 3)


@pytest.mark.usefixtures("manifest")
def test_a_wrong_perturbation_is_told_before_the_weights_are_loaded(tmp_path):
    """The unknown family is named although the detector does not exist either."""
    with pytest.raises(UnknownName, match="perturbation 'sharpen'"):
        CliRunner().invoke(
            app,
            ["robustness", "--detector", "none", "--data", str(tmp_path / "m.csv"), "--perturb", "sharpen:2"],
            catch_exceptions=False,
        )
