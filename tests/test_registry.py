"""Names lead to classes; whatever fails says so by name."""

import pytest

from defake.errors import BadConfig, MissingExtra, UnknownName
from defake.registry import DETECTORS, Card, Entry, Registry

CARD = Card("a test")


def test_every_registered_detector_exists_and_has_a_card():
    """Each target can be imported, and the card says what the score means and under which licence."""
    for name in DETECTORS.names():
        entry = DETECTORS.get(name)
        assert callable(entry.load()), name
        assert entry.card.summary, name
        assert entry.card.score, name
        assert entry.card.licence, name


def test_an_unknown_name_lists_the_known():
    """The error holds the wrong name and the right ones."""
    registry = Registry("detector", "none", [Entry("b", "x:y", CARD), Entry("a", "x:y", CARD)])
    with pytest.raises(UnknownName, match="unknown detector 'blip'; known: a, b"):
        registry.get("blip")


def test_a_clash_raises():
    """A name is taken once."""
    registry = Registry("detector", "none", [Entry("a", "x:y", CARD)])
    with pytest.raises(BadConfig, match="'a' is taken by x:y"):
        registry.add(Entry("a", "z:w", CARD))


def test_a_missing_extra_prints_the_pip_line():
    """A target whose library is not installed names the extra."""
    with pytest.raises(MissingExtra, match=r"pip install 'defake\[torch\]'"):
        Entry("a", "no_such_library_here:thing", CARD, extra="torch").load()


def test_a_wrong_target_is_a_config_error():
    """A module or attribute that does not exist is named."""
    for target in ("defake.nowhere:thing", "defake.errors:Nothing"):
        with pytest.raises(BadConfig, match="points to"):
            Entry("a", target, CARD).load()


def test_a_broken_plugin_is_reported_and_the_rest_go_on(tmp_path, monkeypatch):
    """Three entry points, one sound: it is found, the two others stand in `failures` by name."""
    package = tmp_path / "odd_plugin-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-plugin\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[defake.oddities]\ngood = odd_plugin:ENTRY\nbad = odd_plugin:NOTHING\nwrong = odd_plugin:NUMBER\n"
    )
    (tmp_path / "odd_plugin.py").write_text(
        "from defake.registry import Card, Entry\nNUMBER = 3\nENTRY = Entry('good', 'odd_plugin:NUMBER', Card('x'))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("oddity", "defake.oddities", [])
    assert registry.names() == ["good"]
    assert sorted(registry.failures) == ["bad", "wrong"]
    assert registry.get("good").load() == 3
