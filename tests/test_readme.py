"""Every block of the README runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from odd_files import photo
from PIL import Image

SRC = Path(__file__).parents[1] / "src"
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
# Set-up of a machine, and what needs models from a hub; everything else is run as printed.
NOT_RUN = ("make ", "pip ", "git ", "cd ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    rng = np.random.default_rng(0)
    for name in ("photo.jpg", "downloads/a.jpg", "downloads/b.png", "scans/deep/c.png", "d.webp"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(rng)).save(path)
    rows = ["path,label,generator,source,split"]
    for number in range(12):
        Image.fromarray(photo(rng)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{'fake,sd' if number % 2 else 'real,'},s{number % 3},test")
    (folder / "manifest.csv").write_text("\n".join(rows))
    return folder


def commands():
    """The lines a user would type, comments cut."""
    for language, text in BLOCKS:
        if language == "console":
            for line in text.splitlines():
                if line.startswith("$ ") and not line.startswith(tuple(f"$ {word}" for word in NOT_RUN)):
                    yield line[2:].split("  #")[0]


@pytest.mark.parametrize("command", list(commands()))
def test_a_command_runs_as_printed(command, folder):
    """Exit code 0, no traceback."""
    shell = f'defake() {{ "{sys.executable}" -m defake "$@"; }}; set -eo pipefail; {command}'
    environment = {**os.environ, "COLUMNS": "80", "PYTHONPATH": str(SRC)}
    done = subprocess.run(
        ["bash", "-c", shell], cwd=folder, capture_output=True, check=False, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("code", [text for language, text in BLOCKS if language == "python"])
def test_python_runs_as_printed(code, folder):
    """The example runs in a fresh interpreter."""
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
