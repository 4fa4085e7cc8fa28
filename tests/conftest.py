"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared():
    """The folder of labelled crops, query files and published tables, which is not part of the repository."""
    folder = Path(os.environ.get("DEFAKE_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the labelled crops, which are not public: no folder {folder}")
    return folder
