"""One computation at a time for each key in this process, shared by all who ask meanwhile.

Nobody is given a value older than an invalidation that was acknowledged before he asked. What was
read or computed is good for those who asked before the reading or the computing began. What the
service has stored is good for more: it stores only what nothing has invalidated since the lease was
given, so it suits everybody who asked before the storing began. Whoever asks later, or is not
suited, starts over.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum

from mainstay.errors import CancelledError, DeadlineError
from mainstay.owned_tasks import OwnedTasks


class Stage(IntEnum):
    """How far a flight is, each stage before the next."""

    GATHERING = 0
    """Nothing was sent yet."""
    ASKING = 1
    """The service was asked, and may have answered already."""
    COMPUTING = 2
    """The computation has begun."""
    CLOSED = 3
    """The value is on its way to be stored, or there is nothing more to share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a flight brought, for those who joined it up to the stage `latest`."""

    value: bytes | None
    latest: Stage


class Flight:
    """One attempt to get a value for everybody who asks for it."""

    task: asyncio.Task[Outcome]

    def __init__(self, close: Callable[["Flight"], None]) -> None:
        self.stage = Stage.GATHERING
        self.callers = 0
        self._close = close

    def enter(self, stage: Stage) -> None:
        """Go on to a stage; from CLOSED on nobody joins."""
        self.stage = stage
        if stage is Stage.CLOSED:
            self._close(self)


class Flights:
    """The flights under way, by what they are for."""

    def __init__(self) -> None:
        self._open: dict[Hashable, Flight] = {}
        self._tasks = OwnedTasks()

    async def share(
        self,
        key: Hashable,
        fly: Callable[[Flight], Awaitable[Outcome]],
        *,
        deadline: float | None,
        what: str,
    ) -> bytes | None:
        """Return what a flight for `key` brings, one under way or a new one of `fly`.

        `deadline` is by the monotonic clock, and this caller's alone: the flight goes on for the
        others, and is cancelled when there are none. Raises what `fly` raises, `DeadlineError` when
        the time is over, and `CancelledError` when the flight was cancelled from outside.
        """
        while True:
            flight = self._open.get(key) or self._start(key, fly, what)
            joined = flight.stage
            outcome = await self._wait(flight, deadline, what)
            if joined <= outcome.latest:
                return outcome.value

    async def close(self) -> None:
        """Cancel what is under way and wait until it has ended."""
        await self._tasks.cancel()

    def _start(
        self, key: Hashable, fly: Callable[[Flight], Awaitable[Outcome]], what: str
    ) -> Flight:
        def close(flight: Flight) -> None:
            if self._open.get(key) is flight:
                del self._open[key]

        async def run() -> Outcome:
            try:
                return await fly(flight)
            finally:
                # Here and not in a callback of the task, which would run a moment later: whoever
                # comes in between would join what is over.
                flight.enter(Stage.CLOSED)

        flight = Flight(close)
        self._open[key] = flight
        flight.task = self._tasks.start(run(), f"flight for {what}")
        return flight

    async def _wait(self, flight: Flight, deadline: float | None, what: str) -> Outcome:
        task = flight.task
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        flight.callers += 1
        try:
            done, _ = await asyncio.wait({task}, timeout=left)
        finally:
            flight.callers -= 1
            if not flight.callers and not task.done():
                self._give_up(flight, task)
        if not done:
            raise DeadlineError(f"{what} was not there in time; allow more time, or compute less")
        if task.cancelled():
            raise CancelledError(f"the computation of {what} was cancelled")
        return task.result()

    @staticmethod
    def _give_up(flight: Flight, task: asyncio.Task[Outcome]) -> None:
        # What is being stored is worth storing though nobody waits for it any more.
        if flight.stage is not Stage.CLOSED:
            flight.enter(Stage.CLOSED)
            task.cancel()
