"""Does by the clock what nobody else does: one task, and next to nothing to do for the database."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from mainstay.errors import DatabaseError
from services.jobs import metrics
from services.jobs.endings import Ending
from services.jobs.journal import note_endings, note_unstarted
from services.jobs.ports import RescueStore
from services.jobs.session import Clock
from services.jobs.timer_ports import Swept, TimerStore
from services.jobs.wakeups import Change, Signal, Wakeups, change_of

BATCH = 200
"""Jobs that one transaction deals with."""
SESSIONS = 20
"""Sessions ended in one transaction."""
LONGEST_PAUSE = 7.5
"""What another replica has stored is not announced here, and it may have died: look this often."""
SHORTEST_PAUSE = 0.05
PAUSE_WHEN_LEFT = 0.5
"""What is due and was not found is being dealt with by another replica."""
PAUSE_AFTER_ERROR = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo:
    """How the timers deal with workers.

    Attributes:
        max_crashes: Workers that a job may lose before it counts as their poison.
        grace: Seconds that workers get to come back after a start, and after the database was gone:
            their leases may have run out only because there was nobody to renew them.

    """

    max_crashes: int
    grace: float


class Timers:
    """Sleeps until the next thing is due, as far as that is known here, and then does it."""

    def __init__(
        self,
        *,
        store: TimerStore,
        rescue: RescueStore,
        wakeups: Wakeups,
        tempo: Tempo,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._store = store
        self._rescue = rescue
        self._wakeups = wakeups
        self._tempo = tempo
        self._clock = clock
        self._random = random
        self._signal = Signal()
        self._wake_at = 0.0
        # When workers have had the time to come back; none before the database has answered.
        self._rescue_at: float | None = None
        wakeups.subscribe(self._hear)

    def _hear(self, change: Change) -> None:
        if change.timer_in is not None:
            at = self._clock() + change.timer_in
            if at < self._wake_at:
                self._wake_at = at
                self._signal.set()

    def look_again(self) -> None:
        """Reconsider when the next thing is due."""
        self._wake_at = 0.0
        self._signal.set()

    async def run(self) -> None:
        """Do what is due, for ever."""
        while True:
            began = self._clock()
            # What is announced from here on may be too late for the look that is about to begin.
            self._wake_at = math.inf
            try:
                pause = await self.run_once()
            except DatabaseError as error:
                log.warning("timers_failed", error=error.message)
                self._rescue_at = None
                pause = PAUSE_AFTER_ERROR
            self._wake_at = min(self._wake_at, began + pause)
            # Not all replicas at once, and a little later than what is due.
            await self._sleep(not_before=began + SHORTEST_PAUSE * (1 + self._random()))

    async def _sleep(self, *, not_before: float) -> None:
        while (left := max(self._wake_at, not_before) - self._clock()) > 0:
            await self._signal.wait(within=left)

    async def run_once(self) -> float:
        """Do what is due now, and return the seconds until there may be more to do."""
        due = await self._store.look()
        pause = LONGEST_PAUSE
        for wait, sweep in (
            (self._until_rescue(due.sessions), self._rescue_jobs),
            (due.waits, self._finish_waits),
            (due.turns, self._end_turns),
            (due.starts, self._bury_unstarted),
        ):
            if wait is None:
                continue
            if wait > 0:
                pause = min(pause, wait)
            else:
                pause = min(pause, 0.0 if await sweep() else PAUSE_WHEN_LEFT)
        return pause

    def _until_rescue(self, wait: float | None) -> float | None:
        now = self._clock()
        if self._rescue_at is None:
            self._rescue_at = now + self._tempo.grace
        return None if wait is None else max(wait, self._rescue_at - now)

    async def _rescue_jobs(self) -> bool:
        """End sessions whose lease is over and put their jobs back."""
        rescued = await self._rescue.rescue(max_crashes=self._tempo.max_crashes, limit=SESSIONS)
        if rescued.sessions:
            metrics.rescued.inc(rescued.sessions)
            log.warning("sessions_lost", sessions=rescued.sessions, jobs=len(rescued.endings))
        self._ended(rescued.endings)
        return rescued.sessions > 0

    async def _finish_waits(self) -> bool:
        return self._swept("waits_finished", await self._store.finish_due_waits(BATCH))

    async def _end_turns(self) -> bool:
        return self._swept("turns_expired", await self._store.end_expired_turns(BATCH))

    async def _bury_unstarted(self) -> bool:
        return self._swept("jobs_not_started", await self._store.bury_unstarted(BATCH))

    def _swept(self, what: str, swept: Swept) -> bool:
        if swept.count:
            log.info(what, count=swept.count)
        self._ended(swept.endings)
        note_unstarted(swept.unstarted)
        if swept.jobs or swept.work:
            self._wakeups.announce(Change(jobs=swept.jobs, work=swept.work))
        return swept.count > 0

    def _ended(self, ended: Sequence[Ending]) -> None:
        note_endings(ended)
        if ended:
            self._wakeups.announce(change_of(ended))
