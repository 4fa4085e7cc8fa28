"""`defake check` as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from odd_files import photo, write_bad, write_good
from PIL import Image

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "verdict.schema.json").read_text())


def run(*arguments, **options):
    """One process, as from a shell, 80 columns wide."""
    environment = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "defake", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, env=environment, timeout=300, **options)


@pytest.fixture
def rng():
    """A seeded generator."""
    return np.random.default_rng(11)


@pytest.fixture
def image(tmp_path, rng):
    """One ordinary file."""
    path = tmp_path / "one.png"
    Image.fromarray(photo(rng)).save(path)
    return path


def test_forty_files_give_forty_valid_rows(tmp_path, rng):
    """A folder of 20 bad and 20 good files: one schema-valid object a line, exit code 1, no traceback."""
    bad, good = write_bad(tmp_path, rng), write_good(tmp_path, rng)
    done = run("check", tmp_path, "--json")
    rows = {row["path"]: row for row in map(json.loads, done.stdout.decode().splitlines())}
    assert set(rows) == {str(p) for p in [*bad, *good]}
    for row in rows.values():
        jsonschema.validate(row, SCHEMA)
    assert all(rows[str(p)]["error"] for p in bad)
    assert not [rows[str(p)] for p in good if rows[str(p)]["error"]]
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_scored_means_zero(image):
    """Every file scored: exit code 0, and the score is a stated number with tiles."""
    done = run("check", image, "--json")
    row = json.loads(done.stdout)
    assert done.returncode == 0
    assert 0 <= row["fake_score"] <= 1
    assert row["tiles"]
    assert row["reasons"]
    assert json.loads(run("check", image, "--json").stdout) == row


def test_the_table_fits_eighty_columns(tmp_path, rng, image):
    """No line is wider than the terminal, and errors stand in their row."""
    long_name = tmp_path / ("very_long_name_" * 8 + ".png")
    Image.fromarray(photo(rng)).save(long_name)
    done = run("check", image, long_name, tmp_path / "gone.jpg")
    text = done.stdout.decode()
    assert done.returncode == 1
    assert max(map(len, text.splitlines())) <= 80
    assert "missing" in text
    assert "1 error" in text


def test_a_list_comes_from_stdin(image):
    """Lines and NUL-separated names both work; blank lines do not count."""
    for text in (f"{image}\n\n{image}\n", f"{image}\0{image}\0"):
        done = run("check", "-", "--json", input=text.encode())
        assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == [str(image)] * 2


def test_a_name_that_is_no_text_survives(tmp_path, image):
    """Bytes that are not UTF-8 and terminal codes in names: a row each, no code reaches the terminal."""
    odd = os.fsencode(tmp_path) + b"/\xff\xfe\x1b[31m.png"
    os.rename(image, odd)  # noqa: PTH104 - a Path cannot hold bytes
    table = run("check", tmp_path)
    assert table.returncode == 0
    assert b"\x1b" not in table.stdout
    row = json.loads(run("check", tmp_path, "--json").stdout)
    assert os.fsencode(row["path"]) == odd


def test_wrong_usage_is_two(tmp_path):
    """No such detector, nothing to score, an unknown option: exit code 2 and one clear line."""
    (tmp_path / "empty").mkdir()
    cases = [
        (("check", tmp_path / "empty"), b"no images found"),
        (("check", "a.png", "--detector", "nope"), b"unknown detector 'nope'; known:"),
        (("check", "a.png", "--no-such-option"), b"--no-such-option"),
        (("check",), b"Missing argument"),
    ]
    for arguments, text in cases:
        done = run(*arguments)
        assert done.returncode == 2, arguments
        assert text in done.stderr
        assert b"Traceback" not in done.stderr


def test_heatmaps_are_written(tmp_path, image):
    """One overlay an image, named after it, and two files of one name in two folders do not collide."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "one.png").write_bytes(image.read_bytes())
    done = run("check", image, tmp_path / "other", "--heatmap", tmp_path / "maps")
    assert done.returncode == 0
    overlays = sorted((tmp_path / "maps").iterdir())
    assert [p.name.split("-")[0] for p in overlays] == ["one", "one"]
    with Image.open(overlays[0]) as overlay:
        assert overlay.width >= 300
    (tmp_path / "file").write_text("")
    assert run("check", image, "--heatmap", tmp_path / "file").returncode == 2


def test_the_pixel_limit_moves(image):
    """--max-megapixels is the limit that refuses."""
    row = json.loads(run("check", image, "--json", "--max-megapixels", "0.01").stdout)
    assert row["error"]["code"] == "too_large"


def test_a_closed_pipe_is_no_traceback(tmp_path, rng):
    """`defake check … --json | head -1` ends quietly."""
    for number in range(6):
        Image.fromarray(photo(rng)).save(tmp_path / f"{number}.png")
    command = f"{sys.executable} -m defake check {tmp_path} --json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=120)
    assert b"Traceback" not in done.stderr


def test_detectors_are_listed_with_their_cards():
    """The default is there, its card names training data and licence."""
    done = run("detectors", "default")
    assert done.returncode == 0
    assert b"CLIP" in done.stdout
    assert "default" in json.loads(run("detectors", "--json").stdout)


def test_importing_defake_is_light():
    """`import defake` loads neither numpy, onnxruntime nor torch."""
    code = "import defake, sys; assert not {'numpy', 'onnxruntime', 'torch', 'PIL'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
