"""What becomes of a claim when streams end meanwhile, and of sessions when the service does."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from mainstay.errors import DatabaseError
from services.jobs.dealing import Opening
from services.jobs.dispatcher import Dispatcher
from services.jobs.endings import Ending
from services.jobs.fairness import Fairness
from services.jobs.job import JobId, SessionId
from services.jobs.permits import NoRateLimits, Permits
from services.jobs.ports import Claimed
from services.jobs.session import WorkerStream
from services.jobs.sessions import Sessions
from services.jobs.streams import Streams
from services.jobs.terms import Terms
from services.jobs.token import Token
from services.jobs.wakeups import Change, Wakeups
from shared.rpc.call import Tenant
from tests.unit.jobs.job_values import assignment_for

ACME = Tenant("acme")


class Claims:
    """A store with a job for every opening; `meanwhile` happens while it claims."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile

    async def claim(self, openings: Sequence[Opening], **_: Any) -> Claimed:
        """Assign one job to each opening."""
        self._meanwhile()
        jobs = [
            assignment_for(opening.session_id, number) for number, opening in enumerate(openings)
        ]
        return Claimed(
            assignments=tuple(jobs), gone=frozenset(), more=False, promoted=0, next_due=None
        )


class SessionEnds:
    """A store of sessions that fails as a test says."""

    def __init__(self) -> None:
        self.left: list[SessionId] = []
        self.broken: SessionId | None = None
        self.go_on = asyncio.Event()

    async def open(self, *_: Any, **__: Any) -> Any:
        """Fail: no test opens."""
        raise AssertionError

    async def renew(self, *_: Any, **__: Any) -> Any:
        """Fail: no test renews."""
        raise AssertionError

    async def touch(self, *_: Any, **__: Any) -> Any:
        """Fail: no test reports by single calls."""
        raise AssertionError

    async def leave(
        self, tenant: Tenant, session_id: SessionId, stream: int, *, within: float
    ) -> None:
        """Note who left, once told to; fail at once for the broken one."""
        if session_id == self.broken:
            raise RuntimeError("a bug")
        await self.go_on.wait()
        self.left.append(session_id)

    async def give_back(
        self, tenant: Tenant, session_id: SessionId, tokens: Collection[Token]
    ) -> list[Ending]:
        """Fail as a database that is gone."""
        raise DatabaseError("gone")


def stream(number: int) -> WorkerStream:
    """Return the stream of a worker that wants a job."""
    made = WorkerStream(
        session_id=SessionId(UUID(int=number)),
        stream=1,
        tenant=ACME,
        worker=f"w{number}",
        functions={"process-video": ""},
        lease=30.0,
        clock=lambda: 0.0,
        on_room=lambda: None,
    )
    made.grant(1)
    return made


def sessions(store: SessionEnds, streams: Streams) -> Sessions:
    """Return the worker's side of the service over a store."""
    return Sessions(
        sessions=store,
        reports=None,  # type: ignore[arg-type]  # nobody reports here
        streams=streams,
        wakeups=Wakeups(),
        events=None,  # type: ignore[arg-type]  # nor connects
        terms=Terms(lease=30.0, heartbeat_interval=10.0, resume_window=5.0),
        clock=lambda: 0.0,
        new_id=lambda: UUID(int=9),
        on_leave=lambda: None,
    )


class TestHandOut:
    async def test_deliveries_before_returns(self) -> None:
        """Jobs that cannot be given back do not keep others from their workers."""
        streams, draining, ready = Streams(), stream(1), stream(2)
        streams.attach(draining)
        streams.attach(ready)
        dispatcher = Dispatcher(
            store=Claims(meanwhile=draining.drain),
            streams=streams,
            sessions=sessions(SessionEnds(), streams),
            wakeups=Wakeups(),
            fairness=Fairness(),
            permits=Permits(NoRateLimits(), Wakeups(), clock=lambda: 0.0),
            poll_interval=30.0,
            clock=lambda: 0.0,
            random=lambda: 0.5,
        )

        with pytest.raises(DatabaseError):
            await dispatcher.run_once()

        assert (0, 1) == (len(draining.waiting_jobs()), len(ready.waiting_jobs()))


class Held:
    """A store in which something waits for a place under a cap; each claim is counted."""

    def __init__(self) -> None:
        self.claims = asyncio.Semaphore(0)

    async def claim(self, openings: Sequence[Opening], **_: Any) -> Claimed:
        """Assign nothing."""
        self.claims.release()
        return Claimed(
            assignments=(), gone=frozenset(), more=False, promoted=0, next_due=None, held=True
        )


class TestCaps:
    async def test_end_of_a_job_elsewhere(self) -> None:
        """While something waits for a place under a cap, news of any job is reason to look."""
        store, streams, wakeups = Held(), Streams(), Wakeups()
        streams.attach(stream(1))
        dispatcher = Dispatcher(
            store=store,
            streams=streams,
            sessions=sessions(SessionEnds(), streams),
            wakeups=wakeups,
            fairness=Fairness(),
            permits=Permits(NoRateLimits(), wakeups, clock=lambda: 0.0),
            poll_interval=300.0,
            clock=lambda: 0.0,
            random=lambda: 0.5,
        )
        running = asyncio.create_task(dispatcher.run())
        async with asyncio.timeout(5):
            await store.claims.acquire()

            wakeups.announce(Change(jobs=frozenset({JobId(UUID(int=7))}), remote=True))
            await store.claims.acquire()

        running.cancel()


class Empty:
    """A store in which nothing waits; each claim is counted, and `meanwhile` happens during it."""

    def __init__(self, *, exhausted: bool, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.claims = 0
        self._exhausted = exhausted
        self._meanwhile = meanwhile

    async def claim(self, openings: Sequence[Opening], **_: Any) -> Claimed:
        """Assign nothing."""
        self.claims += 1
        self._meanwhile()
        return Claimed(
            assignments=(),
            gone=frozenset(),
            more=False,
            promoted=0,
            next_due=None,
            exhausted=self._exhausted,
        )


class TestRoom:
    @staticmethod
    async def claims_after(store: Empty, streams: Streams, *changes: Change) -> int:
        """Return how often a dispatcher claims: once at its start, and by these changes."""
        wakeups = Wakeups()
        dispatcher = Dispatcher(
            store=store,
            streams=streams,
            sessions=sessions(SessionEnds(), streams),
            wakeups=wakeups,
            fairness=Fairness(),
            permits=Permits(NoRateLimits(), wakeups, clock=lambda: 0.0),
            poll_interval=300.0,
            clock=lambda: 0.0,
            random=lambda: 0.5,
        )
        running = asyncio.create_task(dispatcher.run())
        await turn_the_loop()
        for change in changes:
            wakeups.announce(change)
            await turn_the_loop()
        running.cancel()
        return store.claims

    async def test_of_the_served(self) -> None:
        """A worker for whom nothing was left and that has room anyway: more is no news."""
        streams = Streams()
        streams.attach(stream(1))
        room = Change(room=True)

        assert 1 == await self.claims_after(Empty(exhausted=True), streams, room)
        assert 2 == await self.claims_after(Empty(exhausted=False), streams, room)

    @pytest.mark.parametrize("news", [Change(work=True), Change(permits=True)])
    async def test_work(self, news: Change) -> None:
        """New work always is."""
        streams = Streams()
        streams.attach(stream(1))

        assert 2 == await self.claims_after(Empty(exhausted=True), streams, news)

    async def test_of_a_new_one(self) -> None:
        """So is a worker that came while it was looked for the others."""
        streams = Streams()
        streams.attach(stream(1))
        store = Empty(exhausted=True, meanwhile=lambda: streams.attach(stream(2)))

        assert 2 == await self.claims_after(store, streams, Change(room=True))


async def turn_the_loop() -> None:
    """Let everything happen that can happen now."""
    for _ in range(20):
        await asyncio.sleep(0)


class TestClose:
    async def test_each_on_its_own(self) -> None:
        """One end that fails is logged and does not keep the others from being stored."""
        store, streams = SessionEnds(), Streams()
        broken, other = stream(1), stream(2)
        store.broken = broken.session_id
        worker_side = sessions(store, streams)
        with capture_logs() as lines:
            worker_side.leave(broken)
            worker_side.leave(other)
            asyncio.get_running_loop().call_later(0.05, store.go_on.set)
            await worker_side.close()

        assert [other.session_id] == store.left
        assert [("session_leave_failed", "leave w1")] == [
            (line["event"], line["task"]) for line in lines if line["log_level"] == "error"
        ]
