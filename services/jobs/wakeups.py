"""Who has to know at once when something changed: the dispatcher, watchers, other replicas.

Nothing here is needed for correctness. A wake-up that is lost costs the time to the next poll.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from services.jobs.endings import Ending
from services.jobs.job import JobId
from services.jobs.turn import Turn
from services.jobs.waiting import Invoke, SignalWait, limit_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What has been committed.

    Attributes:
        jobs: Jobs with a new revision.
        work: Whether a job has become ready.
        due_in: Seconds until a job that was delayed becomes ready, if one was.
        timer_in: Seconds until a step that has begun to wait is over by the clock, if one has.
        cancelled: Whether workers have to hear that some of `jobs` are to end.
        room: Whether a worker here takes more jobs than before.
        permits: Whether more jobs may start by their rate.
        anything: Whether more may have changed than is named here.
        remote: Whether another replica said so.

    """

    jobs: frozenset[JobId] = frozenset()
    work: bool = False
    due_in: float | None = None
    timer_in: float | None = None
    cancelled: bool = False
    room: bool = False
    permits: bool = False
    anything: bool = False
    remote: bool = False


def change_of(endings: Iterable[Ending]) -> Change:
    """Return what the ends of turns change."""
    ended = list(endings)
    # Those that waited for a job that is over may go on.
    parents = frozenset(
        ending.lease.parent
        for ending in ended
        if ending.state.is_over and ending.lease.parent is not None
    )
    waits = [ending.wait for ending in ended if not ending.state.is_over]
    return Change(
        jobs=parents.union(ending.lease.job_id for ending in ended),
        work=bool(parents) or any(ending.ready for ending in ended),
        due_in=min((wait for wait in waits if wait is not None and wait > 0), default=None),
    )


def change_of_waits(turns: Iterable[Turn]) -> Change:
    """Return what steps change that have begun to wait."""
    waits = [begun.wait for turn in turns for begun in turn.waits if begun.wait is not None]
    times = (limit for wait in waits if (limit := limit_of(wait)) is not None)
    # A child may start, and the signal that is waited for may have come already.
    work = any(isinstance(wait, Invoke | SignalWait) for wait in waits)
    return Change(work=work, timer_in=min(times, default=None))


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
