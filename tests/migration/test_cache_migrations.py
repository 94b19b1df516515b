"""The schema of the cache's statistics, as the database sees it."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from cli.migrate import all_migrations
from services.cache.postgres_statistics import MIGRATIONS

INSERT = """
INSERT INTO cache.cache_statistics (tenant, namespace, ttl_class, minute, hits, stale_hits)
VALUES ($1, 'video', '', date_trunc('minute', now()) - $2::interval, $3, $4)
"""


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Migrate a database and connect to it for the cache's own work."""
    await MIGRATIONS.apply(postgres_url)
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SET mainstay.tenant = '*'")
    yield connection
    await connection.close()


class TestMigrations:
    async def test_apply_once(self, postgres_url: str) -> None:
        """The second time there is nothing to do."""
        first = await MIGRATIONS.apply(postgres_url)
        second = await MIGRATIONS.apply(postgres_url)

        assert (["0001_cache_statistics", "0002_documented"], []) == (first, second)

    def test_are_part_of_the_command(self) -> None:
        """`mainstay migrate` applies those of every service."""
        assert MIGRATIONS in all_migrations()

    async def test_say_what_everything_is_for(self, database: asyncpg.Connection) -> None:
        """Whoever meets the tables in a database without the code can read it there."""
        silent = await database.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'cache'::regnamespace "
            "AND relkind = 'r' AND obj_description(oid) IS NULL"
        )

        assert [] == silent

    async def test_index_minutes_by_their_order(self, database: asyncpg.Connection) -> None:
        """Rows come and leave in the order of time, for which a BRIN index of some pages does."""
        kind = await database.fetchval(
            "SELECT amname FROM pg_class JOIN pg_am ON pg_am.oid = relam "
            "WHERE relname = 'cache_statistics_by_minute'"
        )

        assert "brin" == kind


class TestRows:
    async def test_of_other_tenants_cannot_be_seen_or_written(
        self, database: asyncpg.Connection
    ) -> None:
        """Not by the owner of the table either."""
        await database.execute(INSERT, "acme", timedelta(0), 1, 0)
        await database.execute("SET mainstay.tenant = 'other'")

        assert 0 == await database.fetchval("SELECT count(*) FROM cache.cache_statistics")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.execute(INSERT, "acme", timedelta(minutes=1), 1, 0)

    async def test_that_cannot_be_are_refused(self, database: asyncpg.Connection) -> None:
        """More stale hits than hits; half a minute."""
        with pytest.raises(asyncpg.CheckViolationError, match="stale_are_hits"):
            await database.execute(INSERT, "acme", timedelta(0), 1, 2)
        with pytest.raises(asyncpg.CheckViolationError, match="minute_is_whole"):
            await database.execute(INSERT, "acme", timedelta(seconds=30), 1, 0)

    async def test_that_are_old_go_some_at_a_time(self, database: asyncpg.Connection) -> None:
        """No transaction holds what a day has left behind."""
        for days in range(85, 95):
            await database.execute(INSERT, "acme", timedelta(days=days), 1, 0)
        delete = "SELECT cache.delete_old_statistics('90 days', 3)"
        deleted = [await database.fetchval(delete) for _ in range(3)]

        # The one of just 90 days ago is older by the seconds of this minute.
        assert [3, 2, 0] == deleted
        assert 5 == await database.fetchval("SELECT count(*) FROM cache.cache_statistics")
