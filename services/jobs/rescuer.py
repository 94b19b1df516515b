"""Takes the jobs of workers that are gone and puts them back."""

import asyncio
from collections.abc import Callable

import structlog

from mainstay.errors import DatabaseError
from services.jobs import metrics
from services.jobs.journal import note_endings
from services.jobs.ports import Rescued, RescueStore
from services.jobs.wakeups import Signal, Wakeups, change_of

BATCH = 20
"""Sessions ended in one transaction."""
LONGEST_PAUSE = 5.0
"""A lease may have been shortened by a replica that died since: look at least this often."""
SHORTEST_PAUSE = 0.05
PAUSE_AFTER_ERROR = 1.0

log = structlog.get_logger()


class Rescuer:
    """Wakes when the next lease ends, and at least every few seconds.

    After a start, and after the database was gone, workers get `grace` seconds to come back first:
    their leases may have run out only because there was nobody to renew them.
    """

    def __init__(
        self,
        *,
        store: RescueStore,
        wakeups: Wakeups,
        max_crashes: int,
        grace: float,
        random: Callable[[], float],
    ) -> None:
        self._store = store
        self._wakeups = wakeups
        self._max_crashes = max_crashes
        self._grace = grace
        self._random = random
        self._signal = Signal()

    def look_again(self) -> None:
        """Reconsider when the next lease ends."""
        self._signal.set()

    async def run(self) -> None:
        """Rescue for ever."""
        await self._let_workers_come_back()
        while True:
            try:
                rescued = await self.run_once()
            except DatabaseError as error:
                log.warning("rescue_failed", error=error.message)
                await self._let_workers_come_back()
            else:
                await self._signal.wait(within=self._until(rescued.next_expiry))

    async def _let_workers_come_back(self) -> None:
        """Return `grace` seconds after the database has answered."""
        while True:
            try:
                await self._store.rescue(max_crashes=self._max_crashes, limit=0)
            except DatabaseError:
                await asyncio.sleep(PAUSE_AFTER_ERROR)
            else:
                return await asyncio.sleep(self._grace)

    def _until(self, next_expiry: float | None) -> float:
        pause = LONGEST_PAUSE if next_expiry is None else min(next_expiry, LONGEST_PAUSE)
        # A little later than the lease's end, and not all replicas at once.
        return max(pause, SHORTEST_PAUSE) + self._random() * SHORTEST_PAUSE

    async def run_once(self) -> Rescued:
        """End the sessions whose lease is over and put their jobs back."""
        rescued = await self._store.rescue(max_crashes=self._max_crashes, limit=BATCH)
        if rescued.sessions:
            metrics.rescued.inc(rescued.sessions)
            log.warning("sessions_lost", sessions=rescued.sessions, jobs=len(rescued.endings))
        note_endings(rescued.endings)
        if rescued.endings:
            self._wakeups.announce(change_of(rescued.endings))
        return rescued
