"""The worker's side of the service: opening a session, hearing the worker, letting it go."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Protocol
from uuid import UUID

import structlog

from mainstay.errors import MainstayError, UnavailableError, ValidationError
from services.jobs import metrics
from services.jobs.endings import Ending
from services.jobs.frames import (
    AckBatch,
    Credit,
    Drain,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Incoming,
    ReportBatch,
    Welcome,
)
from services.jobs.job import Assignment, SessionId
from services.jobs.journal import note_endings, note_successes
from services.jobs.ports import OpenedSession, ReportStore, SessionStore
from services.jobs.session import Clock, WorkerStream, session_gone
from services.jobs.streams import Streams
from services.jobs.terms import Terms
from services.jobs.token import Token
from services.jobs.turn import Turn
from services.jobs.wakeups import Change, Wakeups, change_of, change_of_waits
from shared.rpc.call import Tenant

log = structlog.get_logger()


class EventNames(Protocol):
    """Knows which events have a contract. Raises DatabaseError when that cannot be told."""

    async def names_for(self, tenant: Tenant, triggers: Collection[str]) -> Sequence[str]:
        """Return names of events that have a contract: of the triggers those that do, and more."""
        ...


class Sessions:
    """The use case behind Session; a resource, since sessions outlive the calls that carry them."""

    name = "sessions"

    def __init__(
        self,
        *,
        sessions: SessionStore,
        reports: ReportStore,
        streams: Streams,
        wakeups: Wakeups,
        events: EventNames,
        terms: Terms,
        clock: Clock,
        new_id: Callable[[], UUID],
        on_leave: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._reports = reports
        self._streams = streams
        self._wakeups = wakeups
        self._events = events
        self._terms = terms
        self._clock = clock
        self._new_id = new_id
        self._on_leave = on_leave
        self._leaving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Have nothing to do."""

    async def close(self) -> None:
        """Wait until the ends of all sessions are stored; each wait is the database's, bounded."""
        # Errors are logged by `_left`; one must not keep the others from being waited for.
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def drain(self) -> None:
        """Send all workers to another replica."""
        self._streams.drain("the service is shutting down")

    async def open(self, tenant: Tenant, hello: Hello) -> tuple[WorkerStream, Welcome]:
        """Take a worker in; raises ValidationError that names what is wrong with its Hello."""
        hello.check(await self._events.names_for(tenant, hello.triggers))
        if self._streams.draining:
            raise UnavailableError(
                "the service is shutting down; connect to another replica", reason="DRAINING"
            )
        opened = await self._sessions.open(
            tenant, SessionId(self._new_id()), hello, lease=self._terms.lease
        )
        stream = self._stream(tenant, hello, opened)
        self._streams.attach(stream)
        self._ended(opened.endings)
        log.info(
            "session_opened",
            session=str(opened.session_id)[:8],
            worker=hello.worker,
            resumed=opened.resumed,
            functions=len(hello.functions),
            lost=len(opened.lost),
        )
        return stream, self._welcome(opened)

    def _stream(self, tenant: Tenant, hello: Hello, opened: OpenedSession) -> WorkerStream:
        return WorkerStream(
            session_id=opened.session_id,
            stream=opened.stream,
            tenant=tenant,
            worker=hello.worker,
            functions={function.name: function.version for function in hello.functions},
            lease=self._terms.lease,
            clock=self._clock,
            on_room=lambda: self._wakeups.announce(Change(room=True)),
        )

    def _welcome(self, opened: OpenedSession) -> Welcome:
        return Welcome(
            session_id=opened.session_id,
            heartbeat_interval=self._terms.heartbeat_interval,
            lease=self._terms.lease,
            resume_window=self._terms.resume_window,
            lost=opened.lost,
        )

    async def receive(self, stream: WorkerStream, frame: Incoming) -> None:
        """Do what a frame asks for and queue the answer."""
        match frame:
            case ReportBatch():
                await self._report(stream, frame)
            case Heartbeat():
                await self._beat(stream, frame)
            case Credit(jobs=jobs):
                stream.grant(jobs)
            case Drain():
                stream.drain()
            case Hello():
                raise ValidationError(
                    "Hello opens a session and cannot be sent again",
                    fields={"hello": "must be the first frame and the only one of its kind"},
                )

    async def _report(self, stream: WorkerStream, batch: ReportBatch) -> None:
        await stream.answer(await self.apply(stream.tenant, stream.session_id, batch))

    async def apply(self, tenant: Tenant, session_id: SessionId, batch: ReportBatch) -> AckBatch:
        """Store what a session reports and return the answers."""
        batch.check()
        settlement = await self._reports.apply(tenant, session_id, batch.reports)
        self._wakeups.announce(Change(jobs=settlement.jobs))
        self._begun(settlement.turns)
        note_successes(settlement.successes)
        self._ended(settlement.endings)
        for state, number in Counter(ack.state for ack in settlement.acks).items():
            metrics.reports.labels(state.name.lower()).inc(number)
        return AckBatch(acks=tuple(settlement.acks))

    async def touch(self, tenant: Tenant, session_id: SessionId) -> bool:
        """Count a session's lease from now; returns whether it has not ended."""
        return await self._sessions.touch(tenant, session_id, lease=self._terms.lease)

    async def _beat(self, stream: WorkerStream, beat: Heartbeat) -> None:
        beat.check()
        renewed = await self._sessions.renew(
            stream.tenant,
            stream.session_id,
            stream.stream,
            beat,
            undelivered=[job.job_id for job in stream.waiting_jobs()],
            terms=self._terms,
        )
        if renewed is None:
            raise session_gone()
        stream.beat()
        self._ended(renewed.endings)
        await stream.answer(HeartbeatAck(lost=renewed.lost, directives=renewed.directives))

    def leave(self, stream: WorkerStream) -> None:
        """Note that a stream has ended; what follows is stored by a task of its own.

        The call that carried the stream may be cancelled already and must not be waited in.
        """
        self._streams.detach(stream)
        task = asyncio.create_task(self._leave(stream), name=f"leave {stream.worker}")
        self._leaving.add(task)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._leaving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("session_leave_failed", task=task.get_name(), exc_info=error)

    async def _leave(self, stream: WorkerStream) -> None:
        try:
            await self.give_back(stream.tenant, stream.session_id, stream.waiting_jobs())
            if not stream.moved:
                await self._sessions.leave(
                    stream.tenant,
                    stream.session_id,
                    stream.stream,
                    within=self._terms.resume_window,
                )
        except MainstayError as error:
            # Its lease runs out by itself: its jobs move later, but they do.
            log.warning("session_leave_not_stored", worker=stream.worker, error=error.message)
        else:
            log.info("session_left", session=str(stream.session_id)[:8], worker=stream.worker)
        self._on_leave()

    async def give_back(
        self, tenant: Tenant, session_id: SessionId, jobs: Collection[Assignment]
    ) -> None:
        """Put back jobs that were claimed for a stream and never written to it."""
        if jobs:
            tokens = [Token(job_id=job.job_id, epoch=job.epoch) for job in jobs]
            self._ended(await self._sessions.give_back(tenant, session_id, tokens))

    def _begun(self, turns: Collection[Turn]) -> None:
        if any(turn.waits for turn in turns):
            self._wakeups.announce(change_of_waits(turns))

    def _ended(self, ended: Collection[Ending]) -> None:
        note_endings(ended)
        if ended:
            self._wakeups.announce(change_of(ended))
