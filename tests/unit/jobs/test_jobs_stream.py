"""One worker's stream: credits, waiting jobs, answers, silence."""

import asyncio

import pytest

from mainstay.errors import UnavailableError, ValidationError
from services.jobs.frames import GoAway, HeartbeatAck, JobBatch, Outgoing
from services.jobs.session import (
    BATCH_JOBS,
    MAX_CREDITS,
    MAX_WAITING_ANSWERS,
    MAX_WAITING_JOBS,
    WorkerStream,
)
from services.jobs.streams import Streams
from shared.rpc.call import Tenant
from tests.unit.jobs.job_values import SESSION, assignment

ANSWER = HeartbeatAck(lost=())
LEASE = 30.0


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def worker_stream(
    *, clock: Clock | None = None, number: int = 1, wishes: list[str] | None = None
) -> WorkerStream:
    """Return a stream; each wish for jobs is noted."""
    noted = wishes if wishes is not None else []
    return WorkerStream(
        session_id=SESSION,
        stream=number,
        tenant=Tenant("acme"),
        worker="raw-1",
        functions={"process-video": ""},
        lease=LEASE,
        clock=clock or Clock(),
        on_room=lambda: noted.append("room"),
    )


def room(stream: WorkerStream) -> int:
    """Return how many jobs the stream would take."""
    opening = stream.opening()
    return opening.room if opening else 0


async def jobs_in(stream: WorkerStream) -> int:
    """Return the size of the next frame, which is one of jobs."""
    frame = await stream.next()
    assert isinstance(frame, JobBatch)
    return len(frame.jobs)


class TestCredits:
    def test_none_at_first(self) -> None:
        """A worker that has granted nothing gets nothing."""
        assert worker_stream().opening() is None

    def test_used_up(self) -> None:
        """Every job that is handed out uses up a credit."""
        stream = worker_stream()
        stream.grant(3)
        stream.deliver([assignment(1), assignment(2)])

        assert room(stream) == 1

    def test_additive(self) -> None:
        """Credits add up, to a thousand at most."""
        stream = worker_stream()
        stream.grant(600)
        stream.grant(400)

        with pytest.raises(ValidationError) as caught:
            stream.grant(1)

        assert {"credit.jobs": "at most 0 more now"} == caught.value.fields

    def test_bounded_by_what_waits(self) -> None:
        """Few jobs are kept for a stream, whatever it asks for: the rest can go to others."""
        stream = worker_stream()
        stream.grant(MAX_CREDITS)
        stream.deliver([assignment(number) for number in range(MAX_WAITING_JOBS - 1)])

        assert room(stream) == 1

    async def test_bounded_by_their_bytes(self) -> None:
        """Nor is much kept in bytes: no more comes before some has been written."""
        stream = worker_stream()
        stream.grant(MAX_CREDITS)
        stream.deliver([assignment(number, data="x" * 600_000) for number in range(20)])
        full = room(stream)
        while stream.waiting_jobs():
            await stream.next()

        assert (0, MAX_CREDITS - 20) == (full, room(stream))

    async def test_room_is_told(self) -> None:
        """Whoever hands out jobs hears of new room: by credit, and when waiting jobs leave."""
        wishes: list[str] = []
        stream = worker_stream(wishes=wishes)
        stream.grant(5)
        stream.deliver([assignment()])
        await stream.next()

        assert ["room", "room"] == wishes

    def test_drain(self) -> None:
        """A worker that drains takes nothing, not even what is on its way."""
        stream = worker_stream()
        stream.grant(5)
        stream.drain()

        assert stream.opening() is None
        assert not stream.deliver([assignment()])


class TestFrames:
    async def test_answers_go_first(self) -> None:
        """An answer does not wait behind jobs."""
        stream = worker_stream()
        stream.grant(1)
        stream.deliver([assignment()])
        await stream.answer(ANSWER)

        assert ANSWER == await stream.next()
        assert await jobs_in(stream) == 1

    async def test_batches_are_bounded(self) -> None:
        """A frame has so many jobs and about a megabyte; one large job goes alone."""
        stream = worker_stream()
        stream.grant(500)
        stream.deliver([assignment(number) for number in range(BATCH_JOBS + 10)])
        stream.deliver([assignment(number, data="x" * 600_000) for number in range(3)])

        assert [BATCH_JOBS, 11, 1, 1] == [await jobs_in(stream) for _ in range(4)]

    async def test_answers_are_bounded(self) -> None:
        """Whoever does not read its answers is not heard either."""
        stream = worker_stream()
        for _ in range(MAX_WAITING_ANSWERS):
            await stream.answer(ANSWER)
        blocked = asyncio.create_task(stream.answer(ANSWER))
        await asyncio.wait({blocked}, timeout=0.01)
        assert not blocked.done()

        await stream.next()

        await asyncio.wait_for(blocked, 1)


class TestEnd:
    async def test_last_answers(self) -> None:
        """What is still to be said is said before the end, but no new job."""
        stream = worker_stream()
        stream.grant(1)
        stream.deliver([assignment()])
        await stream.answer(ANSWER)
        stream.finish()

        assert [ANSWER, None] == [await stream.next(), await stream.next()]
        assert [assignment()] == stream.waiting_jobs()

    async def test_go_away(self) -> None:
        """A worker that is sent away hears so and keeps its jobs for the whole lease."""
        stream = worker_stream()
        stream.go_away("maintenance")

        frames: list[Outgoing | None] = [await stream.next(), await stream.next()]

        assert [GoAway(reason="maintenance"), None] == frames
        assert stream.moved

    async def test_first_error_counts(self) -> None:
        """The stream ends with what went wrong first."""
        stream = worker_stream()
        stream.fail(ValueError("first"))
        stream.fail(ValueError("second"))

        with pytest.raises(ValueError, match="first"):
            await stream.next()

    async def test_blocked_answers_are_freed(self) -> None:
        """A stream that ends keeps nobody waiting."""
        stream = worker_stream()
        for _ in range(MAX_WAITING_ANSWERS):
            await stream.answer(ANSWER)
        blocked = asyncio.create_task(stream.answer(ANSWER))
        await asyncio.wait({blocked}, timeout=0.01)

        stream.finish()

        await asyncio.wait_for(blocked, 1)


class TestSilence:
    async def test_expires(self) -> None:
        """A worker that does not beat for its lease is cut off, whatever else it says."""
        clock = Clock()
        stream = worker_stream(clock=clock)
        stream.grant(1)
        stream.deliver([assignment()])
        clock.now = LEASE

        with pytest.raises(UnavailableError) as caught:
            await stream.next()

        assert caught.value.reason == "SESSION_EXPIRED"

    async def test_beat(self) -> None:
        """Every heartbeat counts the lease anew."""
        clock = Clock()
        stream = worker_stream(clock=clock)
        stream.grant(1)
        clock.now = LEASE - 1
        stream.beat()
        clock.now = 2 * LEASE - 2
        stream.deliver([assignment()])

        assert await jobs_in(stream) == 1


class TestStreams:
    async def test_newer_stream_replaces(self) -> None:
        """Of two streams of a session the older ends."""
        streams, older, newer = Streams(), worker_stream(number=1), worker_stream(number=2)
        streams.attach(older)
        streams.attach(newer)

        assert streams.find(SESSION) is newer
        assert await older.next() is None

    async def test_older_stream_comes_late(self) -> None:
        """An older stream that is taken in late does not push out the newer one."""
        streams, older, newer = Streams(), worker_stream(number=1), worker_stream(number=2)
        streams.attach(newer)
        streams.attach(older)

        assert streams.find(SESSION) is newer
        assert await older.next() is None

    def test_detach_of_a_replaced_stream(self) -> None:
        """The end of a replaced stream leaves its successor alone."""
        streams, older, newer = Streams(), worker_stream(number=1), worker_stream(number=2)
        streams.attach(older)
        streams.attach(newer)
        streams.detach(older)

        assert streams.find(SESSION) is newer

    async def test_drain(self) -> None:
        """Draining sends every worker away and gives out nothing more."""
        streams, stream = Streams(), worker_stream()
        stream.grant(5)
        streams.attach(stream)
        streams.drain("bye")

        assert GoAway(reason="bye") == await stream.next()
        assert streams.openings() == []
        assert streams.draining

    async def test_late_stream(self) -> None:
        """A stream that was being opened when draining began is sent away too."""
        streams, stream = Streams(), worker_stream()
        streams.drain("bye")
        streams.attach(stream)

        assert GoAway(reason="bye") == await stream.next()
