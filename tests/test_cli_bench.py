"""`defake bench` as a user meets it."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image


def bench(*arguments, cwd):
    """Run the command line in a process of its own, 80 columns wide."""
    env = {**os.environ, "COLUMNS": "80", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", "defake", "bench", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two fakes and two photographs."""
    folder = tmp_path_factory.mktemp("pictures")
    for label in ("fake", "real"):
        (folder / label).mkdir()
        for i in range(2):
            noise = np.random.default_rng(i).integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / label / f"{i}.png")
    return folder


def test_a_run_prints_its_figures_and_is_resumed(pictures, tmp_path):
    """The table goes to stdout and fits 80 columns; the same command again takes the finished log."""
    command = ("run", "--model", "defake-scripted/statistics", "--data", pictures, "--pairs", "--progress", "none")
    first = bench(*command, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "fakeclass" in first.stdout
    assert "flips" in first.stdout
    assert all(len(line) <= 80 for line in first.stdout.splitlines())
    [folder] = (tmp_path / "bench-runs").iterdir()
    assert len((folder / "journal.jsonl").read_text().splitlines()) == 8
    again = bench(*command, cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert len(list((folder / "logs").iterdir())) == 1


def test_a_dry_run_asks_nothing(pictures, tmp_path):
    """Calls, tokens and money are told, and no folder is made."""
    got = bench("run", "--model", "openai/gpt-4o", "--data", pictures, "--pairs", "--dry-run", cwd=tmp_path)
    assert got.returncode == 0, got.stderr
    assert "8" in got.stdout
    assert "USD" in got.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "defake-scripted/x", "--data", "absent"), "no such file or folder"),
        (("--model", "defake-scripted/x", "--data", "{pictures}", "--task", "fakeqa"), "labels only"),
        (("--model", "defake-scripted/x", "--data", "{pictures}", "--task", "all-of-it"), "unknown task"),
        (("--model", "defake-scripted/x", "--data", "{pictures}", "--prompts", "mine"), "'paper' or 'fixed'"),
        (("--model", "defake-scripted/x", "--data", "{pictures}", "-M", "oops"), "name=value"),
        (("--model", "x/y", "--data", "{pictures}", "--max-cost", "1"), "needs a price"),
    ],
)
def test_wrong_usage_is_one_line(pictures, tmp_path, arguments, message):
    """A mistake is told in a line, with exit code 2."""
    got = bench("run", *(a.format(pictures=pictures) for a in arguments), cwd=tmp_path)
    assert got.returncode == 2, got.stderr
    assert message in got.stderr
    assert "Traceback" not in got.stderr
