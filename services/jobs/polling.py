"""Workers that keep no stream: they ask for work, and report, by single calls."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from mainstay.errors import NotFoundError, ValidationError
from services.jobs.frames import (
    AckBatch,
    Directive,
    DirectiveBatch,
    Heartbeat,
    HeartbeatAck,
    Hello,
    JobBatch,
    ReportBatch,
    Welcome,
)
from services.jobs.job import Assignment, SessionId
from services.jobs.session import MAX_CREDITS, WorkerStream
from services.jobs.sessions import Sessions
from services.jobs.timer_ports import DirectiveStore
from shared.rpc.call import Tenant

SHORTEST_WAIT = 0.2
LONGEST_WAIT = 30.0
LONGEST_SHARE = 0.5
"""Of the lease, which runs while a poll waits: half of it is left for the way and the next call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """The answer to a poll."""

    welcome: Welcome
    jobs: tuple[Assignment, ...]
    directives: tuple[Directive, ...]


class Polling:
    """The use case behind Poll and Report.

    A poll is a stream of its session that lasts as long as the call. Between polls the session
    keeps its jobs for the length of its lease.
    """

    def __init__(self, sessions: Sessions, directives: DirectiveStore) -> None:
        self._sessions = sessions
        self._directives = directives

    async def poll(self, tenant: Tenant, hello: Hello, *, jobs: int, within: float) -> Polled:
        """Return up to so many jobs, once the first has come or the time is over, in seconds.

        Raises ValidationError that names what is wrong.
        """
        if jobs > MAX_CREDITS:
            raise ValidationError(
                f"{jobs:,} jobs at once, more than {MAX_CREDITS:,}",
                fields={"max_jobs": f"must be at most {MAX_CREDITS:,}"},
            )
        stream, welcome = await self._sessions.open(tenant, hello)
        # Its jobs stay its own when the call ends: the worker has them, it just keeps no stream.
        stream.moved = True
        try:
            if hello.in_flight:
                await self._sessions.receive(stream, Heartbeat(tokens=hello.in_flight))
            if jobs:
                stream.grant(jobs)
            longest = min(LONGEST_WAIT, welcome.lease * LONGEST_SHARE)
            wait = min(max(within, SHORTEST_WAIT), longest) if jobs else 0.0
            taken, directives = await _collect(stream, wait)
        finally:
            self._sessions.leave(stream)
        return Polled(welcome=welcome, jobs=taken, directives=directives)

    async def report(
        self, tenant: Tenant, session_id: SessionId, batch: ReportBatch
    ) -> tuple[AckBatch, tuple[Directive, ...]]:
        """Store what a worker reports and count its lease from now.

        Raises NotFoundError when its session has ended, ValidationError for a wrong batch.
        """
        if not await self._sessions.touch(tenant, session_id):
            raise NotFoundError(
                "the session has ended and its jobs are others' now; begin anew with Poll",
                resource_type="session",
                resource_name=str(session_id)[:8],
                reason="SESSION_NOT_FOUND",
            )
        acks = await self._sessions.apply(tenant, session_id, batch)
        found = await self._directives.directives([session_id], None)
        return acks, tuple(directive for _, directive in found)


async def _collect(
    stream: WorkerStream, within: float
) -> tuple[tuple[Assignment, ...], tuple[Directive, ...]]:
    """Return the first jobs that come, and what there is to do about others."""
    directives: list[Directive] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            while (frame := await stream.next()) is not None:
                match frame:
                    case JobBatch(jobs=jobs):
                        return jobs, tuple(directives)
                    case HeartbeatAck() | DirectiveBatch():
                        directives += frame.directives
    return (), tuple(directives)
