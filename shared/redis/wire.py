"""One open connection: commands of concurrent callers go out together, replies come back in order.

hiredis packs and parses; the order of callers is ours. A caller that gives up leaves its reply to
be dropped in its turn: no cancellation ever cuts the stream in the middle.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import hiredis

from mainstay.errors import UnavailableError
from shared.redis.errors import MISROUTED, error_of, unavailable
from shared.telemetry import metrics

MAX_WAITING = 20_000
"""Commands that may wait for a reply at the same time."""

MAX_UNSENT = 16 * 1024 * 1024
"""Bytes that the peer may leave untaken before further commands are refused."""

PATIENCE = 8
SECOND_LOOK = 0.01

Argument = str | bytes | int | float
OnMisrouted = Callable[["asyncio.Future[Any]", bytes, float, str], None]

_FINE = metrics.redis_commands.labels("ok")
_FAULTY = metrics.redis_commands.labels("error")
_FAILED = metrics.redis_commands.labels("failed")

_INCOMPLETE = object()
_PING = hiredis.pack_command(("PING",))
_ASKING = hiredis.pack_command(("ASKING",))


class Wire(asyncio.Protocol):
    """Takes over a transport, and lives until the connection breaks or is given up.

    `on_end` is called once, in the turn in which it ends. `on_push` gets what Redis sends unasked.
    `on_misrouted` decides about a command of `send_routed` that another node should have got: it
    gets the caller's future, the bytes, when they were sent and what Redis said.
    """

    batches = 0
    """How often any wire of this process has sent what was queued."""

    def __init__(
        self,
        *,
        address: str,
        timeout: float,
        on_end: Callable[[], None] = lambda: None,
        on_push: Callable[[list[Any]], None] | None = None,
        on_misrouted: OnMisrouted | None = None,
    ) -> None:
        self.ended = asyncio.Event()
        self.cause: BaseException | None = None
        self._address = address
        self._timeout = timeout
        self._on_end = on_end
        self._on_push = on_push
        self._on_misrouted = on_misrouted
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None
        self._replies = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._outgoing: list[bytes] = []
        self._waiting: deque[tuple[asyncio.Future[Any], float, bytes | None]] = deque()
        self._flush_is_due = False
        self._is_closed = False
        self._watchdog: asyncio.TimerHandle | None = None
        self._heard = 0.0
        self._looked_twice = False
        _wires.add(self)

    def begin(self, transport: asyncio.WriteTransport) -> "asyncio.Future[Any]":
        """Take over, and send a PING whose answer the caller waits for as long as it likes."""
        self._transport = transport
        transport.set_write_buffer_limits(high=MAX_UNSENT)
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((answer, time.monotonic(), None))
        self.write_now(_PING)
        return answer

    @property
    def in_flight(self) -> int:
        """Return how many commands wait for their reply."""
        return len(self._waiting)

    def send(self, args: tuple[Argument, ...]) -> "asyncio.Future[Any]":
        """Queue one command and return the future of its reply."""
        return self._queue(hiredis.pack_command(args), None)  # type: ignore[arg-type]

    def send_unanswered(self, args: tuple[Argument, ...]) -> None:
        """Send a command that is answered by pushes, if at all."""
        self.write_now(hiredis.pack_command(args))  # type: ignore[arg-type]

    def send_routed(self, args: tuple[Argument, ...]) -> "asyncio.Future[Any]":
        """Queue one command that may have been sent to the wrong node of a cluster."""
        packed = hiredis.pack_command(args)  # type: ignore[arg-type]
        return self._queue(packed, packed)

    def send_again(self, packed: bytes, *, asking: bool) -> "asyncio.Future[Any]":
        """Queue a command that another node has redirected here."""
        if asking:
            _drop_outcome(self._queue(_ASKING, None))
        return self._queue(packed, None)

    def _queue(self, packed: bytes, routed: bytes | None) -> "asyncio.Future[Any]":
        if self._is_closed or len(self._waiting) >= MAX_WAITING:
            raise self._refusal()
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._outgoing.append(packed)
        self._waiting.append((reply, time.monotonic(), routed))
        if self._watchdog is None:
            self._arm(self._timeout)
        if not self._flush_is_due:
            # At the end of this turn of the loop, when all who are awake have said what they want.
            self._flush_is_due = True
            self._loop.call_soon(self._flush)
        return reply

    def _refusal(self) -> UnavailableError:
        if self.ended.is_set():
            return self._unavailable("REDIS_BREAKER_OPEN", "not connected")
        return self._unavailable("REDIS_QUEUE_FULL", "too many commands or bytes are waiting")

    def _flush(self) -> None:
        self._flush_is_due = False
        Wire.batches += 1
        batch, self._outgoing = self._outgoing, []
        if batch and not self.ended.is_set():
            self.write_now(b"".join(batch))

    def write_now(self, data: bytes) -> None:
        """Write without waiting; what the peer does not take yet is kept in memory."""
        assert self._transport is not None, "only a wire that has begun writes"
        self._transport.write(data)

    def pause_writing(self) -> None:
        """Refuse commands: the peer takes fewer bytes than it is given."""
        self._is_closed = True

    def resume_writing(self) -> None:
        """Take commands again."""
        self._is_closed = self.ended.is_set()

    def data_received(self, data: bytes) -> None:
        """Hand out the replies that are complete."""
        self._heard = time.monotonic()
        try:
            self._replies.feed(data)
            self._answer_all()
        except hiredis.ProtocolError as error:
            self.end(ConnectionError(f"Redis sent what is no reply: {error}"))
        except ConnectionError as error:
            self.end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits: the peer or the network has ended it."""
        self.end(exc or ConnectionError("Redis closed the connection"))

    def _answer_all(self) -> None:
        on_push, fine, faulty = self._on_push, 0, 0
        sent: float | None = None
        try:
            while (reply := self._replies.gets()) is not _INCOMPLETE:
                if on_push is not None and isinstance(reply, hiredis.PushNotification):
                    on_push(reply)
                    continue
                if not self._waiting:
                    raise ConnectionError("Redis sent a reply that nobody waits for")
                future, sent, routed = self._waiting.popleft()
                if isinstance(reply, hiredis.ReplyError):
                    faulty += 1
                    self._answer_error(future, sent, routed, str(reply))
                else:
                    fine += 1
                    if not future.done():
                        future.set_result(reply)
        finally:
            _FINE.inc(fine)
            if faulty:
                _FAULTY.inc(faulty)
        if sent is not None and not self._waiting:
            metrics.redis_seconds.observe(time.monotonic() - sent)

    def _answer_error(
        self, future: "asyncio.Future[Any]", sent: float, routed: bytes | None, text: str
    ) -> None:
        if not future.done():
            if routed is not None and self._on_misrouted and text.startswith(MISROUTED):
                self._on_misrouted(future, routed, sent, text)
            else:
                error = error_of(text, self._address, retry_after=self._timeout)
                future.set_exception(error)
        if text.startswith("READONLY"):
            # A failover: behind the same name there is another primary to be connected to.
            raise ConnectionError("Redis has become a replica")

    def _arm(self, delay: float) -> None:
        self._watchdog = self._loop.call_later(delay, self._check_age)

    def _check_age(self) -> None:
        """Give up on the connection when its oldest command has waited too long.

        One timer for all: replies come in order, so if the oldest is late, so are the rest. As long
        as bytes of large replies come in, the wire lives, up to `PATIENCE` times the timeout.
        """
        self._watchdog = None
        if not self._waiting:
            return
        now, sent = time.monotonic(), self._waiting[0][1]
        left = min(max(sent, self._heard) + self._timeout, sent + PATIENCE * self._timeout) - now
        if left > 0:
            self._looked_twice = False
            self._arm(left)
        elif not self._looked_twice:
            # If this process itself was held up, the reply lies in the socket and is read first.
            self._looked_twice = True
            self._arm(SECOND_LOOK)
        else:
            late = TimeoutError(f"no answer within {self._timeout:g} s")
            self.end(late, reason="REDIS_TIMEOUT")

    def end(self, cause: BaseException, reason: str = "REDIS_UNAVAILABLE") -> None:
        """Fail everything that waits; whether it was carried out is not known."""
        if self.ended.is_set():
            return
        self.cause = cause
        self.ended.set()
        self._is_closed = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._outgoing.clear()
        waiting, self._waiting = self._waiting, deque()
        self._on_end()
        _FAILED.inc(len(waiting))
        for future, _, _ in waiting:
            if not future.done():
                future.set_exception(self._unavailable(reason, str(cause)))

    def _unavailable(self, reason: str, why: str) -> UnavailableError:
        return unavailable(self._address, reason, why, retry_after=self._timeout)


_wires: WeakSet[Wire] = WeakSet()
metrics.redis_in_flight.set_function(lambda: sum(wire.in_flight for wire in _wires))


def _drop_outcome(reply: "asyncio.Future[Any]") -> None:
    reply.add_done_callback(lambda done: done.cancelled() or done.exception())
