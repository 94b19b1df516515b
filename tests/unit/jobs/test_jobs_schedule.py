"""When schedules tick, and what becomes of ticks that were missed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.jobs.schedule import CatchUp, ScheduleDraft, data_at, due, next_tick

DRAFT = ScheduleDraft(
    name="nightly",
    cron="30 2 * * *",
    time_zone="Europe/Berlin",
    event="analytics/daily.aggregate",
    function="",
    data='{"date": "{date}", "at": ["{tick}", 5]}',
    catch_up=CatchUp.LATEST,
    paused=False,
)
MINUTELY = replace(DRAFT, cron="* * * * *", time_zone="UTC")
NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


class TestNextTick:
    def test_zone(self) -> None:
        """The cron is read in the schedule's own time zone."""
        assert datetime(2026, 5, 2, 0, 30, tzinfo=UTC) == next_tick(DRAFT, NOON)

    def test_skipped_hour(self) -> None:
        """A tick in the hour that summer time skips takes place right after it."""
        before = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)

        assert datetime(2026, 3, 29, 1, 0, tzinfo=UTC) == next_tick(DRAFT, before)

    def test_repeated_hour(self) -> None:
        """A tick in the hour that comes twice takes place once."""
        first = next_tick(DRAFT, datetime(2026, 10, 24, 12, 0, tzinfo=UTC))
        second = next_tick(DRAFT, first)

        assert datetime(2026, 10, 25, 0, 30, tzinfo=UTC) == first
        assert datetime(2026, 10, 26, 1, 30, tzinfo=UTC) == second


class TestCatchUp:
    @pytest.mark.parametrize(
        ("catch_up", "minutes"),
        [(CatchUp.NONE, [0]), (CatchUp.LATEST, [0]), (CatchUp.ALL, [3, 2, 1, 0])],
    )
    def test_missed_and_on_time(self, catch_up: CatchUp, minutes: list[int]) -> None:
        """What is on time always takes place; of what was missed, what the schedule says."""
        draft = replace(MINUTELY, catch_up=catch_up)
        what = due(draft, NOON - timedelta(minutes=3), NOON + timedelta(seconds=5))

        assert [NOON - timedelta(minutes=ago) for ago in minutes] == list(what.ticks)
        assert NOON + timedelta(minutes=1) == what.next_time

    @pytest.mark.parametrize(
        ("catch_up", "days"), [(CatchUp.NONE, []), (CatchUp.LATEST, [1]), (CatchUp.ALL, [3, 2, 1])]
    )
    def test_missed_only(self, catch_up: CatchUp, days: list[int]) -> None:
        """Nothing is on time: the latest, all, or none take place."""
        draft = replace(DRAFT, cron="0 6 * * *", time_zone="UTC", catch_up=catch_up)
        now = datetime(2026, 5, 4, 5, 0, tzinfo=UTC)
        what = due(draft, datetime(2026, 5, 1, 6, 0, tzinfo=UTC), now)

        assert [datetime(2026, 5, 4 - day, 6, 0, tzinfo=UTC) for day in days] == list(what.ticks)

    def test_long_standstill(self) -> None:
        """A year of missed minutes is not gone through: the latest hundred take place."""
        draft = replace(MINUTELY, catch_up=CatchUp.ALL)
        what = due(draft, NOON - timedelta(days=365), NOON)

        assert 100 == len(what.ticks)
        assert NOON == what.ticks[-1]

    @given(
        st.sampled_from(["* * * * *", "*/7 * * * *", "30 2 * * *", "0 0 1 * *", "15 3 * * 1"]),
        st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
        st.integers(min_value=0, max_value=400 * 24 * 60),
        st.lists(st.integers(min_value=1, max_value=5_000), min_size=1, max_size=8),
    )
    def test_no_tick_twice_or_lost(
        self, cron: str, zone: str, start: int, looks: list[int]
    ) -> None:
        """However often somebody looks, with ALL each tick takes place once, in order."""
        draft = replace(DRAFT, cron=cron, time_zone=zone, catch_up=CatchUp.ALL)
        now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=start)
        next_time = next_tick(draft, now)
        begin, seen = next_time, list[datetime]()
        for minutes in looks:
            now += timedelta(minutes=minutes)
            if next_time > now:
                continue
            what = due(draft, next_time, now)
            assert len(what.ticks) <= 100
            seen += what.ticks
            assert what.next_time > now
            next_time = what.next_time
        assert sorted(set(seen)) == seen
        if len(seen) < 100 and seen:
            every = [begin]
            while every[-1] < seen[-1]:
                every.append(next_tick(draft, every[-1]))
            assert every == seen


class TestMistakes:
    @pytest.mark.parametrize(
        ("cron", "says"),
        [
            ("61 * * * *", "Bad minute"),
            ("* * *", "five fields"),
            ("* * * * * *", "five fields"),
            ("@daily", "five fields"),
            ("0 0 31 2 *", "Bad day-of-month"),
            ("* * */20 * 1L", "never takes place"),
        ],
    )
    def test_cron(self, cron: str, says: str) -> None:
        """An impossible cron is told with its reason."""
        assert says in replace(DRAFT, cron=cron).mistakes()["cron"]

    def test_all(self) -> None:
        """Every field is looked at."""
        draft = replace(DRAFT, name="A", time_zone="Mars", event="", data="[1]")

        assert {"name", "time_zone", "start", "data_json"} == set(draft.mistakes())

    def test_none(self) -> None:
        """A schedule that can be has none."""
        assert {} == DRAFT.mistakes()


class TestData:
    def test_words(self) -> None:
        """`{tick}` and `{date}` are filled in, wherever a string has them."""
        tick = datetime(2026, 5, 1, 22, 30, tzinfo=UTC)

        expected = '{"date":"2026-05-02","at":["2026-05-01T22:30:00Z",5]}'
        assert expected == data_at(DRAFT, tick)
