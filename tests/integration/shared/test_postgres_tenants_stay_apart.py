"""A pooled connection never carries a tenant to the next caller, however its use was cut short."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import asyncpg
import pytest

from mainstay.errors import DatabaseError
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import Tenant

CONNECTIONS = 2
CALLERS = 24
TRANSACTIONS = 3_000
CHAOS_SECONDS = 20.0
"""Longest time for as many; a busy machine does fewer."""
SEED = 7
HAS = "current_setting('mainstay.tenant', true)"
SCHEMA = f"""
CREATE TABLE notes (tenant text NOT NULL, id bigserial PRIMARY KEY);
CREATE INDEX ON notes (tenant);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON notes USING (tenant = {HAS} OR {HAS} = '*');
"""
TENANTS = tuple(Tenant(f"tenant-{number}") for number in range(CALLERS))

Cut = Callable[[random.Random, "asyncio.Task[None]"], Awaitable[None]]


class Witness:
    """Counts transactions and notes every tenant that was somebody else's."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self.begun = 0
        self.ended: Counter[str] = Counter()
        self.strangers: list[str] = []

    async def look(self, connection: Connection, tenant: Tenant) -> None:
        """Compare what a transaction is in, and what it sees, with what it should."""
        row = await connection.fetchrow(
            f"SELECT {HAS} AS setting, array_agg(DISTINCT tenant) AS seen FROM notes"
        )
        seen = set(row["seen"] or ())
        if row["setting"] != tenant or seen - {tenant}:
            self.strangers.append(f"{tenant}: in {row['setting']!r}, sees {sorted(seen)}")

    async def work(self, tenant: Tenant, chance: random.Random) -> None:
        """Do a transaction as services do, and look at each of its moments."""
        async with self._postgres.transaction(tenant) as connection:
            await self.look(connection, tenant)
            await connection.execute("INSERT INTO notes (tenant) VALUES ($1)", tenant)
            if chance.random() < 0.1:
                await connection.execute("SELECT pg_sleep(0.002)")
            await self.look(connection, tenant)
            if chance.random() < 0.1:
                raise KeyError("of the caller")
        self.ended["done"] += 1

    async def between(self) -> None:
        """Look at a connection as nobody's transaction left it."""
        with suppress(DatabaseError):
            async with self._postgres._connection() as connection:
                setting = await connection.fetchval(f"SELECT {HAS}")
                rows = await connection.fetchval("SELECT count(*) FROM notes")
                if setting or rows or connection.is_in_transaction():
                    self.strangers.append(f"nobody: in {setting!r}, sees {rows} rows")


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[Postgres]:
    """Connect with fewer connections than callers, and little patience."""
    owner = await asyncpg.connect(postgres_url)
    await owner.execute(SCHEMA)
    await owner.close()
    pool = Postgres(postgres_url, max_size=CONNECTIONS, command_timeout=0.25)
    await pool.start()
    yield pool
    await pool.close()


@pytest.fixture
def witness(postgres: Postgres) -> Witness:
    """Watch that pool."""
    return Witness(postgres)


async def keep_cutting(witness: Witness, tenant: Tenant, cut: Cut, seconds: float) -> None:
    """Begin one transaction after the other and have each cut short, or not."""
    chance = random.Random(f"{SEED}/{tenant}")
    deadline = time.monotonic() + seconds
    while witness.begun < TRANSACTIONS and time.monotonic() < deadline:
        witness.begun += 1
        task = asyncio.create_task(witness.work(tenant, chance))
        await cut(chance, task)
        try:
            await task
        except (asyncio.CancelledError, DatabaseError, KeyError) as error:
            witness.ended[type(error).__name__] += 1
        if chance.random() < 0.05:
            await witness.between()


async def cancelled(chance: random.Random, task: "asyncio.Task[None]") -> None:
    """Cancel it at a random step of its, up to three times."""
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3])):
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            await asyncio.sleep(chance.random() * 0.02)
        task.cancel()


async def left_alone(_: random.Random, task: "asyncio.Task[None]") -> None:
    """Let it end."""
    await asyncio.wait({task})


async def run(witness: Witness, cut: Cut, seconds: float) -> None:
    """Have all tenants at it at the same time."""
    async with asyncio.timeout(seconds + 30), asyncio.TaskGroup() as callers:
        for tenant in TENANTS:
            callers.create_task(keep_cutting(witness, tenant, cut, seconds))


async def check_nothing_is_left(witness: Witness) -> None:
    """Assert that nobody ever was another, nor is now, on any connection."""
    for _ in range(4 * CONNECTIONS):
        await witness.between()
    witness.begun = 0
    await run(witness, left_alone, 0.2)

    assert [] == witness.strangers


class TestAPoolOfTwo:
    async def test_under_cancellation(self, witness: Witness) -> None:
        """Thousands of transactions of many tenants, given up at random moments."""
        await run(witness, cancelled, CHAOS_SECONDS)

        await check_nothing_is_left(witness)
        assert 200 < witness.ended["CancelledError"]
        assert 50 < witness.ended["done"]

    async def test_under_timeouts(self, postgres: Postgres, witness: Witness) -> None:
        """Statements that wait for a lock until PostgreSQL is not waited for any more."""
        chance = random.Random(SEED)

        async def time_out(tenant: Tenant) -> None:
            with suppress(DatabaseError):
                async with postgres.transaction(tenant) as connection:
                    await witness.look(connection, tenant)
                    await connection.execute("SELECT pg_sleep($1)", 0.2 + chance.random() * 0.1)
                    witness.ended["in time"] += 1
                return
            witness.ended["timed out"] += 1

        for _ in range(4):
            await asyncio.gather(*map(time_out, TENANTS[: 2 * CONNECTIONS]))

        await check_nothing_is_left(witness)
        assert 0 < witness.ended["timed out"]

    async def test_while_backends_are_killed(self, postgres_url: str, witness: Witness) -> None:
        """What the pool opens in their place knows no tenant either."""
        killer = await asyncpg.connect(postgres_url)
        kill = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE "
            "datname = current_database() AND application_name = 'mainstay'"
        )
        killed = 0

        async def keep_killing() -> None:
            nonlocal killed
            while True:
                await asyncio.sleep(0.2)
                killed += await killer.fetchval(kill)

        killing = asyncio.create_task(keep_killing())
        try:
            await run(witness, cancelled, CHAOS_SECONDS / 4)
        finally:
            killing.cancel()
            await asyncio.wait({killing})
            await killer.close()

        await check_nothing_is_left(witness)
        assert 5 < killed
        assert 0 < witness.ended["DatabaseError"]
        assert 0 < witness.ended["done"]
