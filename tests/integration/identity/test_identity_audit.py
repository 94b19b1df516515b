"""The audit log: a line and a row of every administrative act."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from cli.embedded.postgres import PostgresServer
from services.health.retention import Retention
from shared.identity.audit import TABLE, AuditLog, build_audit
from shared.identity.postgres_keys import identity_postgres
from shared.process_settings import ProcessSettings
from shared.rpc.gate import AdminAct
from shared.telemetry.row_writer import RowWriter
from tests.integration.health.observing import connected_database

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
ACT = AdminAct(
    act="mainstay.cache.v1.CacheAdminService/InvalidateNamespace",
    principal="abcdefghijkl",
    proof="api-key",
    tenant="acme",
    request_id="req-1",
    code="PERMISSION_DENIED",
    reason="SCOPE_MISSING",
)
KNOWN = {
    "time": NOW,
    "service": "cache",
    "act": ACT.act,
    "principal": "abcdefghijkl",
    "proof": "api-key",
    "tenant": "acme",
    "request_id": "req-1",
    "code": "PERMISSION_DENIED",
    "reason": "SCOPE_MISSING",
}


def settings(url: str | None) -> ProcessSettings:
    """Return those of a process with a database or without."""
    return ProcessSettings.model_validate({"postgres_url": url})


def audit_of(url: str) -> AuditLog:
    """Return an audit log whose acts are over at a known time."""
    writer = RowWriter(identity_postgres(url, migrate=True), interval=0.05)
    return AuditLog("cache", writer, now=lambda: NOW)


async def acts(database: asyncpg.Connection) -> list[dict[str, Any]]:
    """Return the rows without their ids."""
    rows = await database.fetch("SELECT * FROM identity.audit_log ORDER BY time")
    return [{name: value for name, value in row.items() if name != "act_id"} for row in rows]


class TestAnAct:
    async def test_has_a_row(self, database: asyncpg.Connection, identity_url: str) -> None:
        """With who did what in which tenant, how that was proved, and how it ended."""
        audit = audit_of(identity_url)
        audit.note(ACT)
        running = asyncio.create_task(audit.run())
        async with asyncio.timeout(10):
            while not (found := await acts(database)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await audit.close()

        assert [KNOWN] == found

    async def test_has_a_line(self) -> None:
        """Every one, however many there are; where there is no PostgreSQL, a line alone."""
        audit = build_audit("cache", settings(None))
        with capture_logs() as lines:
            for _ in range(1_000):
                audit.note(ACT)
        await audit.close()

        line = {name: value for name, value in KNOWN.items() if name not in {"time", "service"}}
        assert [{"event": "admin_act", "log_level": "info", **line}] * 1_000 == lines

    async def test_is_written_before_the_service_ends(
        self, database: asyncpg.Connection, identity_url: str
    ) -> None:
        """Though it was not the time for it."""
        audit = build_audit("cache", settings(identity_url))
        audit.note(ACT)
        await audit.close()

        assert ["req-1"] == [row["request_id"] for row in await acts(database)]

    async def test_makes_its_table_where_there_is_none(self, postgres_url: str) -> None:
        """As where callers prove who they are by tokens, or need not."""
        audit = build_audit("cache", settings(postgres_url))
        audit.note(ACT)
        await audit.close()
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("SET mainstay.tenant = '*'")
        found = await acts(connection)
        await connection.close()

        assert 1 == len(found)

    async def test_is_given_up_and_counted_when_too_many_wait(
        self, identity_url: str, private_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While PostgreSQL is away: the oldest go, and nobody waits."""
        monkeypatch.setattr("shared.identity.audit.MAX_ACTS", 5)
        await private_postgres.stop()
        before = dropped()
        audit = audit_of(private_postgres.url)
        for _ in range(7):
            audit.note(ACT)
        while_waiting = dropped() - before
        await audit.close()

        assert (2, 7) == (while_waiting, dropped() - before)


class TestATenant:
    async def test_sees_its_own_acts_alone(
        self, database: asyncpg.Connection, identity_url: str
    ) -> None:
        """And none of those that were refused before they had a tenant."""
        audit = audit_of(identity_url)
        for tenant in ("acme", "globex", "*", ""):
            audit.note(ACT._replace(tenant=tenant))
        await audit.close()
        await database.execute("SET mainstay.tenant = 'acme'")
        own = [row["tenant"] for row in await acts(database)]
        await database.execute("SET mainstay.tenant = ''")
        none = await acts(database)

        assert (["acme"], []) == (own, none)


class TestKeeping:
    async def test_ends_after_400_days(
        self, database: asyncpg.Connection, identity_url: str
    ) -> None:
        """By the health service, hourly, of all tenants."""
        for days in (0, 399, 401):
            await database.execute(
                "INSERT INTO identity.audit_log "
                "(act_id, time, principal, proof, tenant, act, code) "
                "VALUES (gen_random_uuid(), now() - $1::interval, 'p', 'off', 'acme', 'a', 'OK')",
                timedelta(days=days),
            )
        async with connected_database(identity_url) as health:
            _, deleted = await Retention(health).run_once()
        left = await database.fetchval("SELECT count(*) FROM identity.audit_log")

        assert (1, 2) == (deleted, left)

    async def test_is_nobodys_business_where_there_is_no_log(self, postgres_url: str) -> None:
        """In a database whose services have never needed one."""
        async with connected_database(postgres_url) as health:
            _, deleted = await Retention(health).run_once()

        assert 0 == deleted

    async def test_is_not_for_who_deletes_to_say(self, database: asyncpg.Connection) -> None:
        """Services may have it done: whoever takes one over must not choose what is left."""
        with pytest.raises(asyncpg.UndefinedFunctionError):
            await database.fetchval("SELECT identity.cleanup_audit_log(1)")


def dropped() -> float:
    """Return how many acts were given up."""
    labels = {"table": TABLE.name}
    return REGISTRY.get_sample_value("mainstay_telemetry_rows_dropped_total", labels) or 0.0
