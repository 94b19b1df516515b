"""Batch insert by COPY, into tables that COPY refuses."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from shared.postgres.copying import BatchTable, copy_rows
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import ALL_TENANTS, Tenant
from tests.integration.shared.telemetry_stage import connected, pool

NOTES = BatchTable(
    name="test.notes",
    columns={"tenant": "text", "id": "bigint", "note": "text", "at": "timestamptz"},
)
SUMS = BatchTable(
    name="test.sums",
    columns={"name": "text", "count": "bigint"},
    on_conflict="(name) DO UPDATE SET count = test.sums.count + excluded.count",
)
AT = datetime(2026, 11, 1, tzinfo=UTC)
SCHEMA = """
CREATE SCHEMA test;
CREATE TABLE test.notes (
    tenant text NOT NULL, id bigint PRIMARY KEY, note text, at timestamptz,
    made text NOT NULL DEFAULT 'by itself'
);
ALTER TABLE test.notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE test.notes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON test.notes USING (
    tenant = current_setting('mainstay.tenant', true)
    OR current_setting('mainstay.tenant', true) = '*'
);
CREATE TABLE test.sums (name text PRIMARY KEY, count bigint NOT NULL);
"""


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[Postgres]:
    async with connected(postgres_url) as connection:
        await connection.execute(SCHEMA)
    async with pool(postgres_url) as postgres:
        yield postgres


def notes(*ids: int, tenant: str = "acme") -> list[tuple[object, ...]]:
    return [(tenant, each, f"note {each}", AT) for each in ids]


async def stored(url: str) -> list[tuple[object, ...]]:
    async with connected(url) as connection:
        return [
            tuple(row) for row in await connection.fetch("SELECT * FROM test.notes ORDER BY id")
        ]


class TestRows:
    async def test_are_added_under_row_security(
        self, postgres: Postgres, postgres_url: str
    ) -> None:
        """Where COPY alone is refused; what they do not say has its default."""
        async with postgres.transaction(ALL_TENANTS) as connection:
            added = await copy_rows(connection, NOTES, notes(1, 2))

        assert added == 2
        assert await stored(postgres_url) == [
            ("acme", 1, "note 1", AT, "by itself"),
            ("acme", 2, "note 2", AT, "by itself"),
        ]

    async def test_stay_as_they_are(self, postgres: Postgres, postgres_url: str) -> None:
        """So a batch whose commit was not acknowledged may be sent again."""
        for ids in ((1, 2), (1, 2, 3)):
            async with postgres.transaction(ALL_TENANTS) as connection:
                added = await copy_rows(connection, NOTES, notes(*ids))

        assert added == 1
        assert [1, 2, 3] == [row[1] for row in await stored(postgres_url)]

    async def test_may_be_added_to_what_is_there(self, postgres: Postgres) -> None:
        """If the table says so."""
        for _ in range(2):
            async with postgres.transaction(ALL_TENANTS) as connection:
                await copy_rows(connection, SUMS, [("hits", 5)])
                (row,) = await connection.fetch("SELECT * FROM test.sums")

        assert ("hits", 10) == tuple(row)

    async def test_of_another_tenant_are_refused(
        self, postgres: Postgres, postgres_url: str
    ) -> None:
        """All of the batch: the policies are asked about each row."""
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with postgres.transaction(Tenant("acme")) as connection:
                await copy_rows(connection, NOTES, [*notes(1), *notes(2, tenant="umbrella")])

        assert await stored(postgres_url) == []

    async def test_vanish_with_their_transaction(
        self, postgres: Postgres, postgres_url: str
    ) -> None:
        """From where they were copied to as well: the next batch is only itself."""

        async def fail(connection: Connection) -> None:
            await copy_rows(connection, NOTES, notes(1))
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await postgres.run(ALL_TENANTS, fail)
        async with postgres.transaction(ALL_TENANTS) as connection:
            await copy_rows(connection, NOTES, notes(2))

        assert [2] == [row[1] for row in await stored(postgres_url)]

    async def test_may_be_none(self, postgres: Postgres) -> None:
        """Nothing to do is no error."""
        async with postgres.transaction(ALL_TENANTS) as connection:
            assert await copy_rows(connection, NOTES, []) == 0


class TestRights:
    async def test_insert_is_enough(self, postgres: Postgres, postgres_url: str) -> None:
        """Who writes need not be able to read, change or delete."""
        async with connected(postgres_url) as owner:
            await owner.execute(
                "REVOKE ALL ON test.notes FROM CURRENT_USER; "
                "GRANT INSERT ON test.notes TO CURRENT_USER"
            )
        for _ in range(2):
            async with postgres.transaction(ALL_TENANTS) as connection:
                added = await copy_rows(connection, NOTES, notes(1, 2))

        assert added == 0
        async with connected(postgres_url) as owner:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await owner.fetch("SELECT * FROM test.notes")
            await owner.execute("GRANT SELECT ON test.notes TO CURRENT_USER")
        assert [1, 2] == [row[1] for row in await stored(postgres_url)]
