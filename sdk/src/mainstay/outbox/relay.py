"""The relay: takes what transactions left in an outbox to the jobs service."""

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mainstay.channel import Channel
from mainstay.errors import DatabaseError, MainstayError
from mainstay.outbox.database import Connection
from mainstay.outbox.delivery import Delivery
from mainstay.outbox.message import (
    Kind,
    Message,
    Origin,
    in_words,
    is_spent,
    pause_before_retry,
)
from mainstay.outbox.outbox import Outbox
from mainstay.outbox.sender import Sender
from mainstay.signals import run_until_signal

log = logging.getLogger("mainstay.outbox")

MAX_MESSAGES = 100
# A request of gRPC may have 4 MiB; one message is 1 MiB at most.
MAX_BATCH_BYTES = 3 * 1024 * 1024
# How long a batch may be held, well within the minute after which the database takes it back.
BATCH_SECONDS = 30.0
FIRST_REST = 0.1
LONGEST_REST = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What became of one batch.

    Attributes:
        taken: How many messages it had.
        accepted: How many the service has now; they are gone from the outbox.
        deferred: How many are tried again later.
        failed: How many were moved aside.
        away: Why the service could not be asked; None when it could. What it was not asked about
            stays as it is.

    """

    taken: int
    accepted: int
    deferred: int
    failed: int
    away: MainstayError | None


class OutboxRelay:
    """Takes the messages of `outbox` to the jobs service at the other end of `channel`.

    A message is deleted in the transaction that locks it, after the service has accepted it. A
    relay that dies in between leaves it, and it is sent again under the same idempotency key,
    without effect within the 30 days that the service remembers keys. Any number of relays may work
    at once.

    Messages leave roughly in the order in which their transactions began: those of one batch of up
    to 100 go in up to eight calls at once, several relays overtake each other, and what could not
    be accepted is overtaken.

    What the service refuses is moved aside and keeps its error (`Outbox.troubled`). What it cannot
    take now is tried again, after one second up to five minutes, while others go on. With the
    service or the database away nothing changes until they are back. Commits wake the relay at
    once; `poll_interval`, in seconds, is for news that got lost and for what is to be tried again.
    """

    def __init__(self, outbox: Outbox, channel: Channel, *, poll_interval: float = 5.0) -> None:
        self._outbox = outbox
        self._queries = outbox.queries
        self._send = Sender(channel).send
        self._target = channel.target
        self._poll_interval = poll_interval
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._jitter = random.Random()  # noqa: S311 - spreads reconnects, guards nothing
        self._failures = 0

    async def run(self) -> None:
        """Relay until `stop` or cancellation; connects again for as long as that takes.

        Raises ConfigurationError and PreconditionError for what waiting cannot heal, such as an
        outbox that is not installed.
        """
        while not self._stopping.is_set():
            try:
                async with self._outbox.connected() as connection:
                    await self._relay(connection)
            except DatabaseError as error:
                await self._rest(error)

    async def run_once(self) -> Round:
        """Take one batch of what is due; for tests and for those who have a loop of their own."""
        async with self._outbox.connected() as connection:
            return await self._take_round(connection)

    def stop(self) -> None:
        """Ask `run` to return after the batch in hand, which may take half a minute at most."""
        self._stopping.set()
        self._wake.set()

    async def run_until_signal(self) -> None:
        """Run; SIGTERM or SIGINT stops, a second one leaves the batch in hand to the next relay."""
        await run_until_signal(self.run, self.stop)

    async def _relay(self, connection: Connection) -> None:
        """Relay over one connection until it is lost."""
        connection.add_termination_listener(lambda _connection: self._wake.set())
        await connection.add_listener(self._outbox.schema, lambda *_news: self._wake.set())
        while not self._stopping.is_set():
            self._wake.clear()
            done = await self._take_round(connection)
            if done.away is not None:
                await self._rest(done.away)
                continue
            self._failures = 0
            if not done.taken:
                await _set_within(self._wake, self._poll_interval)

    async def _rest(self, error: MainstayError) -> None:
        """Wait longer with each failure in a row; news of more to do does not shorten it."""
        self._failures += 1
        ceiling = min(LONGEST_REST, FIRST_REST * 2.0 ** min(self._failures - 1, 10))
        pause = ceiling * self._jitter.uniform(0.5, 1.0)
        log.warning(
            "outbox %s rests %.1f s: %s",
            self._outbox.schema,
            pause,
            error.message,
            extra={"outbox": self._outbox.schema, "reason": error.reason, "target": self._target},
        )
        await _set_within(self._stopping, pause)

    async def _take_round(self, connection: Connection) -> Round:
        async with connection.transaction():
            messages = [
                _message(row)
                for row in await connection.fetch(
                    self._queries["take"],
                    MAX_MESSAGES,
                    MAX_BATCH_BYTES,
                    [kind.value for kind in Kind],
                )
            ]
            delivery = Delivery(self._send)
            if messages:
                await delivery.run(messages, seconds=BATCH_SECONDS)
            return await self._settle(connection, messages, delivery)

    async def _settle(
        self, connection: Connection, messages: Sequence[Message], delivery: Delivery
    ) -> Round:
        spent = [each for each in delivery.later if is_spent(*each)]
        deferred = [each for each in delivery.later if not is_spent(*each)]
        failed = [*delivery.never, *spent]
        if delivery.accepted:
            ids = [message.id for message in delivery.accepted]
            await connection.execute(self._queries["delete"], ids)
        if deferred:
            pauses = [
                pause_before_retry(message.attempts + 1, error.retry_after)
                for message, error in deferred
            ]
            await connection.execute(self._queries["defer"], *_errors(deferred), pauses)
        if failed:
            await connection.execute(self._queries["set_aside"], *_errors(failed))
        self._tell(deferred, failed)
        return Round(
            taken=len(messages),
            accepted=len(delivery.accepted),
            deferred=len(deferred),
            failed=len(failed),
            away=delivery.away,
        )

    def _tell(
        self,
        deferred: Sequence[tuple[Message, MainstayError]],
        failed: Sequence[tuple[Message, MainstayError]],
    ) -> None:
        for outcome, troubled in (("deferred", deferred), ("failed", failed)):
            for message, error in troubled:
                log.warning(
                    "outbox %s: message %d (%s) %s: %s",
                    self._outbox.schema,
                    message.id,
                    message.name,
                    outcome,
                    error.message,
                    extra={
                        "outbox": self._outbox.schema,
                        "message_id": message.id,
                        "reason": error.reason,
                        "request_id": error.request_id,
                    },
                )


def _message(row: Any) -> Message:
    return Message(
        id=row["id"],
        kind=Kind(row["kind"]),
        name=row["name"],
        version=row["version"],
        data=row["data"],
        idempotency_key=row["idempotency_key"],
        priority=row["priority"],
        delay=row["delay_seconds"],
        origin=Origin(
            tenant=row["tenant"], request_id=row["request_id"], traceparent=row["traceparent"]
        ),
        attempts=row["attempts"],
    )


def _errors(troubled: Sequence[tuple[Message, MainstayError]]) -> tuple[list[int], list[str]]:
    ids = [message.id for message, _error in troubled]
    return ids, [in_words(error) for _message, error in troubled]


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set or the time is over."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
