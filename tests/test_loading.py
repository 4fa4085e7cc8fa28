"""A spec leads to a detector, or to a sentence that says why not."""

import json

import pytest

from defake.detectors import load_detector
from defake.errors import BadConfig, UnknownName


def test_a_damaged_record_is_named(tmp_path):
    """detector.json that is no JSON, or lacks a field, is a BadConfig with its path."""
    for text in ("{", "[]", '{"detector": "default"}'):
        (tmp_path / "detector.json").write_text(text)
        with pytest.raises(BadConfig, match=r"detector\.json must be"):
            load_detector(str(tmp_path))


def test_an_option_nobody_takes_is_named(tmp_path):
    """Unknown options are refused with the detector's name."""
    (tmp_path / "detector.json").write_text(json.dumps({"detector": "default", "options": {"colour": "blue"}}))
    with pytest.raises(BadConfig, match=r"'default' does not take these options: .*colour|source"):
        load_detector(str(tmp_path))


def test_an_unknown_spec_lists_the_names():
    """A name with a source is looked up by its name."""
    with pytest.raises(UnknownName, match="unknown detector 'blub'"):
        load_detector("blub:some/model")
