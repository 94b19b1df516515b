"""How the status page writes figures and moments."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from services.health import page_words as words

NOW = datetime(2026, 3, 18, 12, 0, tzinfo=UTC)


class TestFigures:
    @pytest.mark.parametrize(
        ("ratio", "expected"),
        [(1.0, "100%"), (0.99999, "99.99%"), (0.999, "99.90%"), (0.5, "50.00%"), (0.0, "0.00%")],
    )
    def test_percent_is_rounded_down(self, ratio: float, expected: str) -> None:
        """A target that was down for a second in 90 days was not up for 100%."""
        assert expected == words.percent(ratio)

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [
            (0, "0 s"),
            (59.9, "59 s"),
            (60, "1 min"),
            (3_725, "1 h 2 min"),
            (3_605, "1 h"),
            (90_000, "1 d 1 h"),
            (-5, "0 s"),
        ],
    )
    def test_duration_has_two_units_at_most(self, seconds: float, expected: str) -> None:
        """The two largest units are told, next to each other, and the rest is cut off."""
        assert expected == words.duration(timedelta(seconds=seconds))

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [(0.00123, "1.2 ms"), (0.0456, "46 ms"), (1.5, "1.50 s")],
    )
    def test_latency_has_the_digits_that_matter(self, seconds: float, expected: str) -> None:
        """Two or three digits, in milliseconds or seconds."""
        assert expected == words.latency(seconds)


class TestMoments:
    @pytest.mark.parametrize(
        ("when", "expected"),
        [
            (NOW - timedelta(minutes=14), "today 11:46 UTC"),
            (NOW - timedelta(days=1), "17 Mar 12:00 UTC"),
            (NOW - timedelta(days=100), "8 Dec 2025 12:00 UTC"),
            (NOW.astimezone(timezone(timedelta(hours=14))), "today 12:00 UTC"),
        ],
    )
    def test_moment_is_utc_and_as_short_as_can_be(self, when: datetime, expected: str) -> None:
        """The date is left out today, and the year this year, whatever zone it came in."""
        assert expected == words.moment(when, NOW).text

    def test_machines_read_a_moment_too(self) -> None:
        """The attribute of a time element is RFC 3339 in UTC."""
        assert "2026-03-18T12:00:00Z" == words.moment(NOW, NOW).iso
