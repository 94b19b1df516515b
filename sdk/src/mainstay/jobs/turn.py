"""One turn at a job: what its steps find stored, and when nothing is left to do but wait."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Never, Protocol, TypeAlias

from mainstay.jobs.assignment import AssignedJob, Reporter
from mainstay.jobs.v1 import worker_service_pb2 as pb

Undo: TypeAlias = Callable[[str], Awaitable[Any]]
"""Undoes a step, given its stored result."""

# How long nothing may move before a function that waits is taken off its worker. Long enough for a
# function to go on from one step to the next, also on a machine that is busy.
SETTLE_SECONDS = 0.05


class Turn(Protocol):
    """What the steps of a job go through."""

    def check(self) -> None:
        """Take a sign of life; raise CancelledError when this turn is over."""

    async def recall(self, key: str, undo: Undo | None = None) -> str | None:
        """Return the stored result of a step, or None; `undo` undoes it, if anything does."""

    async def begin(self, key: str) -> None:
        """Say that a step without a stored result begins, and runs until `end`."""

    def end(self, key: str) -> None:
        """Say that it runs no more."""

    async def store(self, key: str, result_json: str, *, compensable: bool) -> None:
        """Return once the result is stored."""

    async def wait(self, wait: pb.WaitBegun) -> Never:
        """Wait for something to come; the turn ends before it does."""

    @property
    def cancelled(self) -> bool:
        """Tell whether somebody has asked for the end of the job."""

    def progress(self, fraction: float, message: str, partial_json: str) -> None:
        """Take the function's news of itself."""

    def alive(self) -> None:
        """Take a sign of life."""


class ForwardTurn:
    """A turn that goes on with the function, until it ends or only waits are left.

    Has to be made in the task that runs the function: that task is cancelled when the job is
    suspended, and `suspended` tells it why.
    """

    def __init__(
        self,
        job: AssignedJob,
        reporter: Reporter,
        limit: asyncio.Timeout,
        *,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self.suspended: tuple[str, ...] = ()
        self._limit = limit
        self._memo: Mapping[str, str] = job.memo
        self._reporter = reporter
        self._settle_seconds = settle_seconds
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._over = False
        self._running = 0
        self._waits: dict[str, asyncio.Future[Never]] = {}
        self._settling: asyncio.TimerHandle | None = None

    def check(self) -> None:
        """Pass the sign of life on; raise CancelledError when this turn is over."""
        if self.suspended:
            raise asyncio.CancelledError("the job is suspended")
        if self._limit.expired():
            raise asyncio.CancelledError("this turn has taken too long")
        self._reporter.alive()

    async def recall(self, key: str, undo: Undo | None = None) -> str | None:
        """Return the stored result of a step."""
        del undo
        if self._waits:
            self._moved()
        return self._memo.get(key)

    async def begin(self, key: str) -> None:
        """Keep the job on its worker until `end`."""
        del key
        self._running += 1
        self._stop_settling()

    def end(self, key: str) -> None:
        """Let the job go again."""
        del key
        self._running -= 1
        if self._waits:
            self._moved()

    async def store(self, key: str, result_json: str, *, compensable: bool) -> None:
        """Return once the service has stored the result."""
        await self._reporter.step_completed(key, result_json, compensable=compensable)

    async def wait(self, wait: pb.WaitBegun) -> Never:
        """Have the wait stored, then wait for the end of this turn."""
        await self.begin(wait.key)
        try:
            await self._reporter.wait_begun(wait)
        finally:
            self.end(wait.key)
        self.check()
        waiting = self._waits[wait.key] = self._loop.create_future()
        self._moved()
        try:
            await waiting
        finally:
            self._waits.pop(wait.key, None)
            self._moved()
        raise AssertionError("a wait ends by the end of its turn")

    @property
    def cancelled(self) -> bool:
        """Tell whether somebody has asked for the end of the job."""
        return self._reporter.cancel_reason is not None

    def progress(self, fraction: float, message: str, partial_json: str) -> None:
        """Pass the news on."""
        self._moved()
        self._reporter.progress(fraction, message, partial_json)

    def alive(self) -> None:
        """Pass the sign of life on."""
        self._moved()
        self._reporter.alive()

    def close(self) -> None:
        """End the waits of tasks that the function has left behind."""
        self._over = True
        self._stop_settling()
        for waiting in list(self._waits.values()):
            waiting.cancel()

    def _moved(self) -> None:
        """Let the moment of settling begin anew, if the job could be suspended at all."""
        self._stop_settling()
        if self._waits and not self._running and not self._over:
            self._settling = self._loop.call_later(self._settle_seconds, self._suspend)

    def _suspend(self) -> None:
        self._over = True
        self.suspended = tuple(self._waits)
        if self._task is not None:
            self._task.cancel("the job is suspended until something that it waits for has come")

    def _stop_settling(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
