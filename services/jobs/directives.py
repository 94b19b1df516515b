"""Tells workers of this process at once what to do about their jobs; heartbeats repeat it."""

import math
from collections import defaultdict

import structlog

from mainstay.errors import DatabaseError
from services.jobs.frames import Directive, DirectiveBatch
from services.jobs.job import JobId, SessionId
from services.jobs.streams import Streams
from services.jobs.timer_ports import DirectiveStore
from services.jobs.wakeups import Change, Signal, Wakeups

MAX_JOBS = 1_000
"""Jobs remembered by their ids; of more, all jobs of the workers here are looked at."""

log = structlog.get_logger()


class Directives:
    """Looks, when jobs were cancelled here or on another replica, whether a worker here has one."""

    def __init__(self, store: DirectiveStore, streams: Streams, wakeups: Wakeups) -> None:
        self._store = store
        self._streams = streams
        self._jobs: set[JobId] = set()
        self._any = False
        self._signal = Signal()
        wakeups.subscribe(self._hear)

    def _hear(self, change: Change) -> None:
        if not change.cancelled:
            return
        self._any = self._any or change.anything or len(self._jobs | change.jobs) > MAX_JOBS
        self._jobs = set() if self._any else self._jobs | change.jobs
        self._signal.set()

    async def run(self) -> None:
        """Tell workers for ever."""
        while True:
            await self._signal.wait(within=math.inf)
            try:
                await self.run_once()
            except DatabaseError as error:
                # The next heartbeats tell it.
                log.warning("directives_not_told", error=error.message)

    async def run_once(self) -> None:
        """Tell the workers here of what was cancelled since the last time."""
        jobs, self._jobs = self._jobs, set()
        every, self._any = self._any, False
        sessions = self._streams.sessions()
        if not sessions:
            return
        directives: dict[SessionId, list[Directive]] = defaultdict(list)
        for session_id, directive in await self._store.directives(
            sessions, None if every else jobs
        ):
            directives[session_id].append(directive)
        for session_id, batch in directives.items():
            stream = self._streams.find(session_id)
            if stream is not None:
                stream.tell(DirectiveBatch(directives=tuple(batch)))
                log.info("directives_told", session=str(session_id)[:8], directives=len(batch))
