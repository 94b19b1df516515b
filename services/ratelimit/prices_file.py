"""Reads the prices of AI models from the policy."""

import re
from collections.abc import Iterator, Mapping

import yaml

from services.ratelimit.prices import MICROS, Price, PriceTable
from shared.policy_file import PolicyReader

MAX_PRICES = 10_000
MAX_DOLLARS = 100_000

_MAX_NAME = 79  # the reader cuts names after the 80th character
_DOLLARS = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,6}))?")
_WHAT_A_PRICE_IS = "write US dollars per million tokens, such as 2.50"


def read_prices(reader: PolicyReader, node: yaml.Node, path: str) -> PriceTable:
    """Return the prices in a mapping of `provider/model` to input, output and cached_input.

    Mistakes are noted with the reader; a price that has one is not in the table.
    """
    entries = reader.fields(node, path)
    if len(entries) > MAX_PRICES:
        reader.note(node, path, f"has {len(entries):,} models; write at most {MAX_PRICES:,}")
    return PriceTable(prices=dict(_each_price(reader, entries, path)))


def _each_price(
    reader: PolicyReader, entries: Mapping[str, yaml.Node], path: str
) -> Iterator[tuple[str, Price]]:
    for name, node in entries.items():
        field = f"{path}.{name}"
        if mistake := _mistake_in(name):
            reader.note(node, field, mistake)
        parts = reader.fields(node, field, required=("input", "output"), optional=("cached_input",))
        prices = {part: _micros(reader, parts[part], f"{field}.{part}") for part in parts}
        if prices.keys() >= {"input", "output"}:
            # Without a price of their own cached tokens are as dear as any.
            yield name, Price(**{"cached_input": prices["input"], **prices})


def _mistake_in(name: str) -> str | None:
    provider, slash, model = name.removesuffix("*").partition("/")
    if "*" in name[:-1]:
        return "has a star before its end; one may end it"
    if len(name) > _MAX_NAME:
        return f"has more than {_MAX_NAME} characters; end it with a star where it is still unique"
    if not name.endswith("*") and not (provider and slash and model):
        return 'is no model; write one such as openai/gpt-4o, or a pattern such as "openai/*"'
    return None


def _micros(reader: PolicyReader, node: yaml.Node, path: str) -> int:
    text = reader.text(node)
    match = _DOLLARS.fullmatch(text)
    if match is None:
        said = f"is {text[:40]!r}" if text else "is no price"
        reader.note(node, path, f"{said}; {_WHAT_A_PRICE_IS}")
        return 0
    micros = int(match[1]) * MICROS + int((match[2] or "").ljust(6, "0"))
    if micros > MAX_DOLLARS * MICROS:
        reader.note(node, path, f"is {text}; {_WHAT_A_PRICE_IS}, at most {MAX_DOLLARS:,}")
    return micros
