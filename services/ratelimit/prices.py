"""What AI models cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

MICROS = 1_000_000
"""Millionths of a US dollar in a dollar, and tokens that a price is for."""


class Tokens(NamedTuple):
    """What a call took and gave; `cached_input` is the part of `input` that the provider had."""

    input: int
    output: int
    cached_input: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of a million tokens, in millionths of a US dollar."""

    input: int
    output: int
    cached_input: int

    def cost(self, tokens: Tokens) -> int:
        """Return what a call costs in millionths of a US dollar, rounded up."""
        for_a_million = (
            (tokens.input - tokens.cached_input) * self.input
            + tokens.cached_input * self.cached_input
            + tokens.output * self.output
        )
        return -(-for_a_million // MICROS)

    def highest_cost(self, tokens: Tokens) -> int:
        """Return what a call costs if the provider has cached whatever makes it dearest."""
        cached = tokens.input if self.cached_input > self.input else 0
        return self.cost(tokens._replace(cached_input=cached))


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    """Prices by `provider/model`, or by a pattern of it that ends in a star."""

    prices: Mapping[str, Price] = field(default_factory=dict)

    def price(self, provider: str, model: str) -> Price | None:
        """Return the price of a model: its own, else that of the longest pattern, else None.

        A provider has no slash in its name, so that no two models share one entry.
        """
        name = f"{provider}/{model}"
        if exact := self.prices.get(name):
            return exact
        # A table has a hundred entries, and a name a hundred characters: asking for each beginning
        # of the name costs microseconds beside a call that takes seconds.
        for length in range(len(name), -1, -1):
            if price := self.prices.get(f"{name[:length]}*"):
                return price
        return None
