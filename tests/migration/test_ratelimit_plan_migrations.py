"""The table of plans, as the database sees it."""

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest

from cli.migrate import all_migrations
from services.ratelimit.database import MIGRATIONS
from shared.postgres.queries import load_queries

INSERT = """
INSERT INTO ratelimit.plan_assignments (tenant, subject, plan, assigner, revision)
VALUES ($1, $2, 'pro', 'support', 1)
"""
QUERIES = load_queries("services.ratelimit", "sql/plans.sql")


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Migrate a database and connect to it for the service's own work."""
    await MIGRATIONS.apply(postgres_url)
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SET mainstay.tenant = '*'")
    yield connection
    await connection.close()


class TestPlanTable:
    async def test_is_part_of_the_command(self, postgres_url: str) -> None:
        """`mainstay migrate` makes it, and once."""
        assert MIGRATIONS in all_migrations()
        assert "0002_plans" in await MIGRATIONS.apply(postgres_url)
        assert [] == await MIGRATIONS.apply(postgres_url)

    async def test_says_what_it_is_for(self, database: asyncpg.Connection) -> None:
        """Whoever meets it in a database without the code can read it there."""
        assert await database.fetchval(
            "SELECT obj_description('ratelimit.plan_assignments'::regclass)"
        )

    async def test_is_of_one_tenant_at_a_time(self, database: asyncpg.Connection) -> None:
        """Others' rows can neither be seen nor written, not by the owner of the table either."""
        await database.execute(INSERT, "acme", "user:ann")
        await database.execute("SET mainstay.tenant = 'other'")

        assert 0 == await database.fetchval("SELECT count(*) FROM ratelimit.plan_assignments")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.execute(INSERT, "acme", "user:bob")

    @pytest.mark.parametrize("subject", ["", "ü" * 129])
    async def test_refuses_subjects_that_cannot_be(
        self, database: asyncpg.Connection, subject: str
    ) -> None:
        """1 to 256 bytes."""
        with pytest.raises(asyncpg.CheckViolationError, match="subject_has_1_to_256_bytes"):
            await database.execute(INSERT, "acme", subject)


class TestPlanQueries:
    @pytest.fixture
    async def crowded(self, database: asyncpg.Connection) -> asyncpg.Connection:
        """Put 20,000 subjects of 20 tenants on a plan."""
        await database.execute(
            "INSERT INTO ratelimit.plan_assignments (tenant, subject, plan, assigner, revision) "
            "SELECT 'tenant-' || n % 20, 'user:' || n, 'pro', 'support', n "
            "FROM generate_series(1, 20000) AS n"
        )
        await database.execute("ANALYZE ratelimit.plan_assignments")
        return database

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("find_assignment", ("tenant-1", "user:1")),
            ("lock_assignment", ("tenant-1", "user:1")),
            ("find_assigned_tenants", ()),
            ("find_last_revision", ()),
            ("find_recent_revision", (19_000, 360.0)),
            ("find_plan_changes", (19_000, 1_000)),
        ],
    )
    async def test_read_no_table_whole(
        self, crowded: asyncpg.Connection, name: str, arguments: tuple[object, ...]
    ) -> None:
        """Whatever its size, by an index and no more rows than are wanted."""
        plan = await crowded.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {QUERIES[name]}", *arguments)

        assert "Seq Scan" not in plan
        assert max(_rows(json.loads(plan)[0]["Plan"])) <= 1_000

    async def test_find_every_tenant_once(self, crowded: asyncpg.Connection) -> None:
        """In the order of the index."""
        rows = await crowded.fetch(QUERIES["find_assigned_tenants"])

        assert sorted(f"tenant-{n}" for n in range(20)) == sorted(row["tenant"] for row in rows)


def _rows(plan: dict[str, object]) -> list[float]:
    """Return how many rows each part of a plan gave."""
    parts = plan.get("Plans", [])
    assert isinstance(parts, list)
    return [float(str(plan["Actual Rows"])), *(row for part in parts for row in _rows(part))]
