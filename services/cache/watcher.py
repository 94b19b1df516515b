"""One who keeps copies and is told what becomes stale, and the messages that tell it.

Messages wait in a buffer with a bound: who reads too slowly for it is told to drop every copy and
goes on from there, at no cost to others.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from services.cache.history import Change, Head
from services.cache.invalidation_metrics import discontinuities

MAX_BUFFERED = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What is invalidated from `head` on will be told."""

    head: Head
    previous: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Entries have become stale; nothing did between `previous` and `head` but by this change."""

    head: Head
    previous: int
    change: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Discontinuity:
    """Something may have been missed: every copy is to be dropped."""

    head: Head
    previous: int
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Nothing was missed up to `head`, which was the store's a moment ago."""

    head: Head
    previous: int


Message: TypeAlias = Started | Told | Discontinuity | Heartbeat


class Watcher:
    """The buffer of one stream; `known` is what its reader will know of when it is empty.

    Ended with an error, it says so at once, whatever is still in it: who reads it drops everything.
    """

    __slots__ = ("_error", "_known", "_max_buffered", "_messages", "_ready")

    def __init__(self, known: Head, *, max_buffered: int = MAX_BUFFERED) -> None:
        self._known = known
        self._messages: deque[Message] = deque()
        self._max_buffered = max_buffered
        self._ready = asyncio.Event()
        self._error: BaseException | None = None

    @property
    def known(self) -> Head:
        """Return the end of what was told."""
        return self._known

    def tell(self, epoch: str, change: Change) -> None:
        """Tell of a change, unless it concerns nobody's copies."""
        if not concerns_copies(change):
            return
        head = Head(epoch, change.sequence)
        self._put(Told(head=head, previous=self._known.sequence, change=change), head)

    def beat(self, head: Head) -> None:
        """Say that nothing was missed; one that was not read yet is replaced."""
        previous = self._known.sequence
        if self._messages and isinstance(self._messages[-1], Heartbeat):
            previous = self._messages.pop().previous
        self._put(Heartbeat(head=head, previous=previous), head)

    def interrupt(self, head: Head, cause: str) -> None:
        """Say that something may have been missed; what was not read yet says no more than that."""
        self._messages.clear()
        gap = Discontinuity(head=head, previous=self._known.sequence, cause=cause)
        self._messages.append(gap)
        self._known = head
        discontinuities.inc()
        self._ready.set()

    def end(self, error: BaseException) -> None:
        """End the stream."""
        self._error = error
        self._ready.set()

    async def next(self) -> Message:
        """Return the next message; raises what the stream was ended with."""
        while self._error is None and not self._messages:
            self._ready.clear()
            await self._ready.wait()
        if self._error is not None:
            raise self._error
        return self._messages.popleft()

    def _put(self, message: Message, head: Head) -> None:
        if len(self._messages) >= self._max_buffered:
            self.interrupt(head, "the stream is read too slowly")
            return
        self._messages.append(message)
        self._known = head
        self._ready.set()


def concerns_copies(change: Change) -> bool:
    """Return whether a change makes entries stale: some are about the history itself."""
    return change.everything or any(
        (change.tags, change.entries, change.prefixes, change.namespaces, change.crowds)
    )
