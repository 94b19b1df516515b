"""What a call to an AI model costs, and which price it has."""

import pytest

from services.ratelimit.prices import Price, PriceTable, Tokens

CHEAP = Price(input=1, output=1, cached_input=1)
GPT = Price(input=2_500_000, output=10_000_000, cached_input=1_250_000)


class TestPriceOfAModel:
    @pytest.mark.parametrize(
        ("names", "model", "found"),
        [
            (("openai/gpt-4o", "openai/gpt-4o*", "openai/*"), "gpt-4o", "openai/gpt-4o"),
            (("openai/gpt-4o", "openai/gpt*", "openai/*"), "gpt-4o-mini", "openai/gpt*"),
            (("openai/*", "openai/gpt-4o-mini*"), "gpt-4o-mini", "openai/gpt-4o-mini*"),
            (("openai/*", "*"), "o3", "openai/*"),
            (("mistral/*", "open*"), "o3", "open*"),
            (("mistral/*", "*"), "o3", "*"),
            (("mistral/*", "openai/o3-mini"), "o3", None),
            (("openai/O3",), "o3", None),
            ((), "o3", None),
        ],
    )
    def test_is_the_exact_one_else_that_of_the_longest_pattern(
        self, names: tuple[str, ...], model: str, found: str | None
    ) -> None:
        """Or none: a guess would be wrong money."""
        prices = {name: Price(input=n, output=n, cached_input=n) for n, name in enumerate(names, 1)}
        price = PriceTable(prices=prices).price("openai", model)

        assert (prices[found] if found else None) == price

    def test_is_found_for_a_model_with_a_slash(self) -> None:
        """As brokers of several providers name theirs."""
        table = PriceTable(prices={"broker/openai/*": GPT, "broker/*": CHEAP})

        assert table.price("broker", "openai/gpt-4o") is GPT


class TestCost:
    @pytest.mark.parametrize(
        ("tokens", "micros"),
        [
            (Tokens(1_000_000, 0), 2_500_000),
            (Tokens(0, 1_000_000), 10_000_000),
            (Tokens(1_000, 500), 7_500),
            (Tokens(1_000, 500, 400), 1_500 + 500 + 5_000),
            (Tokens(1_000, 0, 1_000), 1_250),
            (Tokens(0, 0), 0),
            (Tokens(1, 0), 3),  # 2.5
            (Tokens(100_000_000, 100_000_000), 1_250_000_000),
        ],
    )
    def test_is_rounded_up_to_a_millionth(self, tokens: Tokens, micros: int) -> None:
        """Once for the call: who charges less than it pays goes broke slowly."""
        assert micros == GPT.cost(tokens)

    def test_of_the_cheapest_price_is_not_nothing(self) -> None:
        """A call with a price costs at least a millionth."""
        assert CHEAP.cost(Tokens(1, 0)) == 1


class TestHighestCost:
    def test_reckons_with_nothing_cached_where_that_is_cheaper(self) -> None:
        """What the provider has cached is known only afterwards."""
        assert GPT.highest_cost(Tokens(1_000_000, 0)) == 2_500_000

    def test_reckons_with_everything_cached_where_that_is_dearer(self) -> None:
        """No estimate is below what the call may cost."""
        odd = Price(input=1_000_000, output=0, cached_input=3_000_000)

        assert odd.highest_cost(Tokens(1_000_000, 0)) == 3_000_000
