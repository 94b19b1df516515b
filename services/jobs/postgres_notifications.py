"""LISTEN and NOTIFY."""

import asyncio
from collections.abc import Callable
from typing import NoReturn

from mainstay.errors import DatabaseError
from shared.postgres.errors import TRANSIENT, translate
from shared.postgres.pool import Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS

_QUERIES = load_queries("services.jobs", "sql/peers.sql")

CHECK_INTERVAL = 30.0
"""How often the listening connection is asked whether it still lives, in seconds."""


class PostgresNotifications:
    """Implements Notifications."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def notify(self, channel: str, text: str) -> None:
        """Send a text; not repeated, as a poll finds what it would have told."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            await connection.execute(_QUERIES["notify"], channel, text)

    async def listen(
        self, channel: str, hear: Callable[[str], None], connected: Callable[[], None]
    ) -> NoReturn:
        """Pass on texts until the connection is lost."""
        lost = asyncio.Event()
        async with self._postgres.listen_connection() as connection:
            connection.add_termination_listener(lambda _connection: lost.set())
            try:
                await connection.add_listener(channel, lambda _c, _pid, _ch, text: hear(text))
                connected()
                while not await _is_set(lost, within=CHECK_INTERVAL):
                    await connection.execute("SELECT 1")
            except TRANSIENT as error:
                raise translate(error) or error from error
        raise DatabaseError("the connection that listens was lost; connecting again")


async def _is_set(event: asyncio.Event, *, within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            return await event.wait()
    except TimeoutError:
        return False
