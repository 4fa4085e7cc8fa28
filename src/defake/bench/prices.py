"""What a run will cost, by a price table the user can edit, and a budget that stops it."""

from __future__ import annotations

import fnmatch
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defake.errors import BadConfig
from defake.questions import Ability

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from defake.datasets.items import Item

SHIPPED = Path(__file__).with_name("prices.toml")
# Source: ours; tokens of a typical answer, for the estimate only.
ANSWER_TOKENS = {Ability.FAKECLASS: 5, Ability.FAULTFINDING: 150, Ability.INFERENCE: 250, Ability.FAKEQA: 60}
REASONING_TOKENS = 250
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Price:
    """Money for a million tokens, and how many tokens an image counts as."""

    input: float
    output: float
    image_tokens: int = 765

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """Money for that many tokens."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will ask for; `money` is None if the table has no price for the model."""

    calls: int
    input_tokens: int
    output_tokens: int
    money: float | None
    currency: str


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices by model name; a name may hold wildcards, and the longest one that fits counts."""

    prices: Mapping[str, Price]
    currency: str = "USD"
    as_of: str = ""

    def price(self, model: str) -> Price | None:
        """The price of a model, or None if the table does not know it."""
        fitting = [name for name in self.prices if fnmatch.fnmatchcase(model, name)]
        return self.prices[max(fitting, key=len)] if fitting else None

    def estimate(self, items: Iterable[Item], model: str, *, max_tokens: int | None = None) -> Estimate:
        """Calls, tokens and money for asking these items; answers are taken to be of typical length.

        Source: ours; four characters a token, and the table's tokens an image.
        """
        price = self.price(model)
        image_tokens = price.image_tokens if price else Price(0, 0).image_tokens
        calls = put_in = put_out = 0
        for item in items:
            question = item.question
            expected = ANSWER_TOKENS[question.ability] + REASONING_TOKENS * question.reasons_first
            calls += 1
            put_in += image_tokens + len(question.prompt) // CHARACTERS_PER_TOKEN + 1
            put_out += min(expected, max_tokens or expected)
        money = price.of(put_in, put_out) if price else None
        return Estimate(calls, put_in, put_out, money, self.currency)


def read_prices(path: str | Path | None = None) -> PriceTable:
    """Read a price table (TOML or JSON); the shipped one by default.

    The form: `currency`, `as_of`, and `[models."openai/gpt-4o"]` with `input` and `output` (money for a million
    tokens) and optionally `image_tokens`.

    Raises: BadConfig if the file is absent or malformed.
    """
    file = Path(path) if path is not None else SHIPPED
    try:
        text = file.read_text(encoding="utf-8")
        table: dict[str, Any] = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        prices = {name: _price(name, entry) for name, entry in table["models"].items()}
    except OSError as error:
        raise BadConfig(f"no price table at {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadConfig(f"{file} is no price table (currency, as_of, models.NAME.input/output): {error}") from error
    return PriceTable(prices, str(table.get("currency", "USD")), str(table.get("as_of", "")))


def _price(name: str, entry: Mapping[str, Any]) -> Price:
    price = Price(float(entry["input"]), float(entry["output"]), int(entry.get("image_tokens", 765)))
    if min(price.input, price.output, price.image_tokens) < 0:
        raise ValueError(f"a price of {name!r} is negative")
    return price
