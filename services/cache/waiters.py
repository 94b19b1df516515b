"""Who waits in this process for an entry that another computes.

Nobody polls. A waiter registers before it asks for the lease, so that whatever ends the lease after
the answer finds it registered; what ended it before shows in the answer.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mainstay.errors import UnavailableError

MAX_WAITERS = 4_000
RETRY_AFTER = 1.0
"""Seconds after which a caller that was one too many may ask again."""


class Signal:
    """Tells one waiter to look again; several signals before it looks are one."""

    __slots__ = ("_ends", "_event")

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._ends = False

    def set(self) -> None:
        """Tell the waiter, now or when it waits next."""
        self._event.set()

    def end(self) -> None:
        """Tell the waiter to leave."""
        self._ends = True
        self._event.set()

    def clear(self) -> None:
        """Forget signals, because the waiter is about to look."""
        if not self._ends:
            self._event.clear()

    async def wait(self, *, within: float) -> bool:
        """Wait for a signal, at most so many seconds; returns whether there was one.

        Raises UnavailableError when the service is shutting down.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(max(within, 0)):
                await self._event.wait()
        if self._ends:
            raise _draining()
        return self._event.is_set()


class Waiters:
    """The waiters of one process, by the Redis keys of the entries they wait for."""

    def __init__(self, *, most: int = MAX_WAITERS) -> None:
        self._most = most
        self._count = 0
        self._draining = False
        self._signals: dict[bytes, set[Signal]] = {}

    def __len__(self) -> int:
        """Return how many wait."""
        return self._count

    @contextmanager
    def waiting(self, entry_key: bytes) -> Iterator[Signal]:
        """Be told within the block when to look again.

        Raises UnavailableError if too many wait already, or the service is shutting down.
        """
        if self._draining:
            raise _draining()
        if self._count >= self._most:
            raise UnavailableError(
                f"{self._count} callers wait for computations here already; retry later or at "
                "another replica, or compute without storing",
                reason="TOO_MANY_WAITERS",
                retry_after=RETRY_AFTER,
            )
        signal = Signal()
        self._signals.setdefault(entry_key, set()).add(signal)
        self._count += 1
        try:
            yield signal
        finally:
            self._count -= 1
            others = self._signals[entry_key]
            others.discard(signal)
            if not others:
                del self._signals[entry_key]

    def wake(self, entry_key: bytes) -> None:
        """Tell all who wait for an entry: its lease has ended."""
        for signal in self._signals.get(entry_key, ()):
            signal.set()

    def wake_all(self) -> None:
        """Tell everybody: what they wait for may have been announced while nobody listened."""
        for signals in self._signals.values():
            for signal in signals:
                signal.set()

    async def drain(self) -> None:
        """Let everybody go: they ask again at another replica."""
        self._draining = True
        for signals in self._signals.values():
            for signal in signals:
                signal.end()


def _draining() -> UnavailableError:
    return UnavailableError(
        "the service is shutting down; ask again at another replica", reason="DRAINING"
    )
