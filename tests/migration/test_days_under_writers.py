"""Days that are made and dropped while rows are written and read, in every history of days."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg
import pytest

from shared.postgres.queries import load_queries

ROWS = load_queries("tests.migration", "seven_tables.sql")
PATIENCE = 10.0


class Days(NamedTuple):
    """A table of which each day is a partition."""

    name: str
    cleanup: str

    @property
    def schema(self) -> str:
        """Return where it stands."""
        return self.name.partition(".")[0]

    @property
    def today(self) -> str:
        """Return the partition of today."""
        return f"{self.name}_{datetime.now(UTC):%Y%m%d}"

    @property
    def insert(self) -> str:
        """Return the statement that adds a row, $1 old."""
        return ROWS[self.name.replace(".", "_")]


DAYS = (
    Days("jobs.history", "jobs.cleanup_job_queue"),
    Days("telemetry.api_request_logs", "telemetry.cleanup_api_request_logs"),
    Days("telemetry.performance_metrics", "telemetry.cleanup_performance_metrics"),
    Days("health.system_health_logs", "health.cleanup_system_health_logs"),
)
every_table = pytest.mark.parametrize("days", DAYS, ids=lambda days: days.name)


async def connect(url: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(url)
    await connection.execute("SET mainstay.tenant = '*'")
    return connection


@pytest.fixture
async def owner(migrated_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(migrated_url)
    yield connection
    await connection.close()


@pytest.fixture
async def writer(migrated_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(migrated_url)
    yield connection
    await connection.close()


async def until_waiting(url: str, connection: asyncpg.Connection) -> None:
    """Wait until a connection waits for a lock."""
    watcher = await asyncpg.connect(url)
    query = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
    async with asyncio.timeout(PATIENCE):
        while not await watcher.fetchval(query, connection.get_server_pid()):
            pass
    await watcher.close()


class TestToday:
    """After a standstill its partition is missing, and rows of it come all the time."""

    @every_table
    async def test_takes_what_was_being_written(
        self,
        migrated_url: str,
        owner: asyncpg.Connection,
        writer: asyncpg.Connection,
        days: Days,
    ) -> None:
        """A row that was not committed yet moves like the others."""
        await owner.execute(f"DROP TABLE {days.today}")
        async with writer.transaction():
            await writer.execute(days.insert, timedelta())
            making = asyncio.create_task(
                owner.fetchval(f"SELECT {days.schema}.ensure_partitions(0)")
            )
            await until_waiting(migrated_url, owner)
        made = await making
        places = await writer.fetch(f"SELECT tableoid::regclass::text FROM {days.name}")

        assert (1, [days.today]) == (made, [place[0] for place in places])

    @every_table
    async def test_refuses_nobody_who_writes_meanwhile(
        self,
        migrated_url: str,
        owner: asyncpg.Connection,
        writer: asyncpg.Connection,
        days: Days,
    ) -> None:
        """Who was on the way to the table that takes everything finds the day instead."""
        await owner.execute(f"DROP TABLE {days.today}")
        async with owner.transaction():
            await owner.execute(f"SELECT {days.schema}.ensure_partitions(0)")
            writing = asyncio.create_task(writer.execute(days.insert, timedelta()))
            await until_waiting(migrated_url, writer)
        await writing
        places = await writer.fetch(f"SELECT tableoid::regclass::text FROM {days.name}")

        assert [days.today] == [place[0] for place in places]


class TestWhoReadsForLong:
    """As a backup does: who asks for its locks holds up all who come after."""

    @every_table
    async def test_keeps_no_cleanup_waiting(
        self, owner: asyncpg.Connection, writer: asyncpg.Connection, days: Days
    ) -> None:
        """It gives up in time, and does it when it is called again."""
        await owner.execute(
            f"CREATE TABLE {days.name}_20200101 PARTITION OF {days.name} "
            "FOR VALUES FROM ('2020-01-01Z') TO ('2020-01-02Z')"
        )
        async with writer.transaction():
            await writer.execute(f"LOCK TABLE {days.name} IN ACCESS SHARE MODE")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await owner.fetchval(f"SELECT {days.cleanup}()", timeout=5)

        assert 1 == await owner.fetchval(f"SELECT {days.cleanup}()")

    @every_table
    async def test_keeps_nobody_waiting_who_makes_days(
        self, owner: asyncpg.Connection, writer: asyncpg.Connection, days: Days
    ) -> None:
        """There are days enough until the next time."""
        await owner.execute(f"DROP TABLE {days.today}")
        async with writer.transaction():
            await writer.execute(f"LOCK TABLE {days.name} IN ACCESS SHARE MODE")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await owner.fetchval(f"SELECT {days.schema}.ensure_partitions(0)", timeout=5)

        assert 1 == await owner.fetchval(f"SELECT {days.schema}.ensure_partitions(0)")
