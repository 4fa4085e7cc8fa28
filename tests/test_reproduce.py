"""Published experiments as commands: the machinery end to end, the arithmetic of the table, refusals."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("skimage")

import torch

from defake.cli import app
from defake.datasets.manifest import Manifest
from defake.errors import BadConfig, BadDataset
from defake.reproduce import tiny
from defake.reproduce.vlm_detect import CONTENDERS, choose, mean_accuracy, published_rows, reproduce, tabulate


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The whole experiment at the smallest budget with three models, through the command line."""
    out = tmp_path_factory.mktemp("tiny") / "run"
    command = ["reproduce", "vlm-detect", "--scale", "tiny", "--budget", "0.02", "--out", str(out)]
    models = ["--models", "resnet50,vit-gpt2,probe"]
    return out, command + models, CliRunner().invoke(app, command + models)


def test_the_tiny_experiment_runs_from_data_to_table(ran):
    """Every model is trained, tested on all four generators, and the output says what it is."""
    out, _, result = ran
    assert result.exit_code == 0, result.output
    assert "TINY SCALE" in result.stdout
    assert "its figures say nothing" in result.stdout
    tables = json.loads((out / "tables.json").read_text())["tables"]
    assert [table["model"] for table in tables] == ["resnet50", "vit-gpt2", "probe"]
    for table in tables:
        assert [row["generator"] for row in table["rows"]] == ["transposed", "bilinear", "nearest", "shuffle"]
        assert [row["is_seen"] for row in table["rows"]] == [True, False, False, False]
        unseen = np.mean([row["figures"]["accuracy"]["value"] for row in table["rows"] if not row["is_seen"]])
        assert table["mean_unseen"]["value"] == pytest.approx(unseen)
        assert table["mean_unseen"]["low"] <= unseen <= table["mean_unseen"]["high"]
    assert "92.45" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


def test_finished_models_are_not_trained_again(ran):
    """The same command again prints the same tables, trains nothing and scores nothing."""
    out, command, first = ran
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != "tables.json"}
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0
    assert again.stdout == first.stdout
    kept = {path: path.stat().st_mtime_ns for path in before if path.name != "tiny.json"}
    assert kept == {path: time for path, time in before.items() if path.name != "tiny.json"}
    assert again.stderr.count("finished; nothing to do") == 3


def test_no_photograph_stands_in_two_splits(ran):
    """Sources of train, val and test are disjoint, and every fake is made of a photograph of its own split."""
    with (ran[0] / "images" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sources = {split: {row["source"] for row in rows if row["split"] == split} for split in ("train", "val", "test")}
    assert all(sources.values())
    assert not sources["train"] & sources["val"]
    assert not sources["test"] & (sources["train"] | sources["val"])
    assert {Path(name).stem for names in tiny.PHOTOGRAPHS.values() for name in names} == set().union(*sources.values())


def test_a_seed_makes_the_same_images(tmp_path):
    """Two runs of one seed write the same bytes; another seed does not."""

    def digest(name, seed):
        manifest = tiny.make_images(tmp_path / name, seed=seed, budget=0.02, say=lambda _: None)
        return [path.read_bytes() for path in sorted(manifest.parent.rglob("*.png"))]

    first = digest("a", 1)
    assert digest("b", 1) == first
    assert digest("c", 2) != first


def test_generators_leave_more_than_the_photograph():
    """A trained auto-encoder comes near the photograph and is not it."""
    rng = np.random.default_rng(0)
    crops, _ = tiny.crop_photographs("train", 24, rng)
    for up in tiny.GENERATORS:
        made = tiny.generate(tiny.train_generator(up, crops, 60, rng), crops)
        assert made.shape == crops.shape
        assert made.dtype == np.uint8
        gap = np.abs(made.astype(int) - crops.astype(int)).mean()
        assert 0 < gap < np.abs(crops.astype(int) - crops.mean(axis=(1, 2), keepdims=True)).mean() * 2


def small_test_set():
    """Four photographs, two fakes of `seen`, two of `other`."""
    columns = {
        "path": [f"{i}.png" for i in range(8)],
        "is_fake": [False] * 4 + [True] * 4,
        "generator": [None] * 4 + ["seen", "seen", "other", "other"],
    }
    return Manifest.from_columns(columns, Path())


def test_the_table_by_hand():
    """One of four photographs called fake, both seen fakes caught, one of the others; one answer missing."""
    scores = np.array([0.1, 0.2, 0.3, 0.9, 0.8, 0.7, 0.6, np.nan])
    table = tabulate("m", small_test_set(), scores, "seen", np.random.default_rng(0))
    assert [(row.generator, row.is_seen, row.n_fake, row.n_real) for row in table.rows] == [
        ("seen", True, 2, 4), ("other", False, 2, 4),
    ]  # fmt: skip
    assert table.rows[0].figures["accuracy"].value == pytest.approx(5 / 6)
    assert table.rows[1].figures["accuracy"].value == pytest.approx(4 / 6)
    assert table.rows[1].figures["recall"].value == pytest.approx(1 / 2)
    assert table.mean_unseen.value == pytest.approx(4 / 6)
    assert table.mean_all.value == pytest.approx((5 / 6 + 4 / 6) / 2)


def test_the_mean_over_no_generator_is_undefined():
    """A test set with the seen generator alone has no unseen mean, not a mean of 0."""
    found = mean_accuracy(small_test_set(), np.zeros(8), [], np.random.default_rng(0))
    assert found.value is found.low is None


def test_published_figures_stand_beside_the_same_experiment_only():
    """BLIP-2 trained on LDM has the paper's cells; anything else has none."""
    rows = published_rows("blip2", "LDM")
    assert rows["SD v1.4"] == (77.68, 71.79)
    assert len(rows) == 7
    assert published_rows("resnet50", "LDM") == published_rows("blip2", "ADM") == {}


def test_the_published_recipe_is_the_default():
    """The full-scale BLIP-2 is trained as VLM-DETECT trains it."""
    recipe = CONTENDERS["blip2"].recipe
    assert (recipe.lora_rank, recipe.lora_alpha, recipe.lora_dropout) == (16, 32, 0.05)
    assert (recipe.epochs, recipe.learning_rate, recipe.batch_size, recipe.seed) == (20, 5e-5, 32, 42)
    assert set(CONTENDERS) == {"blip2", "vit-gpt2", "resnet50", "xception", "deit", "probe"}


def write_set(folder, rows):
    """A manifest of small images of distinct colours unless a colour is given."""
    lines = ["path,label,generator,split"]
    for i, (label, generator, split, *colour) in enumerate(rows):
        Image.new("RGB", (16, 16), colour[0] if colour else (i, 2 * i, 3 * i)).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{label},{generator},{split}")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    return folder / "m.csv"


def test_data_that_cannot_carry_the_experiment_are_refused(tmp_path):
    """No splits, no such generator, a test image that was trained on: each is named before training."""
    names = iter("abc")

    def refused(rows, words):
        folder = tmp_path / next(names)
        folder.mkdir()
        with pytest.raises(BadDataset, match=words):
            reproduce(write_set(folder, rows), "LDM", [CONTENDERS["resnet50"]], folder / "out")
        assert not (folder / "out").exists()

    whole = [("real", "", "train"), ("fake", "LDM", "train"), ("real", "", "val"), ("fake", "LDM", "val")]
    refused([("real", "", ""), ("fake", "LDM", "")], "needs rows of the splits train and test")
    refused([("real", "", "train"), ("fake", "ADM", "test")], "no fakes of 'LDM'.*there are: ADM")
    twin = [("real", "", "train", "red"), ("real", "", "test", "red"), ("fake", "LDM", "test")]
    refused([*whole, *twin], "1 test image")


def test_unknown_models_and_mixed_options_are_refused(tmp_path):
    """A misspelt model lists the known ones; tiny takes no data, full needs them; a tiny folder keeps its settings."""
    with pytest.raises(BadConfig, match=r"unknown model\(s\) blip3; known: blip2, "):
        choose(["blip3"], CONTENDERS)
    base = ["reproduce", "vlm-detect", "--out", str(tmp_path / "x")]
    for extra, words in (
        (["--scale", "tiny", "--data", str(tmp_path)], "leave --data out"),
        ([], "--data is missing"),
        (["--scale", "huge"], "one of full, tiny"),
    ):
        result = CliRunner().invoke(app, base + extra)
        assert isinstance(result.exception, BadConfig)
        assert words in str(result.exception)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "tiny.json").write_text('{"seed": 7, "budget": 0.02}')
    result = CliRunner().invoke(app, [*base, "--scale", "tiny", "--budget", "0.02"])
    assert "another seed or budget" in str(result.exception)
