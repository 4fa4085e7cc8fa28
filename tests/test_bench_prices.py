"""The price table and the estimate of a run."""

import json
from pathlib import Path

import pytest

from defake.bench.prices import Price, PriceTable, read_prices
from defake.datasets.items import Item, Subject
from defake.errors import BadConfig
from defake.questions import detection_question
from defake.records import Label


def test_an_estimate_by_hand():
    """Two questions of 53 characters about an image of 100 tokens: 2 * (100 + 14) in, 2 * 5 out."""
    subject = Subject("x", Path("x"), Label.FAKE)
    items = [Item(str(i), subject, detection_question("what")) for i in range(2)]
    assert len(items[0].question.prompt) == 53
    table = PriceTable({"m": Price(10.0, 100.0, 100)}, "EUR")
    got = table.estimate(items, "m")
    assert (got.calls, got.input_tokens, got.output_tokens, got.currency) == (2, 228, 10, "EUR")
    assert got.money == pytest.approx((10 * 228 + 100 * 10) / 1e6)
    assert table.estimate(items, "other").money is None
    assert table.estimate(items, "m", max_tokens=3).output_tokens == 6


def test_the_longest_name_that_fits_counts():
    """A wildcard is a fallback for names the table does not spell out."""
    table = PriceTable({"a/*": Price(1, 1), "a/b*": Price(2, 2), "a/b": Price(3, 3)})
    assert table.price("a/x").input == 1
    assert table.price("a/bc").input == 2
    assert table.price("c") is None


def test_the_shipped_table_says_when_it_was_true():
    """Prices age: the shipped table carries a date, and what runs here is free."""
    table = read_prices()
    assert table.as_of
    assert table.price("defake/default").of(10**6, 10**6) == 0
    assert table.price("openai/gpt-4o").input > 0


def test_a_users_table_is_read_in_both_forms(tmp_path):
    """TOML and JSON say the same."""
    (tmp_path / "p.toml").write_text('currency = "EUR"\n[models."m"]\ninput = 1\noutput = 2\nimage_tokens = 3\n')
    (tmp_path / "p.json").write_text(
        json.dumps({"currency": "EUR", "models": {"m": {"input": 1, "output": 2, "image_tokens": 3}}})
    )
    assert read_prices(tmp_path / "p.toml") == read_prices(tmp_path / "p.json")


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "models = 3",
        "[models.m]\ninput = 1",
        '[models.m]\ninput = "x"\noutput = 1',
        "[models.m]\ninput = -1\noutput = 1",
    ],
)
def test_a_bad_table_is_refused(tmp_path, text):
    """A table that cannot be read stops before anything is asked."""
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(BadConfig, match="is no price table"):
        read_prices(tmp_path / "p.toml")
    with pytest.raises(BadConfig, match="no price table at"):
        read_prices(tmp_path / "absent.toml")
