"""How limits are written."""

from typing import Any

import pytest

from services.ratelimit.limit_grammar import MAX_LIMITS, LimitGrammar
from services.ratelimit.policy import (
    DAY,
    MAX_FIXED_QUOTA,
    MAX_QUOTA,
    MAX_WINDOW,
    SECOND,
    UNLIMITED,
    Algorithm,
    Calendar,
    Limit,
    Measure,
    Rule,
    TenantLimits,
)

RATE = LimitGrammar()
GCRA = LimitGrammar(algorithm=Algorithm.GCRA, burst=5)
FIXED = LimitGrammar(algorithm=Algorithm.FIXED_WINDOW, time_zone="Europe/Berlin")
PLACES = LimitGrammar(algorithm=Algorithm.CONCURRENCY)
MONEY = LimitGrammar(measure=Measure.MONEY)


def _sliding(quota: int, window: int, written: str) -> Limit:
    return Limit(quota=quota, window=window, written=written)


class TestRate:
    @pytest.mark.parametrize(
        ("text", "quota", "window"),
        [
            ("1/s", 1, SECOND),
            ("20/min", 20, 60 * SECOND),
            ("5/5min", 5, 300 * SECOND),
            ("10/h", 10, 3_600 * SECOND),
            ("1000/30d", 1000, 30 * DAY),
            ("7/2w", 7, 14 * DAY),
            ("30_000/month", 30_000, 30 * DAY),
            (f"{MAX_QUOTA}/186d", MAX_QUOTA, MAX_WINDOW),
        ],
    )
    def test_is_a_number_per_window(self, text: str, quota: int, window: int) -> None:
        """With a unit and, if need be, a multiple of it."""
        assert (_sliding(quota, window, text),) == RATE.read(text)

    def test_may_be_several(self) -> None:
        """Separated by blanks; each stands at its position."""
        expected = (_sliding(10, SECOND, "10/s"), _sliding(200, 60 * SECOND, "200/min"))

        assert expected == RATE.read("10/s  200/min")

    @pytest.mark.parametrize("grammar", [RATE, GCRA, FIXED, PLACES, MONEY])
    def test_may_be_none(self, grammar: LimitGrammar) -> None:
        """Whatever is counted, and however."""
        assert UNLIMITED == grammar.read("unlimited")

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "is no limit; write one such as 20/min"),
            ("  ", "write one such as 20/min or 5/5min, several as 10/s 200/min, or unlimited"),
            ("0/min", f"admits 0; give 1 to {MAX_QUOTA}"),
            (
                f"{MAX_QUOTA + 1}/min",
                f"admits {MAX_QUOTA + 1}; give 1 to {MAX_QUOTA}, or the algorithm fixed_window",
            ),
            ("5/0min", "has the window 0min; give 1s to 186d"),
            ("5/187d", "has the window 187d; give 1s to 186d"),
            ("5/7month", "has the window 7month; give 1s to 186d"),
            ("5/m", "is '5/m'; write one such as"),
            ("5/ min", "is '5/'; write one such as"),
            ("-5/min", "is '-5/min'; write one such as"),
            ("5.5/min", "is '5.5/min'; write one such as"),
            ("5", "is '5'; write one such as"),
            ("1_00/min", "is '1_00/min'; write one such as"),
            ("10/s unlimited", "is 'unlimited'; write one such as"),
            ("5/min 6/60s", "is '5/min 6/60s', two of one window; keep the smaller"),
            (" ".join(f"5/{n}s" for n in range(1, MAX_LIMITS + 2)), "write one such as"),
            ("\u0665/min", "write one such as"),
        ],
    )
    def test_anything_else_is_refused(self, text: str, told: str) -> None:
        """Never read as something near it, and told what would be right."""
        with pytest.raises(ValueError, match=r"^(is|admits|has) ") as caught:
            RATE.read(text)

        assert told in str(caught.value)


class TestGcra:
    def test_has_the_burst_of_its_rule(self) -> None:
        """Which is not written in the limit."""
        expected = Limit(
            quota=60, window=60 * SECOND, algorithm=Algorithm.GCRA, burst=5, written="60/min"
        )

        assert (expected,) == GCRA.read("60/min")

    def test_is_no_faster_than_whole_microseconds_allow(self) -> None:
        """An interval of 9 microseconds would be off by a tenth."""
        assert 100_000 == GCRA.read("100000/s")[0].quota
        with pytest.raises(ValueError, match="at most 100,000/s"):
            GCRA.read("100001/s")

    def test_comes_back_within_the_longest_window(self) -> None:
        """A burst that takes years to come back is a mistake."""
        grammar = LimitGrammar(algorithm=Algorithm.GCRA, burst=1_000_000)

        assert 1_000_000 == grammar.read("1/s")[0].burst
        with pytest.raises(ValueError, match="takes more than 186 days to come back"):
            grammar.read("1/min")


class TestFixedWindow:
    @pytest.mark.parametrize(
        ("text", "calendar"),
        [
            ("5/d", Calendar.DAY),
            ("5/1d", Calendar.DAY),
            ("5/w", Calendar.WEEK),
            ("5/month", Calendar.MONTH),
            ("5/2d", None),
            ("5/24h", None),
            ("5/min", None),
        ],
    )
    def test_of_one_day_week_or_month_follows_the_calendar(
        self, text: str, calendar: Calendar | None
    ) -> None:
        """Of the rule's time zone; all others are aligned to 1970."""
        (limit,) = FIXED.read(text)

        assert (calendar, "Europe/Berlin") == (limit.calendar, limit.time_zone)

    def test_admits_more_than_the_others(self) -> None:
        """One counter holds more than sixty do in the same space."""
        assert MAX_FIXED_QUOTA == FIXED.read(f"{MAX_FIXED_QUOTA}/d")[0].quota
        with pytest.raises(ValueError, match=f"give 1 to {MAX_FIXED_QUOTA}$"):
            FIXED.read(f"{MAX_FIXED_QUOTA + 1}/d")

    def test_others_do_not(self) -> None:
        """A sliding month is thirty days."""
        (limit,) = RATE.read("5/month")

        assert (None, 30 * DAY) == (limit.calendar, limit.window)


class TestPlaces:
    def test_are_a_number(self) -> None:
        """They have no window."""
        expected = Limit(quota=3, window=0, algorithm=Algorithm.CONCURRENCY, written="3")

        assert (expected,) == PLACES.read("3")

    @pytest.mark.parametrize("text", ["0", "-1", "100_001", "3/min", "3 4", "", "three"])
    def test_anything_else_is_refused(self, text: str) -> None:
        """With how many there may be."""
        with pytest.raises(ValueError, match="write 1 to 100,000 places, or unlimited"):
            PLACES.read(text)


class TestMoney:
    @pytest.mark.parametrize(
        ("text", "micros"),
        [
            ("5.00/month", 5_000_000),
            ("5/d", 5_000_000),
            ("0.000001/h", 1),
            ("1_000.5/w", 1_000_500_000),
        ],
    )
    def test_is_written_in_dollars(self, text: str, micros: int) -> None:
        """And counted in millionths of them."""
        assert micros == MONEY.read(text)[0].quota

    @pytest.mark.parametrize("text", ["0.0000001/h", "0.00/h", "5.0", "$5/h", "4294.967296/h"])
    def test_anything_else_is_refused(self, text: str) -> None:
        """Less than a millionth, and more than a counter holds."""
        with pytest.raises(ValueError, match="US dollars"):
            MONEY.read(text)

    def test_is_large_in_fixed_windows(self) -> None:
        """A company's budget of a month is more than 4,294 dollars, where other counters end."""
        grammar = LimitGrammar(algorithm=Algorithm.FIXED_WINDOW, measure=Measure.MONEY)

        assert 250_000_000_000 == grammar.read("250_000.00/month")[0].quota
        assert MAX_FIXED_QUOTA == grammar.read("9_007_199_254.740991/month")[0].quota
        with pytest.raises(ValueError, match=r"give 0\.000001 to 9007199254\.740991 US dollars$"):
            grammar.read("9_007_199_254.740992/month")


class TestGrammarOfARule:
    @pytest.mark.parametrize("grammar", [RATE, GCRA, FIXED])
    @pytest.mark.parametrize("where", ["default", "plan", "tenant", "tenant's plan"])
    def test_is_found_in_any_of_its_limits(self, grammar: LimitGrammar, where: str) -> None:
        """So that an override counts as the rule does, though the rule's default is unlimited."""
        limits = grammar.read("7/d")
        parts: dict[str, dict[str, Any]] = {
            "default": {"default": limits},
            "plan": {"default": UNLIMITED, "plans": {"pro": limits}},
            "tenant": {"default": UNLIMITED, "tenants": {"acme": TenantLimits(default=limits)}},
            "tenant's plan": {
                "default": UNLIMITED,
                "tenants": {"acme": TenantLimits(plans={"pro": limits})},
            },
        }
        rule = Rule(name="r", endpoints=("*",), algorithm=grammar.algorithm, **parts[where])

        assert grammar == LimitGrammar.of(rule)
