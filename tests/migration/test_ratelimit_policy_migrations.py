"""The tables of versions, overrides and audits, as the database sees them."""

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.ratelimit.database import MIGRATIONS
from shared.postgres.queries import load_queries

TABLES = ("revisions", "audit_log", "policy_versions", "overrides")
QUERIES = load_queries("services.ratelimit", "sql/policies.sql")
INSERT_AUDIT = """
INSERT INTO ratelimit.audit_log
    (tenant, principal, request_id, action, target, reason, details)
VALUES ($1, 'ann', 'r', 'put_policy', 'x', '', '{}')
"""
INSERT_OVERRIDE = """
INSERT INTO ratelimit.overrides
    (tenant, subject, rule, limits, expire_time, reason, creator, request_id, revision)
VALUES ($1, $2, 'api', '1/s', now() + interval '1 day', '', 'ann', 'r', 1)
"""
INSERT_VERSION = """
INSERT INTO ratelimit.policy_versions
    (version, text, digest, source, creator, reason, request_id)
VALUES ($1, $2, $3, $4, 'ann', '', '')
"""
DIGEST = "0" * 64


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Migrate a database and connect to it for the service's own work."""
    await MIGRATIONS.apply(postgres_url)
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SET mainstay.tenant = '*'")
    yield connection
    await connection.close()


class TestTables:
    async def test_say_what_they_are_for(self, database: asyncpg.Connection) -> None:
        """Whoever meets them in a database without the code can read it there."""
        for table in TABLES:
            assert await database.fetchval(
                "SELECT obj_description(('ratelimit.' || $1)::regclass)", table
            )

    @pytest.mark.parametrize(
        ("table", "insert", "values"),
        [
            ("audit_log", INSERT_AUDIT, ("acme",)),
            ("overrides", INSERT_OVERRIDE, ("acme", "ann")),
        ],
    )
    async def test_are_of_one_tenant_at_a_time(
        self, database: asyncpg.Connection, table: str, insert: str, values: tuple[str, ...]
    ) -> None:
        """Others' rows can neither be seen nor written, not by the owner of the table either."""
        await database.execute(insert, *values)
        await database.execute("SET mainstay.tenant = 'other'")

        assert 0 == await database.fetchval(f"SELECT count(*) FROM ratelimit.{table}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.execute(insert, "acme", *values[1:])

    @pytest.mark.parametrize(
        ("row", "constraint"),
        [
            ((0, "a", DIGEST, "file"), "version_counts_from_one"),
            ((1, "a", "0", "file"), "digest_is_sha256"),
            ((1, "a", DIGEST, "mail"), "source_is_known"),
            ((1, "a" * (2**20 + 1), DIGEST, "call"), "text_is_bounded"),
        ],
    )
    async def test_hold_no_version_that_cannot_be(
        self, database: asyncpg.Connection, row: tuple[int, str, str, str], constraint: str
    ) -> None:
        """Whoever writes it."""
        with pytest.raises(asyncpg.CheckViolationError, match=constraint):
            await database.execute(INSERT_VERSION, *row)

    async def test_hold_no_override_of_a_subject_that_cannot_be(
        self, database: asyncpg.Connection
    ) -> None:
        """An empty one, or one that is too long."""
        for subject in ("", "a" * 257):
            with pytest.raises(asyncpg.CheckViolationError, match="subject_is_bounded"):
                await database.execute(INSERT_OVERRIDE, "acme", subject)


class TestPlans:
    """How PostgreSQL carries statements out when there are many rows."""

    @pytest.mark.parametrize(
        ("query", "arguments", "index"),
        [
            ("read_overrides", (9_990, 1_000), "overrides_by_revision"),
            ("list_overrides", ("t1", "", "", "s5", "", 101), "overrides_pkey"),
            ("find_override", ("t1", "s5", "api"), "overrides_pkey"),
            ("count_overrides", ("t1", 10_000), "overrides_pkey"),
            ("newest_version", (), "policy_versions_pkey"),
            ("list_versions", (500, 101), "policy_versions_pkey"),
            ("newest_digest_of_file", (), "policy_versions_of_file"),
        ],
    )
    async def test_use_the_index_made_for_them(
        self,
        database: asyncpg.Connection,
        query: str,
        arguments: tuple[str | int, ...],
        index: str,
    ) -> None:
        """A table of ten thousand rows is not read from beginning to end."""
        await database.execute(
            "INSERT INTO ratelimit.overrides "
            "SELECT 't' || n % 10, 's' || n, 'api', '1/s', now() + interval '1 day', '', '', '', n "
            "FROM generate_series(1, 10000) AS n"
        )
        await database.execute(
            "INSERT INTO ratelimit.policy_versions "
            f"SELECT n, 'a', '{DIGEST}', 'call', '', '', '' FROM generate_series(2, 1000) AS n"
        )
        await database.execute(INSERT_VERSION, 1, "a", DIGEST, "file")
        await database.execute("ANALYZE ratelimit.overrides, ratelimit.policy_versions")
        plan = await database.fetchval(f"EXPLAIN (FORMAT JSON) {QUERIES[query]}", *arguments)

        assert index in _indexes(json.loads(plan)[0]["Plan"])


def _indexes(plan: dict[str, object]) -> set[str]:
    below = plan.get("Plans", [])
    assert isinstance(below, list)
    own = {str(plan["Index Name"])} if "Index Name" in plan else set()
    return own.union(*map(_indexes, below))
