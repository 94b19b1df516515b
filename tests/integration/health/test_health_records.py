"""What observers write of targets: minutes and hours, once, whatever becomes of the answers."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from services.health.database import Database
from services.health.history import Incident
from services.health.minutes import Cell, Held, Tally
from services.health.postgres_records import PostgresRecords
from services.health.state import State
from tests.integration.health.observing import (
    batch,
    connected_database,
    current_minute,
    query,
    row,
)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
NOW = current_minute()


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin now, not when the module was read: minutes may lie between."""
    monkeypatch.setitem(globals(), "NOW", current_minute())


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with connected_database(postgres_url) as database:
        yield database


@pytest.fixture
def one(database: Database) -> PostgresRecords:
    return PostgresRecords(database, "one")


@pytest.fixture
def two(database: Database) -> PostgresRecords:
    return PostgresRecords(database, "two")


class TestMinutes:
    async def test_hold_all_that_was_seen(self, one: PostgresRecords, postgres_url: str) -> None:
        """A column for every figure; the worst state says why."""
        tally = Tally(
            probes=30,
            failures=4,
            latency_sum=0.6,
            latency_max=0.25,
            seconds={state: float(number) for number, state in enumerate(State, 1)},
            worst=Held(State.UNHEALTHY, "Did not\0 answer.", "r-1"),
        )
        await one.write(batch((Cell("cache", int(NOON.timestamp()) // 60), tally)), (), {})
        (found,) = await query(postgres_url, "SELECT * FROM health.system_health_logs")
        stored = dict(found)
        times = stored.pop("create_time"), stored.pop("update_time")

        assert {
            "target": "cache",
            "observer": "one",
            "minute": NOON,
            "probes": 30,
            "failures": 4,
            "latency_sum_ms": 600.0,
            "latency_max_ms": 250.0,
            "healthy_seconds": 1.0,
            "degraded_seconds": 2.0,
            "unhealthy_seconds": 3.0,
            "unknown_seconds": 4.0,
            "maintenance_seconds": 5.0,
            "worst_state": "unhealthy",
            "message": "Did not answer.",
            "request_id": "r-1",
        } == stored
        assert all(datetime.now(UTC) - time < timedelta(minutes=1) for time in times)

    async def test_add_up_to_hours(self, one: PostgresRecords, postgres_url: str) -> None:
        """In the same transaction, so that both always say the same."""
        rows = [row("cache", time=NOON + timedelta(minutes=25 * n), healthy=60.0) for n in range(4)]
        await one.write(batch(*rows[:3]), (), {})
        await one.write(batch(rows[3]), (), {})
        hours = await query(
            postgres_url,
            "SELECT hour, probes, healthy_seconds, latency_max_ms FROM health.system_health_hours "
            "ORDER BY hour",
        )

        assert [
            (NOON, 90, 180.0, 50.0),
            (NOON + timedelta(hours=1), 30, 60.0, 50.0),
        ] == [tuple(hour) for hour in hours]

    async def test_are_added_once(self, one: PostgresRecords, postgres_url: str) -> None:
        """A batch whose commit was not acknowledged is written again."""
        seen = batch(row("cache", time=NOON, healthy=50.0, unhealthy=10.0))
        for _ in range(3):
            await one.write(seen, (), {})
        sums = await query(
            postgres_url,
            "SELECT sum(l.healthy_seconds), sum(h.healthy_seconds), sum(h.probes) "
            "FROM health.system_health_logs AS l, health.system_health_hours AS h",
        )

        assert (50.0, 50.0, 30) == tuple(sums[0])

    async def test_of_a_restart_come_in_two_parts(
        self, one: PostgresRecords, postgres_url: str
    ) -> None:
        """They are added, and the worse of both says why."""
        for state, why, seconds in ((State.UNHEALTHY, "Gone.", 10.0), (State.HEALTHY, "", 40.0)):
            tally = Tally(probes=1, seconds={state: seconds}, worst=Held(state, why, why))
            await one.write(batch((Cell("cache", int(NOON.timestamp()) // 60), tally)), (), {})
        found = await query(
            postgres_url,
            "SELECT probes, healthy_seconds, unhealthy_seconds, worst_state, message, request_id "
            "FROM health.system_health_logs",
        )

        assert [(2, 40.0, 10.0, "unhealthy", "Gone.", "Gone.")] == [tuple(each) for each in found]

    async def test_of_two_observers_stay_apart(
        self, one: PostgresRecords, two: PostgresRecords, postgres_url: str
    ) -> None:
        """Who reads them takes the mean."""
        for observer in (one, two):
            await observer.write(batch(row("cache", time=NOON, healthy=60.0)), (), {})
        found = await query(
            postgres_url,
            "SELECT observer, healthy_seconds FROM health.system_health_logs ORDER BY observer",
        )

        assert [("one", 60.0), ("two", 60.0)] == [tuple(each) for each in found]

    async def test_that_contradict_themselves_are_refused(
        self, one: PostgresRecords, database: Database
    ) -> None:
        """By the schema, whoever writes; nothing of such a batch is stored."""
        wrong = Tally(probes=1, failures=2)
        with pytest.raises(asyncpg.CheckViolationError, match="failures_are_probes"):
            await one.write(batch(row("cache", time=NOON), (Cell("cache", 0), wrong)), (), {})


def incident(
    target: str = "cache",
    *,
    start: float = 0,
    end: float | None = None,
    state: State = State.UNHEALTHY,
    message: str = "Gone.",
) -> Incident:
    """Return an incident, seconds from now."""
    return Incident(
        incident_id=str(uuid4()),
        target=target,
        worst_state=state,
        start_time=NOW + timedelta(seconds=start),
        end_time=None if end is None else NOW + timedelta(seconds=end),
        because=(target,),
        message=message,
        request_id="r-1",
    )


async def known(url: str) -> list[tuple[str, str, float, float | None]]:
    """Return target, observer, start and end of all incidents, in seconds from now."""
    rows = await query(url, "SELECT * FROM health.incidents ORDER BY start_time")
    return [
        (
            each["target"],
            each["observer"],
            (each["start_time"] - NOW).total_seconds(),
            each["end_time"] and (each["end_time"] - NOW).total_seconds(),
        )
        for each in rows
    ]


class TestIncidents:
    async def test_begin_and_end(self, one: PostgresRecords, postgres_url: str) -> None:
        """Told any number of times, each is one row."""
        seen = incident(end=20)
        lasting = replace(seen, end_time=None)
        for told in (lasting, lasting, seen, seen):
            await one.write(None, [told], {})

        assert [("cache", "one", 0.0, 20.0)] == await known(postgres_url)

    async def test_get_worse(self, one: PostgresRecords, postgres_url: str) -> None:
        """The worst state says why, and a better one later does not."""
        for state, message in (
            (State.DEGRADED, "Slow."),
            (State.UNHEALTHY, "Gone."),
            (State.DEGRADED, "Slow again."),
        ):
            await one.write(None, [incident(state=state, message=message)], {})
        found = await query(postgres_url, "SELECT worst_state, message FROM health.incidents")

        assert [("unhealthy", "Gone.")] == [tuple(each) for each in found]

    async def test_seen_by_two_are_one(
        self, one: PostgresRecords, two: PostgresRecords, postgres_url: str
    ) -> None:
        """Also when the second tells of it after the first has ended it."""
        await one.write(None, [incident(start=0, end=10)], {})
        await two.write(None, [incident(start=1, end=11)], {})

        assert [("cache", "one", 0.0, 11.0)] == await known(postgres_url)

    async def test_begin_when_the_first_saw_them(
        self, one: PostgresRecords, two: PostgresRecords, postgres_url: str
    ) -> None:
        """Also when one that started in the middle was the first to reach the database."""
        await one.write(batch(row("cache", time=NOW)), [incident(start=0)], {})
        await two.write(batch(row("cache", time=NOW)), [incident(start=-60)], {})

        assert [("cache", "two", -60.0, None)] == await known(postgres_url)

    async def test_last_as_long_as_one_still_sees_them(
        self, one: PostgresRecords, two: PostgresRecords, postgres_url: str
    ) -> None:
        """Who sees it last takes it over and opens it again; its word ends it."""
        await one.write(batch(row("cache", time=NOW)), [incident(start=0)], {})
        mine = incident(start=1)
        await two.write(batch(row("cache", time=NOW)), [mine], {})
        await one.write(None, [incident(start=0, end=10)], {"cache": NOW})
        lasting = await known(postgres_url)
        await two.write(None, [mine], {})
        await one.write(None, [], {"cache": NOW + timedelta(seconds=12)})
        again = await known(postgres_url)
        ended = replace(mine, end_time=NOW + timedelta(seconds=20))
        await two.write(None, [ended], {})

        assert [("cache", "two", 0.0, None)] == lasting == again
        assert [("cache", "two", 0.0, 20.0)] == await known(postgres_url)

    async def test_ended_too_early_are_opened_again(
        self, one: PostgresRecords, two: PostgresRecords, postgres_url: str
    ) -> None:
        """By another observer who sees it lasting; the same incident, not a second one."""
        mine, others = incident(start=0), incident(start=1)
        await two.write(None, [others], {})
        await one.write(None, [mine], {})
        await one.write(None, [replace(mine, end_time=NOW + timedelta(seconds=10))], {})
        ended = await known(postgres_url)
        await two.write(None, [others], {})

        assert [("cache", "one", 0.0, 10.0)] == ended
        assert [("cache", "two", 0.0, None)] == await known(postgres_url)

    async def test_apart_in_time_are_two(self, one: PostgresRecords, postgres_url: str) -> None:
        """Also when the earlier one is told late, while the later one lasts."""
        await one.write(None, [incident(start=100)], {})
        await one.write(None, [incident(start=0, end=10)], {})

        assert [
            ("cache", "one", 0.0, 10.0),
            ("cache", "one", 100.0, None),
        ] == await known(postgres_url)

    async def test_that_a_restart_left_open_are_ended(
        self, one: PostgresRecords, postgres_url: str
    ) -> None:
        """By the first sight of the target healthy; until then they last."""
        await one.write(None, [incident()], {})
        await one.write(None, [], {"jobs": NOW})
        before = await known(postgres_url)
        await one.write(None, [], {"cache": NOW + timedelta(seconds=30)})

        assert [("cache", "one", 0.0, None)] == before
        assert [("cache", "one", 0.0, 30.0)] == await known(postgres_url)

    async def test_of_a_silent_observer_are_ended_by_another(
        self, one: PostgresRecords, two: PostgresRecords, postgres_url: str
    ) -> None:
        """Five minutes after its last word, not before."""
        well = {"cache": NOW + timedelta(seconds=30)}
        await one.write(batch(row("cache", time=NOW - timedelta(minutes=2))), [incident()], {})
        await two.write(None, [], well)
        before = await known(postgres_url)
        await query(
            postgres_url,
            "UPDATE health.system_health_logs SET minute = minute - interval '10 minutes'",
        )
        await two.write(None, [], well)

        assert [("cache", "one", 0.0, None)] == before
        assert [("cache", "one", 0.0, 30.0)] == await known(postgres_url)

    async def test_of_a_target_only_one_is_open(
        self, one: PostgresRecords, database: Database, postgres_url: str
    ) -> None:
        """By the schema, whoever writes."""
        await one.write(None, [incident()], {})
        with pytest.raises(asyncpg.UniqueViolationError, match="incidents_open"):
            await query(
                postgres_url,
                "INSERT INTO health.incidents SELECT gen_random_uuid(), target, observer, "
                "worst_state, start_time, NULL, because, message, request_id "
                "FROM health.incidents",
            )
