"""`defake evaluate`, `calibrate` and `prevalence` as a user types them."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from defake.cli import app
from defake.detectors import load_detector
from defake.errors import BadConfig, BadDataset, UnknownName
from defake.registry import DETECTORS, Card, Entry
from defake.store import RunFolder, write_scores


@pytest.fixture(autouse=True)
def bright():
    """Two detectors that a test can foresee, for the time of one test."""
    entries = {
        "bright": Entry("bright", "scripted:BrightnessDetector", Card("mean brightness")),
        "silent": Entry("silent", "scripted:SilentDetector", Card("never answers")),
    }
    DETECTORS._entries.update(entries)
    yield
    for name in entries:
        del DETECTORS._entries[name]


@pytest.fixture
def data(tmp_path):
    """Sixty images of two generators and two splits; fakes are brighter, not all of them."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    rows = ["path,label,generator,source,split,mood"]
    for i in range(60):
        fake = i % 2
        level = rng.normal(150 if fake else 100, 30)
        pixels = np.clip(rng.normal(level, 10, (24, 24, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        generator = ("g[1]", "g2")[i // 2 % 2] if fake else ""
        rows.append(f"{i}.png,{'fake' if fake else 'real'},{generator},s{i % 5},{'val' if i < 20 else 'test'},happy")
    (folder / "manifest.csv").write_text("\n".join(rows))
    return folder


def run(*arguments):
    """One command, 80 columns wide; a DefakeError comes through as it is."""
    command = [str(argument) for argument in arguments]
    done = CliRunner(env={"COLUMNS": "80"}).invoke(app, command, catch_exceptions=True)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


QUICK = ("--resamples", 40)


def test_a_run_folder_and_a_table(data, tmp_path):
    """Scores, config and figures are stored; the table shows every generator, the null and the frozen threshold."""
    out = run("evaluate", "--detector", "bright", "--data", data / "manifest.csv", "--out", tmp_path / "run", *QUICK)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["config.json", "metrics.json", "scores.parquet"]
    for text in ("AUC", "zero-pixel null", "g[1]", "g2", "mean of", "split 'val'", "bootstrap by source", "PPV"):
        assert text in out, text
    assert max(len(line) for line in out.splitlines()) <= 80
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["depends_on"]["detector"] == "bright"
    assert config["depends_on"]["manifest_sha256"]
    assert config["versions"]["pillow"]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["threshold"]["origin"] == "validation"
    assert {"auc", "low", "high"} <= set(metrics["zero_pixel_null"])
    assert len(RunFolder.open(tmp_path / "run").scores()) == 60


def test_stored_scores_are_not_scored_again(data, tmp_path):
    """The images are gone, the figures are the same; the same command goes on with the same run."""
    command = ("evaluate", "--detector", "bright", "--data", data / "manifest.csv", "--out", tmp_path / "run", *QUICK)
    first = json.loads(run(*command, "--json"))
    assert json.loads(run(*command, "--json")) == first
    for image in data.glob("*.png"):
        image.unlink()
    again = json.loads(run("evaluate", tmp_path / "run", *QUICK, "--json"))
    assert again["evaluations"][0]["rows"] == first["evaluations"][0]["rows"]
    assert again["evaluations"][0]["zero_pixel_null"] == first["evaluations"][0]["zero_pixel_null"]
    file = json.loads(run("evaluate", "--scores", tmp_path / "run" / "scores.parquet", *QUICK, "--json"))
    assert file["evaluations"][0]["rows"] == first["evaluations"][0]["rows"]
    assert file["evaluations"][0]["zero_pixel_null"] is None


def test_an_unfinished_run_says_so(data, tmp_path):
    """Half of the rows are figures of half of the images, and the first note says it."""
    common = ("--data", data / "manifest.csv", "--out", tmp_path / "run", "--no-null", *QUICK)
    run("evaluate", "--detector", "bright", *common)
    store = tmp_path / "run" / "scores.parquet"
    scores = RunFolder.open(tmp_path / "run").scores()
    write_scores(scores.where(np.arange(40)), store)
    found = json.loads(run("evaluate", tmp_path / "run", *QUICK, "--json"))
    assert found["evaluations"][0]["notes"][0] == "the run is not finished: 40 of 60 images"


def test_compare_and_matrix(data, tmp_path):
    """Two runs of the same images: a sentence; trained folders: off-diagonal mean and worst cell."""
    for name, generator in (("on-g1", "g[1]"), ("on-g2", "g2")):
        (tmp_path / name).mkdir()
        record = {"detector": "bright", "options": {"source": None}, "trained_on": [generator]}
        (tmp_path / name / "detector.json").write_text(json.dumps(record))
    detectors = [x for name in ("on-g1", "on-g2") for x in ("--detector", tmp_path / name)]
    DETECTORS._entries["bright"] = Entry("bright", "test_cli_evaluate:Sourced", Card("takes a source"))
    common = ("--data", data / "manifest.csv", "--out", tmp_path / "runs", "--no-null", *QUICK)
    out = run("evaluate", *detectors, *common, "--compare")
    assert "cannot be separated" in " ".join(out.split())
    out = run("evaluate", "--matrix", tmp_path / "runs" / "on-g1", tmp_path / "runs" / "on-g2", *QUICK)
    assert "off-diagonal mean" in out
    assert "worst cell" in out
    assert "over 2 cells" in out
    assert max(len(line) for line in out.splitlines()) <= 80
    table = json.loads(run("evaluate", "--matrix", *(tmp_path / "runs").iterdir(), *QUICK, "--json"))["matrix"]
    assert {tuple(row["trained_on"]) for row in table["rows"]} == {("g[1]",), ("g2",)}


def Sourced(source=None):  # noqa: N802 - stands where a class would
    """A brightness detector that a trained folder makes."""
    from scripted import BrightnessDetector

    assert source is None
    detector = BrightnessDetector()
    detector.name = "bright"
    return detector


def test_calibrate_then_evaluate(data, tmp_path):
    """The calibration is written with its picture, loaded by name, and changes the scores, not their order."""
    out = run("calibrate", "--detector", "bright", "--data", data / "manifest.csv", "--out", tmp_path / "fit")
    assert "calibration error" in out
    assert sorted(p.name for p in (tmp_path / "fit").iterdir()) == ["calibration.json", "reliability.png"]
    common = ("--data", data / "manifest.csv", "--out", tmp_path / "run", "--no-null", *QUICK)
    run("evaluate", "--detector", "bright", "--calibration", tmp_path / "fit", *common)
    written = json.loads((tmp_path / "fit" / "calibration.json").read_text())
    used = json.loads((tmp_path / "run" / "config.json").read_text())["depends_on"]["calibration"]
    assert used == {"slope": written["slope"], "intercept": written["intercept"]}
    with pytest.raises(BadConfig, match="--out"):
        run("calibrate", "--detector", "bright", "--data", data / "manifest.csv")


def test_a_trained_folder_finds_its_calibration(data, tmp_path):
    """Written beside its weights without being told where, and found there by the next load."""
    DETECTORS._entries["bright"] = Entry("bright", "test_cli_evaluate:Sourced", Card("takes a source"))
    (tmp_path / "detector.json").write_text('{"detector": "bright", "options": {"source": null}}')
    run("calibrate", "--detector", tmp_path, "--data", data / "manifest.csv", "--error", 0.1)
    written = json.loads((tmp_path / "calibration.json").read_text())
    found = load_detector(str(tmp_path)).calibration
    assert (found.slope, found.fake_above) == (written["slope"], written["fake_above"])
    assert written["fitted_on"]["declared_error"] == 0.1


def test_share_of_an_unlabelled_folder(data, tmp_path):
    """The estimate with its interval; broken files are named and left out."""
    common = ("--data", data / "manifest.csv", "--out", tmp_path / "run", "--fpr", 0.2, "--no-null", *QUICK)
    run("evaluate", "--detector", "bright", *common)
    (data / "broken.png").write_bytes(b"")
    out = run("prevalence", data, "--run", tmp_path / "run", "--detector", "bright")
    assert "60 images scored, 1 failed" in out
    found = json.loads(run("prevalence", data, "--run", tmp_path / "run", "--detector", "bright", "--json"))
    assert found["low"] <= found["value"] <= found["high"]
    assert found["low"] < 0.5 < found["high"]
    with pytest.raises(BadConfig, match="is of detector 'bright'"):
        run("prevalence", data, "--run", tmp_path / "run", "--detector", "silent")


def test_wrong_usage_is_told(data, tmp_path):
    """No detector, no data, an unknown name, another run's folder, a missing split, no answer at all."""
    manifest = data / "manifest.csv"
    with pytest.raises(BadConfig, match="either detectors"):
        run("evaluate", "--data", manifest)
    with pytest.raises(BadConfig, match="--data"):
        run("evaluate", "--detector", "bright")
    with pytest.raises(UnknownName, match="blip9"):
        run("evaluate", "--detector", "blip9", "--data", manifest)
    with pytest.raises(BadDataset, match="'tset'"):
        run("evaluate", "--detector", "bright", "--data", manifest, "--split", "tset")
    with pytest.raises(BadConfig, match="--reals"):
        run("evaluate", "--detector", "bright", "--data", manifest, "--reals", "none")
    with pytest.raises(BadDataset, match="gave no answer"):
        run("evaluate", "--detector", "silent", "--data", manifest, "--threshold", 0.5, "--out", tmp_path / "s")
    with pytest.raises(BadConfig, match="holds another run"):
        run("evaluate", "--detector", "bright", "--data", manifest, "--out", tmp_path / "s")
    with pytest.raises(BadConfig, match="no run folder"):
        run("evaluate", tmp_path)
    (data / "3.png").unlink()
    with pytest.raises(BadDataset, match=r"1 of 60 files are missing"):
        run("evaluate", "--detector", "bright", "--data", manifest, "--out", tmp_path / "m")
