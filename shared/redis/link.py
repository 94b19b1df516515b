"""One connection to Redis that concurrent callers share.

Commands of all callers leave together and replies come back in order, so a command costs a few
microseconds where a pool costs thirty. redis-py connects and authenticates, hiredis parses; the
order of callers is ours. A caller that gives up leaves its reply to be dropped in its turn: no
cancellation ever cuts the stream in the middle.
"""

import asyncio
import random
import time
from collections import deque
from typing import Any

import hiredis
import structlog
from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from mainstay.errors import ConfigurationError, UnavailableError
from shared.telemetry import metrics

MAX_WAITING = 20_000
"""Commands that may wait for a reply at the same time."""

FIRST_RECONNECT = 0.05
LONGEST_RECONNECT = 1.0

Argument = str | bytes | int | float

_FINE = metrics.redis_commands.labels("ok")
_FAULTY = metrics.redis_commands.labels("error")

log = structlog.get_logger()

# Answers that say "not now": the same command may succeed later or on another node.
_REFUSALS = (
    "READONLY",
    "LOADING",
    "BUSY",
    "MISCONF",
    "NOREPLICAS",
    "MASTERDOWN",
    "TRYAGAIN",
    "CLUSTERDOWN",
)

READ_BYTES = 64 * 1024
PATIENCE = 8
SECOND_LOOK = 0.01


class RedisReplyError(Exception):
    """Redis answered with an error: the command was wrong, which is a fault of ours."""


class NoScriptError(RedisReplyError):
    """The script is not loaded."""


class LinkConnection(AbstractConnection):
    """Adds to a connection of redis-py what a shared one needs: the bare stream.

    A mixin over the kinds of connection that redis-py has (TCP, TLS, socket file).
    """

    def write_now(self, data: bytes) -> None:
        """Write without waiting; what the peer does not take yet is kept in memory."""
        assert self._writer is not None, "only a connected link writes"
        self._writer.write(data)

    async def read_some(self) -> bytes:
        """Return the bytes that came next; empty when the peer has hung up."""
        assert self._reader is not None, "only a connected link reads"
        return await self._reader.read(READ_BYTES)


class RedisLink:
    """Sends commands and hands out replies; reconnects by itself.

    While there is no connection every command fails at once (the breaker is open), and only the
    reconnecting task tries.
    """

    def __init__(self, connection: LinkConnection, *, timeout: float, address: str) -> None:
        self._connection = connection
        self._timeout = timeout
        self._address = address
        self._outgoing: list[bytes] = []
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._flush_is_due = False
        self._connected = False
        self._watchdog: asyncio.TimerHandle | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._too_late = asyncio.Event()
        self._heard = 0.0
        self._looked_twice = False

    @property
    def connected(self) -> bool:
        """Return whether commands are being sent."""
        return self._connected

    async def start(self) -> None:
        """Connect once, or raise why not; from then on stay connected."""
        await self._connect()
        self._keeper = asyncio.create_task(self._keep(), name="redis-link")

    async def close(self) -> None:
        """Fail what waits and disconnect."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._drop("the service is stopping")
        await self._connection.disconnect(nowait=True)

    def send(self, args: tuple[Argument, ...]) -> "asyncio.Future[Any]":
        """Queue one command and return the future of its reply."""
        if not self._connected:
            raise self._unavailable("REDIS_BREAKER_OPEN", "not connected")
        if len(self._waiting) >= MAX_WAITING:
            raise self._unavailable("REDIS_QUEUE_FULL", f"{MAX_WAITING} commands are waiting")
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._outgoing.append(hiredis.pack_command(args))  # type: ignore[arg-type]
        now = time.monotonic()
        self._waiting.append((reply, now))
        if self._watchdog is None:
            self._arm(self._timeout)
        if not self._flush_is_due:
            # At the end of this turn of the loop, when all who are awake have said what they want.
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)
        return reply

    def _flush(self) -> None:
        self._flush_is_due = False
        batch, self._outgoing = self._outgoing, []
        if batch and self._connected:
            self._connection.write_now(b"".join(batch))

    async def _keep(self) -> None:
        """Run the connection, and bring it back whenever it breaks."""
        wait = FIRST_RECONNECT
        while True:
            if self._connected:
                wait = FIRST_RECONNECT
                await self._exchange()
                await self._connection.disconnect(nowait=True)
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311
            wait = min(wait * 2, LONGEST_RECONNECT)
            try:
                await self._connect()
            except (UnavailableError, ConfigurationError) as error:
                log.warning("redis_reconnecting", address=self._address, error=error.message)
            else:
                log.info("redis_reconnected", address=self._address)

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(max(self._timeout * 4, 1.0)):
                await self._connection.connect()  # type: ignore[no-untyped-call]
                # A stopped Redis still accepts connections: only an answer counts.
                await self._connection.send_command("PING")
                await self._connection.read_response()
        except exceptions.AuthenticationError as error:
            await self._connection.disconnect(nowait=True)
            raise ConfigurationError(
                f"Redis at {self._address} refused the credentials of MAINSTAY_REDIS_URL: {error}"
            ) from error
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            await self._connection.disconnect(nowait=True)
            raise self._unavailable("REDIS_UNAVAILABLE", str(error) or "no answer") from error
        self._connected = True
        metrics.redis_breaker_open.set(0)

    async def _exchange(self) -> None:
        """Write and read until the connection breaks."""
        self._too_late.clear()
        reading = asyncio.create_task(self._read())
        late = asyncio.create_task(self._too_late.wait())
        try:
            await asyncio.wait({reading, late}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._connected = False
            metrics.redis_breaker_open.set(1)
            reading.cancel()
            late.cancel()
            await asyncio.gather(reading, late, return_exceptions=True)
        # Both may have ended in the same turn; and whatever ended it, the link must live on.
        cause = None if self._too_late.is_set() else reading.exception()
        why = str(cause) if cause else f"no answer within {self._timeout:g} s"
        expected = cause is None or isinstance(cause, OSError)
        exc_info = None if expected else cause
        log.warning("redis_connection_lost", address=self._address, error=why, exc_info=exc_info)
        self._drop(why)

    async def _read(self) -> None:
        replies = hiredis.Reader()
        while data := await self._connection.read_some():
            self._heard = time.monotonic()
            replies.feed(data)
            try:
                while (reply := replies.gets()) is not False:
                    self._answer(reply)
            except hiredis.ProtocolError as error:
                raise ConnectionError(f"Redis sent what is no reply: {error}") from error
        raise ConnectionError("Redis closed the connection")

    def _answer(self, reply: Any) -> None:
        """Give a reply to whoever's turn it is."""
        if not self._waiting:
            raise ConnectionError("Redis sent a reply that nobody waits for")
        future, sent = self._waiting.popleft()
        if not self._waiting:
            metrics.redis_seconds.observe(time.monotonic() - sent)
        is_error = isinstance(reply, hiredis.ReplyError)
        (_FAULTY if is_error else _FINE).inc()
        if future.done():
            return
        if not is_error:
            future.set_result(reply)
            return
        future.set_exception(self._named(str(reply)))
        if str(reply).startswith("READONLY"):
            # A failover: behind the same name there is another primary to be connected to.
            raise ConnectionError("Redis has become a replica")

    def _named(self, text: str) -> Exception:
        code = text.split(" ", maxsplit=1)[0]
        if code == "NOSCRIPT":
            return NoScriptError(text)
        # Redis 6 wraps what a script ran into: "ERR Error running script ...: -OOM command ...".
        if code == "OOM" or "-OOM " in text:
            return self._unavailable("REDIS_FULL", "its memory is full")
        if code in _REFUSALS:
            return self._unavailable("REDIS_REFUSED", text)
        return RedisReplyError(text)

    def _arm(self, delay: float) -> None:
        self._watchdog = asyncio.get_running_loop().call_later(delay, self._check_age)

    def _check_age(self) -> None:
        """Give up on the connection when its oldest command has waited too long.

        One timer for all: replies come in order, so if the oldest is late, so are the rest. As long
        as bytes of large replies come in, the link lives, up to `PATIENCE` times the timeout.
        """
        self._watchdog = None
        if not self._waiting:
            return
        now, sent = time.monotonic(), self._waiting[0][1]
        left = min(max(sent, self._heard) + self._timeout, sent + PATIENCE * self._timeout) - now
        if left > 0:
            self._looked_twice = False
            self._arm(left)
            return
        if not self._looked_twice:
            # If this process itself was held up, the reply lies in the socket and is read first.
            self._looked_twice = True
            self._arm(SECOND_LOOK)
            return
        self._looked_twice = False
        self._connected = False
        self._drop(f"no answer within {self._timeout:g} s", reason="REDIS_TIMEOUT")
        self._too_late.set()

    def _drop(self, why: str, reason: str = "REDIS_UNAVAILABLE") -> None:
        """Fail everything that waits; whether it was carried out is not known."""
        waiting, self._waiting = self._waiting, deque()
        self._outgoing.clear()
        metrics.redis_commands.labels("failed").inc(len(waiting))
        for future, _ in waiting:
            if not future.done():
                future.set_exception(self._unavailable(reason, why))

    def _unavailable(self, reason: str, why: str) -> UnavailableError:
        return UnavailableError(
            f"Redis at {self._address} cannot be used ({why}); retry with backoff",
            reason=reason,
            metadata={"dependency": "redis"},
            retry_after=self._timeout,
        )
