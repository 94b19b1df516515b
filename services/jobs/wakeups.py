"""Who has to know at once when something changed: the dispatcher, watchers, other replicas.

Nothing here is needed for correctness. A wake-up that is lost costs the time to the next poll.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from services.jobs.endings import Ending
from services.jobs.job import JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What has been committed.

    Attributes:
        jobs: Jobs with a new revision.
        work: Whether a job has become ready.
        due_in: Seconds until a job that was delayed becomes ready, if one was.
        room: Whether a worker here takes more jobs than before.
        anything: Whether more may have changed than is named here.
        remote: Whether another replica said so.

    """

    jobs: frozenset[JobId] = frozenset()
    work: bool = False
    due_in: float | None = None
    room: bool = False
    anything: bool = False
    remote: bool = False


def change_of(endings: Iterable[Ending]) -> Change:
    """Return what the ends of turns change."""
    ended = list(endings)
    waits = [ending.wait for ending in ended if not ending.state.is_over]
    return Change(
        jobs=frozenset(ending.lease.job_id for ending in ended),
        work=any(wait <= 0 for wait in waits),
        due_in=min((wait for wait in waits if wait > 0), default=None),
    )


Listener = Callable[[Change], None]


class Wakeups:
    """Passes each change on to everybody in this process who listens."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with every change from now on; it must not block."""
        self._listeners.append(listener)

    def announce(self, change: Change) -> None:
        """Tell everybody; called after the commit."""
        for listener in self._listeners:
            listener(change)


class Signal:
    """Wakes one waiting task; several signals before it looks are one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake the task, now or when it waits next."""
        self._event.set()

    async def wait(self, *, within: float) -> bool:
        """Wait for a signal, at most so many seconds; returns whether there was one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(within, 0)):
                await self._event.wait()
        signalled = self._event.is_set()
        self._event.clear()
        return signalled
