"""API keys in PostgreSQL, as services read them. Every wait is bounded, a frozen server's too."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import asyncpg

from mainstay.errors import ConfigurationError, DatabaseError
from shared.identity.api_key import KeyId
from shared.identity.ports import AT_ONCE, MAX_KEYS, HeldKey, Revision
from shared.postgres.bounded import BoundedWork
from shared.postgres.migrations import Migrations
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS, Tenant

MIGRATIONS = Migrations(service="identity", package="shared.identity")
APPLICATION = "mainstay identity"
LONGEST_QUERY = 2.0
LONGEST_LOAD = 10.0
LONGEST_END = 1.0
"""Seconds that work which is given up has to end."""

QUERIES = load_queries("shared.identity", "sql/queries.sql")

T = TypeVar("T")


def identity_postgres(url: str, *, migrate: bool) -> Postgres:
    """Return a connection of its own for the keys, not yet open: no call waits behind others."""
    return Postgres(
        url,
        migrations=MIGRATIONS,
        migrate=migrate,
        max_size=1,
        session_settings={"application_name": APPLICATION},
    )


class PostgresKeys:
    """The `KeyStore` of services."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._work = BoundedWork()

    async def start(self) -> None:
        """Connect, and bring the schema up to date or find that it is."""
        try:
            await self._postgres.start()
        except asyncpg.PostgresError as error:
            raise DatabaseError(f"the API keys cannot be read: {error}") from error

    async def close(self) -> None:
        """Disconnect."""
        await self._work.close(LONGEST_END)
        await self._postgres.close()

    async def revision(self) -> Revision:
        """Return what changes whenever a key does, and the time."""
        row = await self._run(lambda connection: connection.fetchrow(QUERIES["read_revision"]))
        return Revision(str(row["revision"]), row["now"])

    async def load(self) -> Sequence[HeldKey]:
        """Return the keys that count, `MAX_KEYS` at most."""

        async def work(connection: Connection) -> Sequence[Any]:
            rows: Sequence[Any] = await connection.fetch(
                QUERIES["load_keys"], MAX_KEYS, timeout=LONGEST_LOAD
            )
            return rows

        keys: list[HeldKey] = []
        for row in await self._run(work, within=LONGEST_LOAD):
            keys.append(_held(row))
            if len(keys) % AT_ONCE == 0:
                await asyncio.sleep(0)
        return keys

    async def note_uses(self, uses: Mapping[KeyId, float]) -> None:
        """Note when keys were used last, in seconds since 1970."""
        ids, times = [*uses], [*uses.values()]
        await self._run(
            lambda connection: connection.execute(QUERIES["note_uses"], ids, times),
            within=LONGEST_LOAD,
        )

    async def _run(
        self, work: Callable[[Connection], Awaitable[T]], *, within: float = LONGEST_QUERY
    ) -> T:
        try:
            return await self._work.run(within, self._once(work))
        except (ConfigurationError, asyncpg.PostgresError) as error:
            # Tables that are gone, or a right: for who asks, the store is away.
            raise DatabaseError(f"the API keys cannot be read: {error}") from error

    async def _once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            return await work(connection)


def _held(row: Any) -> HeldKey:
    expires = row["expires"]
    return HeldKey(
        key_id=KeyId(row["key_id"]),
        digest=row["digest"],
        tenant=Tenant(row["tenant"]),
        scopes=tuple(row["scopes"]),
        expires=float("inf") if expires is None else expires,
    )
