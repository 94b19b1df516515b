"""Maintenances in PostgreSQL and at hand: set once, known everywhere, over by themselves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest

from cli.embedded.postgres import PostgresServer
from mainstay.errors import DatabaseError
from services.health.database import Database
from services.health.maintenance import Maintenance, Maintenances, Mode
from services.health.maintenance_book import MaintenanceBook
from services.health.postgres_maintenance import PostgresMaintenance
from services.health.state import State
from tests.integration.health.observing import connected_database
from tests.integration.health.reports import Suite, all_of

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = 86_400.0


def maintenance(
    target: str = "redis", *, ends: float = DAY, mode: Mode = Mode.DRAIN
) -> Maintenance:
    """Return one that ends so many seconds from now."""
    return Maintenance(
        target=target,
        mode=mode,
        start_time=NOW - timedelta(hours=1),
        end_time=NOW + timedelta(seconds=ends),
        reason="Upgrade.",
    )


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with connected_database(postgres_url) as database:
        yield database


@pytest.fixture
def store(database: Database) -> PostgresMaintenance:
    return PostgresMaintenance(database)


class TestStore:
    async def test_keeps_what_was_set(self, store: PostgresMaintenance) -> None:
        """One for each target; the last one counts."""
        await store.put(maintenance())
        await store.put(maintenance("suite"))
        again = maintenance(mode=Mode.MAINTENANCE, ends=2 * DAY)
        await store.put(again)

        assert {"redis": again, "suite": maintenance("suite")} == await store.load()

    async def test_forgets_what_has_ended(self, store: PostgresMaintenance) -> None:
        """By itself, or because somebody said so; once more is no error."""
        await store.put(maintenance(ends=-1))
        await store.put(maintenance("suite"))
        await store.delete("suite")
        await store.delete("suite")

        assert {} == await store.load()


class Instance:
    """One health service: a suite and a book over the common store."""

    def __init__(self, store: PostgresMaintenance) -> None:
        self.suite = Suite(NOW)
        self.suite.probe(**all_of(State.HEALTHY))
        self.book = MaintenanceBook(store, self.suite.prober, interval=0.02)

    @property
    def state(self) -> State:
        check = self.suite.prober.report().check("redis")
        assert check is not None
        return check.state


class TestBook:
    async def test_is_known_here_at_once_and_there_soon(self, store: PostgresMaintenance) -> None:
        """And so is its end."""
        here, there = Instance(store), Instance(store)
        noticed = asyncio.Event()
        there.suite.prober.listen(lambda _: noticed.set())
        task = asyncio.create_task(there.book.run())
        try:
            await here.book.set(maintenance())
            at_once = here.state
            await asyncio.wait_for(noticed.wait(), 10)
            soon = there.state
            noticed.clear()
            await here.book.end("redis")
            await asyncio.wait_for(noticed.wait(), 10)
        finally:
            task.cancel()
            await asyncio.wait([task])

        assert (State.MAINTENANCE, State.MAINTENANCE) == (at_once, soon)
        assert (State.HEALTHY, State.HEALTHY) == (here.state, there.state)

    async def test_survives_a_restart(self, store: PostgresMaintenance) -> None:
        """A new instance finds it before it serves."""
        await Instance(store).book.set(maintenance())
        again = Instance(store)
        await again.book.start()

        assert State.MAINTENANCE is again.state

    async def test_does_not_lose_what_is_set_while_it_reads(
        self, store: PostgresMaintenance
    ) -> None:
        """What was read before is old news."""

        class Slow(PostgresMaintenance):
            async def load(self) -> Maintenances:
                found = await super().load()
                await instance.book.set(maintenance())
                return found

        instance = Instance(Slow(store._database))
        await instance.book.load_once()

        assert State.MAINTENANCE is instance.state


class TestDatabaseAway:
    async def test_keeps_what_is_known_until_it_ends(
        self, private_postgres: PostgresServer
    ) -> None:
        """Nothing is changed that could not be stored; what ends does so without a database."""
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(connected_database(private_postgres.url))
            instance = Instance(PostgresMaintenance(database))
            await instance.book.set(maintenance(ends=DAY))
            await private_postgres.kill()
            for change in (
                instance.book.load_once(),
                instance.book.end("redis"),
                instance.book.set(maintenance("suite")),
            ):
                with pytest.raises(DatabaseError):
                    await change
            still, whole = instance.state, instance.suite.prober.report().maintenance
            instance.suite.clock.advance(DAY)

            assert (State.MAINTENANCE, None) == (still, whole)
            assert State.HEALTHY is instance.state
