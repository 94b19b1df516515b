"""A connection to Redis that concurrent callers share, and that comes back by itself.

Commands of all callers leave together and replies come back in order (`shared.redis.wire`), so a
command costs a few microseconds where a pool costs thirty.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import structlog

from mainstay.errors import ConfigurationError, UnavailableError
from shared.redis.endpoint import Endpoint, abandon, establish
from shared.redis.errors import NoScriptError, RedisReplyError, unavailable
from shared.redis.wire import Argument, OnMisrouted, Wire

__all__ = ["Argument", "NoScriptError", "RedisLink", "RedisReplyError"]

FIRST_RECONNECT = 0.05
LONGEST_RECONNECT = 1.0

log = structlog.get_logger()


class RedisLink:
    """Sends commands to one server; reconnects by itself.

    While there is no connection every command fails at once (the breaker is open), and only the
    reconnecting task tries. `on_change` is called whenever `connected` has changed.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout: float,
        on_change: Callable[[], None],
        on_misrouted: OnMisrouted | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._on_change = on_change
        self._on_misrouted = on_misrouted
        self._connection = endpoint.connection(timeout=timeout)
        self._wire: Wire | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Return whether commands are being sent."""
        return self._wire is not None

    async def start(self) -> None:
        """Connect once, or raise why not; from then on stay connected."""
        wire = await self._connect()
        self._keeper = asyncio.create_task(self._keep(wire), name="redis-link")

    async def close(self) -> None:
        """Fail what waits and disconnect."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._wire is not None:
            self._wire.end(ConnectionError("it was closed here"))
        # Also where the connection has just been lost and nobody came to that any more.
        await self._connection.disconnect(nowait=True)

    def send(self, args: tuple[Argument, ...]) -> "asyncio.Future[Any]":
        """Queue one command and return the future of its reply."""
        if self._wire is None:
            raise self._breaker_open()
        return self._wire.send(args)

    def send_routed(self, args: tuple[Argument, ...]) -> "asyncio.Future[Any]":
        """Queue one command of a cluster's client (see `Wire.send_routed`)."""
        if self._wire is None:
            raise self._breaker_open()
        return self._wire.send_routed(args)

    def send_again(self, packed: bytes, *, asking: bool) -> "asyncio.Future[Any]":
        """Queue a command that another node has redirected here."""
        if self._wire is None:
            raise self._breaker_open()
        return self._wire.send_again(packed, asking=asking)

    async def ping(self) -> float:
        """Return the seconds that one round trip takes."""
        began = time.perf_counter()
        await self.send(("PING",))
        return time.perf_counter() - began

    async def scan_pages(self, *, match: str | bytes, count: int) -> AsyncIterator[list[bytes]]:
        """Yield the keys of this server in pages, some of them empty.

        Raises UnavailableError also when the connection was made anew in between: the cursor means
        nothing to a server that was started again.
        """
        wire, cursor = self._wire, b"0"
        if wire is None:
            raise self._breaker_open()
        while True:
            cursor, keys = await wire.send(("SCAN", cursor, "MATCH", match, "COUNT", count))
            yield keys
            if cursor == b"0":
                return

    async def _keep(self, wire: Wire) -> None:
        """Bring the connection back whenever it breaks."""
        while True:
            await wire.ended.wait()
            # What broke in a way that no network does is a fault of ours and worth its traceback.
            expected = isinstance(wire.cause, OSError)
            log.warning(
                "redis_connection_lost",
                address=self.endpoint.address,
                error=str(wire.cause),
                exc_info=None if expected else wire.cause,
            )
            await abandon(self._connection, wire)
            wire = await self._reconnect()

    async def _reconnect(self) -> Wire:
        wait = FIRST_RECONNECT
        while True:
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311
            wait = min(wait * 2, LONGEST_RECONNECT)
            try:
                wire = await self._connect()
            except (UnavailableError, ConfigurationError) as error:
                log.warning(
                    "redis_reconnecting", address=self.endpoint.address, error=error.message
                )
            else:
                log.info("redis_reconnected", address=self.endpoint.address)
                return wire

    async def _connect(self) -> Wire:
        address = self.endpoint.address
        wire = Wire(
            address=address,
            timeout=self._timeout,
            on_end=self._open_breaker,
            on_misrouted=self._on_misrouted,
        )
        await establish(self._connection, wire, address=address, timeout=self._timeout)
        self._wire = wire
        self._on_change()
        return wire

    def _open_breaker(self) -> None:
        self._wire = None
        self._on_change()

    def _breaker_open(self) -> UnavailableError:
        return unavailable(
            self.endpoint.address,
            "REDIS_BREAKER_OPEN",
            "not connected",
            retry_after=self._timeout,
        )
