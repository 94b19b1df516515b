"""The recorder: from what is seen to what is stored, with the database there, away and back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from cli.embedded.postgres import PostgresServer
from mainstay.errors import DatabaseError
from services.health.database import Database, history_postgres
from services.health.maintenance import Maintenance, Mode
from services.health.postgres_records import PostgresRecords
from services.health.recorder import Recorder
from services.health.state import State
from tests.integration.health.observing import connected_database, query
from tests.integration.health.reports import Suite, all_of

NOON = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
UP, DOWN = all_of(State.HEALTHY), all_of(State.UNHEALTHY)


class Observer:
    """One instance: a suite, and a recorder that listens to it."""

    def __init__(self, database: Database, name: str = "one", **options: Any) -> None:
        self.suite = Suite(NOON)
        self.recorder = Recorder(
            PostgresRecords(database, name),
            self.suite.prober.report,
            service_of=lambda target: target,
            monotonic=lambda: self.suite.clock.monotonic,
            wall=lambda: self.suite.clock.wall,
            **options,
        )
        self.suite.prober.listen(self.recorder.noticed)
        self.suite.changes.listen(self.recorder.changed)
        self.recorder.look()

    def spend(self, seconds: float, **states: State) -> None:
        self.suite.spend(seconds, self.recorder.look, **states)


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with connected_database(postgres_url) as database:
        yield database


@pytest.fixture
def one(database: Database) -> Observer:
    return Observer(database)


async def minutes(url: str, target: str = "redis") -> list[tuple[Any, ...]]:
    """Return minute, and seconds healthy, degraded, unhealthy, unknown and in maintenance."""
    rows = await query(
        url,
        "SELECT minute, healthy_seconds, degraded_seconds, unhealthy_seconds, unknown_seconds, "
        "maintenance_seconds FROM health.system_health_logs WHERE target = $1 ORDER BY minute",
        target,
    )
    return [
        ((row[0] - NOON) // timedelta(minutes=1), *(round(each, 6) for each in row[1:]))
        for row in rows
    ]


async def incidents(url: str) -> list[tuple[Any, ...]]:
    """Return target, worst state, start and end in seconds, causes and message."""
    rows = await query(url, "SELECT * FROM health.incidents ORDER BY start_time, target")
    return [
        (
            row["target"],
            row["worst_state"],
            (row["start_time"] - NOON).total_seconds(),
            row["end_time"] and (row["end_time"] - NOON).total_seconds(),
            row["because"],
        )
        for row in rows
    ]


def dropped() -> float:
    return REGISTRY.get_sample_value("mainstay_health_rows_dropped_total") or 0.0


class TestMinutes:
    async def test_have_the_time_in_each_state(self, one: Observer, postgres_url: str) -> None:
        """Of each target and the whole; a target that needs another is degraded with it."""
        one.spend(40, **UP)
        one.spend(20, database=State.UNHEALTHY)
        one.spend(30, database=State.HEALTHY)
        await one.recorder.write_once()

        assert [(0, 40.0, 20.0, 0.0, 0.0, 0.0)] == await minutes(postgres_url)
        assert [(0, 40.0, 0.0, 20.0, 0.0, 0.0)] == await minutes(postgres_url, "database")
        assert [(0, 40.0, 20.0, 0.0, 0.0, 0.0)] == await minutes(postgres_url, "suite")

    async def test_have_maintenance_apart(self, one: Observer, postgres_url: str) -> None:
        """It is neither up nor down."""
        one.spend(20, **DOWN)
        clock = one.suite.clock
        out = Maintenance(
            target="redis",
            mode=Mode.MAINTENANCE,
            start_time=clock.wall,
            end_time=clock.wall + timedelta(seconds=30),
            reason="Upgrade.",
        )
        one.suite.prober.set_maintenances({"redis": out})
        one.spend(41)
        await one.recorder.write_once()

        assert [(0, 0.0, 0.0, 30.0, 0.0, 30.0)] == await minutes(postgres_url)

    async def test_are_written_when_they_are_over(self, one: Observer, postgres_url: str) -> None:
        """And what is left of the last one when the service stops."""
        one.spend(90, **UP)
        await one.recorder.write_once()
        before = await minutes(postgres_url)
        one.recorder._reachable = True
        await one.recorder.close()

        assert [(0, 60.0, 0.0, 0.0, 0.0, 0.0)] == before
        assert [(1, 30.0, 0.0, 0.0, 0.0, 0.0)] == (await minutes(postgres_url))[1:]

    async def test_count_probes(self, one: Observer, postgres_url: str) -> None:
        """With their failures and latencies."""
        for state in (State.HEALTHY, State.DEGRADED, State.UNHEALTHY):
            one.suite.probe(redis=state)
        one.spend(61)
        await one.recorder.write_once()
        (row,) = await query(
            postgres_url,
            "SELECT probes, failures, latency_sum_ms, latency_max_ms "
            "FROM health.system_health_logs WHERE target = 'redis'",
        )

        assert (3, 1, pytest.approx(30.0), 10.0) == tuple(row)

    async def test_know_nothing_of_a_standstill(self, one: Observer, postgres_url: str) -> None:
        """Frozen for 20 s a process saw nothing, nor in the 30 s that the machine slept."""
        one.spend(5, **UP)
        one.suite.clock.advance(20)
        one.recorder.look()
        one.suite.clock.wall += timedelta(seconds=30)
        one.spend(10)
        await one.recorder.write_once()

        assert [(0, 10.0, 0.0, 0.0, 0.0, 0.0)] == await minutes(postgres_url)

    async def test_of_an_instance_that_starts_again_go_on(
        self, one: Observer, database: Database, postgres_url: str
    ) -> None:
        """Uptime survives a restart; what passed in between is not known."""
        one.spend(20, **UP)
        await one.recorder.write_once(everything=True)
        again = Observer(database)
        again.suite.clock.advance(30)
        again.recorder.look()
        again.spend(30, **UP)
        await again.recorder.write_once()

        assert [(0, 50.0)] == [row[:2] for row in await minutes(postgres_url)]


class TestIncidents:
    async def test_of_a_target_and_those_that_need_it(
        self, one: Observer, postgres_url: str
    ) -> None:
        """Each says what it was down to."""
        one.spend(10, **UP)
        one.spend(10, database=State.UNHEALTHY)
        one.spend(10, database=State.HEALTHY)
        await one.recorder.write_once()

        assert [
            ("database", "unhealthy", 10.0, 20.0, ["database"]),
            ("redis", "degraded", 10.0, 20.0, ["database"]),
            ("suite", "degraded", 10.0, 20.0, ["database"]),
        ] == await incidents(postgres_url)
        assert [] == one.recorder._incidents.unwritten

    async def test_go_on_after_a_restart(
        self, one: Observer, database: Database, postgres_url: str
    ) -> None:
        """Unknown at first, then as before, then well."""
        one.spend(10, **DOWN)
        await one.recorder.write_once()
        again = Observer(database)
        again.suite.clock.advance(30)
        await again.recorder.write_once()
        again.spend(10, **DOWN)
        await again.recorder.write_once()
        lasting = {row[3] for row in await incidents(postgres_url)}
        again.spend(10, **UP)
        await again.recorder.write_once()

        assert {None} == lasting
        assert [("database", 0.0, 40.0), ("redis", 0.0, 40.0), ("suite", 0.0, 40.0)] == [
            (row[0], *row[2:4]) for row in await incidents(postgres_url)
        ]

    async def test_end_after_a_restart_into_health(
        self, one: Observer, database: Database, postgres_url: str
    ) -> None:
        """Nobody is left who remembers their beginning; the first sight of health ends them."""
        one.spend(10, **DOWN)
        await one.recorder.write_once()
        again = Observer(database)
        again.suite.clock.advance(30)
        again.spend(10, **UP)
        await again.recorder.write_once()

        assert {(0.0, 30.0)} == {row[2:4] for row in await incidents(postgres_url)}


class TestRunning:
    async def test_writes_by_itself_what_is_urgent(
        self, database: Database, postgres_url: str
    ) -> None:
        """An incident does not wait for the end of its minute."""
        written, told = asyncio.Event(), asyncio.Event()

        class Signalling(PostgresRecords):
            async def write(self, *arguments: Any, **options: Any) -> None:
                await super().write(*arguments, **options)
                (told if arguments[1] else written).set()

        observer = Observer(database)
        observer.recorder._records = Signalling(database, "one")
        task = asyncio.create_task(observer.recorder.run())
        try:
            observer.spend(1, **UP)
            await asyncio.wait_for(written.wait(), 10)
            observer.spend(1, **DOWN)
            await asyncio.wait_for(told.wait(), 10)
        finally:
            task.cancel()
            await asyncio.wait([task])

        assert {"database", "redis", "suite"} == {row[0] for row in await incidents(postgres_url)}


class TestDatabaseAway:
    @pytest.fixture
    async def away(
        self, private_postgres: PostgresServer
    ) -> AsyncIterator[tuple[PostgresServer, Observer]]:
        """Provide an observer whose database the test may stop."""
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(connected_database(private_postgres.url))
            yield private_postgres, Observer(database)

    async def test_nothing_of_an_hour_is_lost(self, away: tuple[PostgresServer, Observer]) -> None:
        """Minutes and incidents come late, with the times at which they took place."""
        server, one = away
        one.spend(30, **UP)
        await server.kill()
        one.spend(60, **DOWN)
        one.spend(1_800, **UP)
        one.spend(120, **DOWN)
        one.spend(1_600, **UP)
        with pytest.raises(DatabaseError):
            await one.recorder.write_once()
        one.spend(120, **UP)
        await server.start()
        await one.recorder.write_once()
        found = await minutes(server.url)

        assert list(range(62)) == [row[0] for row in found]
        assert (3_540.0, 180.0) == (sum(row[1] for row in found), sum(row[3] for row in found))
        assert [(30.0, 90.0), (1_890.0, 2_010.0)] == [
            row[2:4] for row in await incidents(server.url) if row[0] == "suite"
        ]

    async def test_what_is_too_much_is_dropped_and_counted(
        self, database: Database, postgres_url: str
    ) -> None:
        """The oldest first; memory is bounded."""
        observer = Observer(database, max_rows=9, max_incidents=3)
        before = dropped()
        for _ in range(5):
            observer.spend(30, **UP)
            observer.spend(30, **DOWN)
        observer.spend(1, **UP)
        await observer.recorder.write_once()

        # Of 3 targets 6 minutes begun and 5 incidents ended.
        assert (18 - 9) + (15 - 3) == dropped() - before
        assert [3, 4] == [row[0] for row in await minutes(postgres_url)]

    async def test_starts_and_stops_without_one(self) -> None:
        """And in no time."""
        database = Database(history_postgres("postgresql://127.0.0.1:1/none", migrate=True))
        loop = asyncio.get_running_loop()
        began = loop.time()
        await database.start()
        observer = Observer(database)
        await observer.recorder.start()
        observer.spend(61, **UP)
        with pytest.raises(DatabaseError, match="not reached yet"):
            await observer.recorder.write_once()
        await observer.recorder.close()
        await database.close()

        assert loop.time() - began < 4
