"""A database of health, rows as observers write them, and a clock that tests set."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg

from services.health.database import Database, history_postgres
from services.health.minutes import Cell, Held, Tally
from services.health.postgres_records import Batch
from services.health.state import State


def current_minute() -> datetime:
    """Return half past this minute, for what is compared with the database's clock."""
    return datetime.now(UTC).replace(second=30, microsecond=0)


@asynccontextmanager
async def connected_database(url: str) -> AsyncIterator[Database]:
    """Migrate a database and connect to it as the service does."""
    database = Database(history_postgres(url, migrate=True))
    try:
        await database.start()
        if not database.connected:
            await database._connect()  # a busy machine
        yield database
    finally:
        await database.close()


async def query(url: str, statement: str, *arguments: Any) -> list[asyncpg.Record]:
    """Ask the database as an operator would."""
    connection = await asyncpg.connect(url)
    try:
        found: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
    finally:
        await connection.close()
    return found


def minute_of(time: datetime) -> int:
    """Return minutes since 1970."""
    return int(time.timestamp() // 60)


def row(target: str, time: datetime, **seconds: float) -> tuple[Cell, Tally]:
    """Return a minute in which a target spent some time in each of these states."""
    spent = {State(name): value for name, value in seconds.items()}
    tally = Tally(probes=30, latency_sum=0.3, latency_max=0.05, seconds=spent)
    for state in spent:
        tally.worst = Held(state, "", "") if tally.worst is None else tally.worst
    return Cell(target, minute_of(time)), tally


def batch(*rows: tuple[Cell, Tally]) -> Batch:
    """Return rows with an id of their own."""
    return Batch(batch_id=uuid4(), rows=rows)
