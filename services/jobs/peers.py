"""News between replicas: NOTIFY, gathered for a moment so that a commit does not cost one each."""

import asyncio
import itertools
import math
from collections.abc import Callable
from typing import NoReturn, Protocol
from uuid import UUID

import structlog

from mainstay.errors import DatabaseError
from services.jobs import metrics
from services.jobs.job import JobId
from services.jobs.wakeups import Change, Signal, Wakeups

CHANNEL = "mainstay_jobs"
GATHER = 0.025
"""Seconds over which changes become one notification: at most 40 a second from each replica."""
MAX_JOBS = 200
"""Jobs named in one notification, whose text may have 8,000 bytes; of more: look at everything."""
RECONNECT_PAUSE = 1.0

log = structlog.get_logger()


class Notifications(Protocol):
    """The database as a carrier of news."""

    async def notify(self, channel: str, text: str) -> None:
        """Send `text` to everybody who listens; raises DatabaseError."""
        ...

    async def listen(
        self, channel: str, hear: Callable[[str], None], connected: Callable[[], None]
    ) -> NoReturn:
        """Pass on every text once `connected`; raises DatabaseError when the connection ends."""
        ...


def encode(replica: str, change: Change) -> str:
    """Return a change as text: who says so, flags, and job ids where there are few enough."""
    everything = change.anything or len(change.jobs) > MAX_JOBS
    flags = ("w" if change.work else "") + ("c" if change.cancelled else "")
    flags += "*" if everything else ""
    jobs = "" if everything else ",".join(job_id.hex for job_id in change.jobs)
    return f"{replica};{flags};{jobs}"


def decode(replica: str, text: str) -> Change | None:
    """Return what another replica said, or None for what this one said itself."""
    sender, _, rest = text.partition(";")
    flags, _, jobs = rest.partition(";")
    if sender == replica:
        return None
    return Change(
        jobs=frozenset(JobId(UUID(hex=job)) for job in jobs.split(",") if job),
        work="w" in flags,
        cancelled="c" in flags,
        anything="*" in flags,
        remote=True,
    )


class Peers:
    """Tells other replicas what changed here, and hears what changed there."""

    def __init__(self, notifications: Notifications, wakeups: Wakeups, replica: str) -> None:
        self._notifications = notifications
        self._wakeups = wakeups
        self._replica = replica
        self._pending = Change()
        self._signal = Signal()
        wakeups.subscribe(self._hear)

    def _hear(self, change: Change) -> None:
        if change.remote or not (change.jobs or change.work):
            return
        pending = self._pending
        # More than can be named need not be remembered either.
        jobs = itertools.islice(pending.jobs | change.jobs, MAX_JOBS + 1)
        self._pending = Change(
            jobs=frozenset(jobs),
            work=pending.work or change.work,
            cancelled=pending.cancelled or change.cancelled,
        )
        self._signal.set()

    async def tell(self) -> None:
        """Send what changed here, for ever."""
        while True:
            await self._signal.wait(within=math.inf)
            await asyncio.sleep(GATHER)
            change, self._pending = self._pending, Change()
            try:
                await self._notifications.notify(CHANNEL, encode(self._replica, change))
            except DatabaseError as error:
                # The others find it by polling.
                log.warning("peers_not_told", error=error.message)

    async def listen(self) -> None:
        """Hear what changed elsewhere, for ever; connects again whenever the connection ends."""
        while True:
            try:
                await self._notifications.listen(CHANNEL, self._notified, self._connected)
            except DatabaseError as error:
                metrics.peers_connected.set(0)
                log.warning("peers_not_heard", error=error.message)
            await asyncio.sleep(RECONNECT_PAUSE)

    def _connected(self) -> None:
        metrics.peers_connected.set(1)
        # What was said before this moment has gone unheard.
        self._wakeups.announce(Change(anything=True, remote=True))

    def _notified(self, text: str) -> None:
        change = decode(self._replica, text)
        if change is not None:
            self._wakeups.announce(change)
