"""A database with the tables of telemetry, and calls that leave rows in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from prometheus_client import REGISTRY

from shared.postgres.migrations import Migrations
from shared.postgres.pool import Postgres
from shared.telemetry import request_log

MIGRATIONS = Migrations(service="health", package="services.health")
PATIENCE = 15.0

Facts = dict[str, Any]


@asynccontextmanager
async def connected(url: str, tenant: str = "*") -> AsyncIterator[asyncpg.Connection]:
    """Look into the database as a tenant, or as everybody."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"SET mainstay.tenant = '{tenant}'")
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def pool(url: str) -> AsyncIterator[Postgres]:
    """Connect as a service does."""
    postgres = Postgres(url, max_size=1)
    await postgres.start()
    try:
        yield postgres
    finally:
        await postgres.close()


def call_row(
    request_id: str = "req-1",
    *,
    tenant: str = "acme",
    age: timedelta = timedelta(),
    error: str | None = None,
    at: datetime | None = None,
) -> tuple[Any, ...]:
    """Return a row of the request log."""
    facts: Facts = {
        "time": (at or datetime.now(UTC)) - age,
        "service": "cache",
        "instance": "host:1:ab",
        "method": "mainstay.cache.v1.CacheService/Get",
        "code": "OK" if error is None else "NOT_FOUND",
        "reason": "",
        "duration_ms": 0.4,
        "request_id": request_id,
        "trace_id": "",
        "tenant": tenant,
        "principal": "anonymous",
        "stands_for": 1,
        "error": error,
    }
    return tuple(facts[column] for column in request_log.TABLE.columns)


def rows_metric(which: str, table: str = request_log.TABLE.name) -> float:
    """Return how many rows of a table were written or dropped, or wait."""
    return REGISTRY.get_sample_value(f"mainstay_telemetry_rows_{which}", {"table": table}) or 0.0


async def rows_of(url: str, where: str = "true", *arguments: Any, tenant: str = "*") -> list[Facts]:
    """Return rows of the request log, oldest first."""
    async with connected(url, tenant) as connection:
        found = await connection.fetch(
            f"SELECT * FROM telemetry.api_request_logs WHERE {where} ORDER BY time",
            *arguments,
        )
    return [dict(row) for row in found]


async def until_rows(url: str, count: int) -> list[Facts]:
    """Wait for so many rows of the request log."""
    async with asyncio.timeout(PATIENCE):
        while len(rows := await rows_of(url)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # who writes them tells nobody
    return rows
