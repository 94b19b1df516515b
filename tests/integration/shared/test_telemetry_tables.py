"""The tables of telemetry: a partition a day, tenants apart, small for ever."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from shared.postgres.copying import copy_rows
from shared.postgres.pool import Postgres
from shared.rpc.call import ALL_TENANTS
from shared.telemetry import performance, request_log
from tests.integration.shared.telemetry_stage import (
    MIGRATIONS,
    call_row,
    connected,
    pool,
    rows_of,
)

TABLES = {"api_request_logs": 30, "performance_metrics": 90}


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    await MIGRATIONS.apply(postgres_url)
    async with connected(postgres_url) as connection:
        yield connection


@pytest.fixture
async def postgres(database: asyncpg.Connection, postgres_url: str) -> AsyncIterator[Postgres]:
    async with pool(postgres_url) as postgres:
        yield postgres


async def store(postgres: Postgres, *rows: tuple[Any, ...]) -> None:
    async with postgres.transaction(ALL_TENANTS) as connection:
        await copy_rows(connection, request_log.TABLE, rows)


async def days_of(database: asyncpg.Connection, table: str) -> set[str]:
    found = await database.fetch(
        "SELECT relname FROM pg_class WHERE relname ~ $1", f"^{table}_\\d{{8}}$"
    )
    return {row["relname"].removeprefix(f"{table}_") for row in found}


async def make_day(database: asyncpg.Connection, table: str, age: int) -> str:
    """Make the partition of a day that is over."""
    day = datetime.now(UTC).date() - timedelta(days=age)
    await database.execute(
        f"CREATE TABLE telemetry.{table}_{day:%Y%m%d} PARTITION OF telemetry.{table} "
        f"FOR VALUES FROM ('{day} 00:00+00') TO ('{day + timedelta(days=1)} 00:00+00')"
    )
    return f"{day:%Y%m%d}"


class TestDays:
    @pytest.mark.parametrize("table", TABLES)
    async def test_are_made_ahead(self, database: asyncpg.Connection, table: str) -> None:
        """From the first migration on; what is there is not made again."""
        today = datetime.now(UTC).date()
        made = await database.fetchval("SELECT telemetry.ensure_partitions(5)")
        again = await database.fetchval("SELECT telemetry.ensure_partitions(5)")
        days = {f"{today + timedelta(days=ahead):%Y%m%d}" for ahead in range(6)}

        assert (2 * 2, 0) == (made, again)
        assert days == await days_of(database, table)

    @pytest.mark.parametrize(("table", "kept"), TABLES.items())
    async def test_are_dropped_when_they_are_old(
        self, database: asyncpg.Connection, table: str, kept: int
    ) -> None:
        """By default those beyond the retention, whole; never what is younger than a day."""
        young = await make_day(database, table, kept)
        old = await make_day(database, table, kept + 1)
        dropped = await database.fetchval(f"SELECT telemetry.cleanup_{table}()")
        days = await days_of(database, table)

        assert (1, True, False) == (dropped, young in days, old in days)
        with pytest.raises(asyncpg.CheckViolationError, match="keep at least 1"):
            await database.fetchval(f"SELECT telemetry.cleanup_{table}(0)")

    async def test_take_over_what_came_before_them(
        self, database: asyncpg.Connection, postgres: Postgres, postgres_url: str
    ) -> None:
        """After a standstill rows lie outside of any day, and move into theirs."""
        day = datetime.now(UTC).date()
        await database.execute(f"DROP TABLE telemetry.api_request_logs_{day:%Y%m%d}")
        await store(postgres, call_row())
        await database.execute("SELECT telemetry.ensure_partitions(0)")
        count = "SELECT count(*) FROM telemetry.api_request_logs_"

        assert 0 == await database.fetchval(f"{count}default")
        assert 1 == await database.fetchval(f"{count}{day:%Y%m%d}")

    async def test_are_not_the_only_thing_that_goes(
        self, database: asyncpg.Connection, postgres: Postgres, postgres_url: str
    ) -> None:
        """What lies outside of any day is deleted when it is as old."""
        await store(
            postgres,
            call_row("old", age=timedelta(days=40)),
            call_row("young", age=timedelta(days=20)),
        )
        await database.execute("SELECT telemetry.cleanup_api_request_logs()")

        assert ["young"] == [row["request_id"] for row in await rows_of(postgres_url)]


class TestTheRequestLog:
    async def test_shows_a_tenant_its_own_calls(
        self, postgres: Postgres, postgres_url: str
    ) -> None:
        """And nothing to who names none; the owner of the table is bound as everybody."""
        await store(
            postgres,
            call_row("req-1", tenant="acme"),
            call_row("req-2", tenant="umbrella"),
            call_row("req-3", tenant=""),
        )
        seen = {
            tenant: [row["request_id"] for row in await rows_of(postgres_url, tenant=tenant)]
            for tenant in ("acme", "umbrella", "nobody", "", "*")
        }

        assert seen == {
            "acme": ["req-1"],
            "umbrella": ["req-2"],
            "nobody": [],
            "": [],
            "*": ["req-1", "req-2", "req-3"],
        }

    async def test_refuses_a_tenant_rows_of_another(
        self, database: asyncpg.Connection, postgres_url: str
    ) -> None:
        """Whoever writes as a tenant writes for that tenant."""
        columns = ", ".join(request_log.TABLE.columns)
        values = ", ".join(f"${number + 1}" for number in range(len(request_log.TABLE.columns)))
        async with connected(postgres_url, "acme") as acme:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                await acme.execute(
                    f"INSERT INTO telemetry.api_request_logs ({columns}) VALUES ({values})",
                    *call_row(tenant="umbrella"),
                )

    async def test_has_a_call_once(self, postgres: Postgres, postgres_url: str) -> None:
        """Though it was written twice, as after a commit whose acknowledgement was lost."""
        row = call_row("req-1", at=datetime.now(UTC))
        await store(postgres, row)
        await store(postgres, row, call_row("req-2"))

        assert ["req-1", "req-2"] == [row["request_id"] for row in await rows_of(postgres_url)]

    @pytest.mark.parametrize(
        ("where", "index"),
        [
            ("request_id = 'req-1'", "request_id_time_instance"),
            ("tenant = 'acme' AND time > now() - interval '1 hour'", "tenant_time"),
            ("code <> 'OK' AND time > now() - interval '1 hour'", "time_method"),
        ],
    )
    async def test_is_read_by_an_index(
        self, database: asyncpg.Connection, where: str, index: str
    ) -> None:
        """By request, by tenant, and what went wrong."""
        await database.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        plan = await database.fetch(
            f"EXPLAIN SELECT * FROM telemetry.api_request_logs WHERE {where}"
        )
        text = "\n".join(row[0] for row in plan)

        assert f"_{index}_idx" in text or f"by_{index}" in text


class TestRights:
    @pytest.mark.parametrize(
        "function",
        [
            "ensure_partitions(integer)",
            "drop_days(text, text, integer)",
            "cleanup_api_request_logs(integer)",
            "cleanup_performance_metrics(integer)",
        ],
    )
    async def test_to_drop_days_are_nobody_elses(
        self, database: asyncpg.Connection, function: str
    ) -> None:
        """They act with the rights of the owner."""
        query = "SELECT has_function_privilege('public', $1, 'execute')"

        assert not await database.fetchval(query, f"telemetry.{function}")

    async def test_to_insert_are_enough_to_write(
        self, database: asyncpg.Connection, postgres: Postgres, postgres_url: str
    ) -> None:
        """A service that writes rows need not see those of others."""
        await database.execute(
            "REVOKE ALL ON telemetry.api_request_logs, telemetry.performance_metrics "
            "FROM CURRENT_USER; "
            "GRANT INSERT ON telemetry.api_request_logs, telemetry.performance_metrics "
            "TO CURRENT_USER"
        )
        await store(postgres, call_row())
        minute = datetime(2026, 11, 1, tzinfo=UTC)
        async with postgres.transaction(ALL_TENANTS) as connection:
            row = (minute, "cache", "i", "rpc", "Get", 2, 1, *([1.5] * 6))
            added = await copy_rows(connection, performance.TABLE, [row])

        assert added == 1
        await database.execute("GRANT SELECT ON telemetry.api_request_logs TO CURRENT_USER")
        assert 1 == len(await rows_of(postgres_url))


class TestComments:
    @pytest.mark.parametrize("table", TABLES)
    async def test_name_units(self, database: asyncpg.Connection, table: str) -> None:
        """Of the table and of every duration."""
        comments = {
            row["column"]: row["comment"]
            for row in await database.fetch(
                "SELECT attname AS column, col_description(attrelid, attnum) AS comment "
                "FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0",
                f"telemetry.{table}",
            )
        }
        about = await database.fetchval(
            "SELECT obj_description($1::regclass)", f"telemetry.{table}"
        )

        assert "days" in about
        assert all(
            "milliseconds" in (comment or "")
            for column, comment in comments.items()
            if column.endswith("_ms") and column not in {"p95_ms", "p99_ms"}
        )
