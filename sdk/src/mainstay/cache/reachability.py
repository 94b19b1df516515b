"""Whether the cache can be reached, so that its absence costs a second once, not each time."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from mainstay.errors import CacheError, DeadlineError, MainstayError, UnavailableError
from mainstay.owned_tasks import OwnedTasks

_log = logging.getLogger("mainstay.cache")

# A call that is not held by the service is answered within this time, or never.
ANSWER_SECONDS = 1.0
# How long a call may be silent before it is asked whether anybody is there.
SILENCE_SECONDS = 0.5
# For how long nobody asks after a failure; then one does, for all.
PAUSE_SECONDS = 1.0
UNREACHABLE = (CacheError, UnavailableError, DeadlineError)
# What a service says of one call, and therefore is there.
_OF_ONE_CALL = frozenset({"CACHE_FULL", "OVERLOADED"})


class Reachability:
    """A breaker: open for a second after a failure, then one call is let through on trial."""

    def __init__(self, probe: Callable[[], Awaitable[object]]) -> None:
        """Use `probe` to ask whether anybody is there; it raises when not."""
        self._probe = probe
        self._asking: asyncio.Task[None] | None = None
        self._tasks = OwnedTasks()
        self._heard = float("-inf")
        self._shut_until = float("-inf")
        self._cause: MainstayError | None = None

    def admit(self) -> None:
        """Let a call pass, or raise `CacheError` at once while it would be in vain."""
        if self._cause is None:
            return
        now = time.monotonic()
        if now < self._shut_until:
            raise CacheError(
                f"the cache could not be reached a moment ago: {self._cause.message}",
                retry_after=self._shut_until - now,
            )
        # This one tries; the others go on without until it is answered.
        self._shut_until = now + PAUSE_SECONDS

    def answered(self) -> None:
        """Note that the cache has answered."""
        self._heard = time.monotonic()
        if self._cause is not None:
            self._cause = None
            _log.info("reached the cache again")

    def failed(self, error: MainstayError) -> None:
        """Note why a call failed; what says nothing about other calls is passed over."""
        if not _says_gone(error):
            return
        if self._cause is None:
            _log.warning("lost the cache, going on without it: %s", error.message)
        self._cause = error
        self._shut_until = time.monotonic() + PAUSE_SECONDS

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Surround a call that the service may hold; break it off when nobody seems to be there.

        A call that takes long is held, or lost. Whoever holds it can be asked something else: that
        is done from time to time, and what it raises is raised here.
        """
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        lost: list[MainstayError] = []
        listeners: list[asyncio.Task[None]] = []

        def give_up(error: MainstayError) -> None:
            lost.append(error)
            task.cancel()

        def listen() -> None:
            listeners.append(self._tasks.start(self._listen(give_up), "listening to the cache"))

        # Nearly all calls are answered long before: a timer costs them less than a task.
        timer = loop.call_later(SILENCE_SECONDS, listen)
        try:
            yield
        except asyncio.CancelledError:
            if not lost or task.uncancel():
                raise
            raise lost[0] from None
        finally:
            timer.cancel()
            for listener in listeners:
                listener.cancel()

    async def _listen(self, give_up: Callable[[MainstayError], None]) -> None:
        try:
            while True:
                await self.confirm()
                await asyncio.sleep(ANSWER_SECONDS)
        except MainstayError as error:
            give_up(error)

    async def confirm(self) -> None:
        """Return when somebody is there, and raise when nobody answers.

        Whoever asks at the same time shares the answer.
        """
        if time.monotonic() - self._heard < SILENCE_SECONDS:
            return
        if self._asking is None or self._asking.done():
            self._asking = self._tasks.start(self._ask(), "asking whether the cache is there")
        asking = self._asking
        await asyncio.wait({asking})
        if asking.cancelled():
            raise UnavailableError("the cache client is being closed", reason="CLIENT_CLOSED")
        asking.result()

    async def close(self) -> None:
        """End what is under way."""
        await self._tasks.cancel()

    async def _ask(self) -> None:
        try:
            await self._probe()
        except MainstayError as error:
            if _says_gone(error):
                self.failed(error)
                raise
        self.answered()


def _says_gone(error: MainstayError) -> bool:
    return isinstance(error, UNREACHABLE) and error.reason not in _OF_ONE_CALL
