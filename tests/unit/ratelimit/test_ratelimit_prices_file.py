"""Prices are read to the last millionth, or refused with line and field."""

import pytest

from mainstay.errors import ConfigurationError
from services.ratelimit.prices import Price
from services.ratelimit.prices_file import MAX_PRICES, read_prices
from shared.policy_file import PolicyReader


def _read(text: str) -> dict[str, Price]:
    reader = PolicyReader()
    node = reader.document(text)
    assert node is not None
    table = read_prices(reader, node, "prices")
    reader.check("rate limit policy", "ratelimit.yaml")
    return dict(table.prices)


def _refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        _read(text)
    return caught.value.message


class TestPrices:
    @pytest.mark.parametrize(
        ("text", "micros"),
        [
            ("2.50", 2_500_000),
            ("10", 10_000_000),
            ("0.075", 75_000),
            ("0.000001", 1),
            ("0", 0),
            ("100000", 100_000_000_000),
        ],
    )
    def test_are_dollars_for_a_million_tokens(self, text: str, micros: int) -> None:
        """Exactly: no float is in between."""
        assert (
            _read(f"openai/gpt-4o: {{input: {text}, output: 1}}")["openai/gpt-4o"].input == micros
        )

    def test_of_cached_tokens_are_those_of_input_when_left_out(self) -> None:
        """A provider that does not cache has no third price."""
        read = _read(
            "openai/gpt-4o: {input: 2.50, output: 10.00, cached_input: 1.25}\n"
            '"anthropic/*": {input: 3, output: 15}\n'
        )

        assert read == {
            "openai/gpt-4o": Price(input=2_500_000, output=10_000_000, cached_input=1_250_000),
            "anthropic/*": Price(input=3_000_000, output=15_000_000, cached_input=3_000_000),
        }

    def test_may_be_none(self) -> None:
        """A policy without AI has an empty table."""
        assert _read("{}") == {}


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("\n- openai", "line 2: prices is not a mapping"),
            ("openai: {input: 1, output: 1}", "line 1: prices.openai is no model"),
            ("openai/: {input: 1, output: 1}", "prices.openai/ is no model"),
            ("/gpt: {input: 1, output: 1}", "prices./gpt is no model"),
            ("o*/gpt*: {input: 1, output: 1}", "prices.o*/gpt* has a star before its end"),
            (f"a/{'b' * 78}: {{input: 1, output: 1}}", "has more than 79 characters"),
            ("a/b: 5", "line 1: prices.a/b is not a mapping"),
            ("a/b:\n  input: 1", "line 2: prices.a/b.output is missing"),
            ("a/b: {input: 1, output: 1, image: 1}", "prices.a/b.image is not known here"),
            ("a/b: {input: 1, output: 1}\na/b: {}", "line 2: prices.a/b is written twice"),
            ("a/b: {input: -1, output: 1}", "prices.a/b.input is '-1'; write US dollars"),
            ("a/b: {input: 1e3, output: 1}", "prices.a/b.input is '1e3'"),
            ("a/b: {input: 0.0000001, output: 1}", "prices.a/b.input is '0.0000001'"),
            ("a/b: {input: 1, output: $5}", "prices.a/b.output is '$5'"),
            ("a/b: {input: 1, output: \u0665}", "prices.a/b.output is "),
            ("a/b: {input: 1, output: [1]}", "prices.a/b.output is no price"),
            ("a/b: {input: 100000.01, output: 1}", "prices.a/b.input is 100000.01; write"),
        ],
    )
    def test_are_told_with_line_and_field(self, text: str, told: str) -> None:
        """Never read as something near them."""
        assert told in _refusal(text)

    def test_are_told_for_a_table_beyond_all_bounds(self) -> None:
        """Nobody writes that many by hand."""
        models = "\n".join(f"a/b{n}: {{input: 1, output: 1}}" for n in range(MAX_PRICES + 1))

        assert "has 10,001 models; write at most 10,000" in _refusal(models)
