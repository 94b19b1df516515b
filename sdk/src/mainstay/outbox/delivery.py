"""One batch on its way to the service: in few calls, and one bad message apart from the others.

The service accepts all events of a call or none. A call that is refused because of one of them is
halved until that one is alone.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterator, Sequence

from mainstay.errors import MainstayError
from mainstay.outbox.message import Kind, Message, Origin, Verdict, judge

CALLS_AT_ONCE = 8

Send = Callable[[Sequence[Message]], Awaitable[None]]


class Delivery:
    """Collects what becomes of each message of a batch.

    What is in none of the collections was not answered, and is to be sent again.

    Attributes:
        accepted: What the service has, durably.
        later: What it cannot accept now, with its reasons.
        never: What it will not accept, with its reasons.
        away: Why it could not be asked; None when it could.

    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.accepted: list[Message] = []
        self.later: list[tuple[Message, MainstayError]] = []
        self.never: list[tuple[Message, MainstayError]] = []
        self.away: MainstayError | None = None

    async def run(self, messages: Sequence[Message], *, seconds: float) -> None:
        """Deliver what can be delivered within a time."""
        slots = asyncio.Semaphore(CALLS_AT_ONCE)
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as calls:
                for together in _calls(messages):
                    # Messages belong to the requests that caused them: whatever is current where
                    # the relay was started (a request, a span) must not leak into them.
                    calls.create_task(self._call(together, slots), context=contextvars.Context())
        except TimeoutError:
            return  # the rest is for the next batch

    async def _call(self, messages: Sequence[Message], slots: asyncio.Semaphore) -> None:
        async with slots:
            await self._deliver(messages)

    async def _deliver(self, messages: Sequence[Message]) -> None:
        if self.away is not None:
            return
        try:
            await self._send(messages)
        except MainstayError as error:
            await self._judge(messages, error)
        else:
            self.accepted += messages

    async def _judge(self, messages: Sequence[Message], error: MainstayError) -> None:
        verdict = judge(error)
        if verdict is Verdict.AWAY:
            self.away = error
        elif len(messages) > 1:
            half = len(messages) // 2
            await self._deliver(messages[:half])
            await self._deliver(messages[half:])
        elif verdict is Verdict.LATER:
            self.later.append((messages[0], error))
        else:
            self.never.append((messages[0], error))


def _calls(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Yield what goes in one call: events of one origin together, and each job alone."""
    events: dict[Origin, list[Message]] = {}
    for message in messages:
        if message.kind is Kind.EVENT:
            events.setdefault(message.origin, []).append(message)
        else:
            yield [message]
    yield from events.values()
