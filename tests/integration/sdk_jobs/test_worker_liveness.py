"""A handler that blocks its loop does not look like a dead worker; one that is stuck is told of."""

from collections.abc import AsyncIterator

import grpc
import pytest

from mainstay.jobs.v1 import worker_service_pb2 as pb
from tests.integration.sdk_jobs.bench import seconds
from tests.integration.sdk_jobs.scripted_service import ScriptedService, ScriptedStream
from tests.integration.sdk_jobs.thread_worker import ThreadWorker

BEAT = seconds(0.02)


@pytest.fixture
async def worker(scripted: ScriptedService) -> AsyncIterator[ThreadWorker]:
    """Run a worker whose loop is not the test's."""
    worker = ThreadWorker(scripted.address)
    async with worker.running():
        yield worker


async def next_beat(stream: ScriptedStream) -> pb.Heartbeat:
    """Return the next heartbeat, past anything else."""
    while not (frame := await stream.next_frame()).HasField("heartbeat"):
        pass
    return frame.heartbeat


def idle_of(beat: pb.Heartbeat) -> float:
    """Return for how long the one job has not moved, as the heartbeat says; 0 when it does not."""
    return max((job.idle.ToTimedelta().total_seconds() for job in beat.jobs), default=0.0)


async def idle_beyond(stream: ScriptedStream, least: float) -> pb.Heartbeat:
    """Wait until a heartbeat says that the one job has not moved for so long."""
    while idle_of(beat := await next_beat(stream)) <= least:
        pass
    return beat


class TestBlockedLoop:
    async def test_does_not_stop_the_heartbeats(
        self, scripted: ScriptedService, worker: ThreadWorker
    ) -> None:
        """The job stays this worker's."""
        stream = await scripted.accept_and_welcome(heartbeat_interval=BEAT)
        await stream.assign(b"a", function="block")
        await worker.until(worker.begun)

        beats = [await next_beat(stream) for _ in range(10)]

        assert [b"a"] == list(beats[-1].tokens)

    async def test_is_told_for_as_long_as_it_lasts(
        self, scripted: ScriptedService, worker: ThreadWorker
    ) -> None:
        """Of all its jobs, since none of them can move; and no longer once it turns."""
        stream = await scripted.accept_and_welcome(heartbeat_interval=BEAT)
        await stream.assign(b"a", function="block")
        await worker.until(worker.begun)
        await stream.assign(b"b", function="silent")

        while len((beat := await idle_beyond(stream, 0.1)).jobs) < 2:
            pass
        worker.free.set()
        await stream.next_report()
        while idle_of(await next_beat(stream)) > 0:
            pass

        assert [b"a", b"b"] == sorted(job.token for job in beat.jobs)

    async def test_does_not_keep_a_broken_stream_from_being_resumed(
        self, scripted: ScriptedService, worker: ThreadWorker
    ) -> None:
        """With the job that blocks it."""
        stream = await scripted.accept_and_welcome()
        await stream.assign(b"a", function="block")
        await worker.until(worker.begun)
        stream.end(grpc.StatusCode.UNAVAILABLE, "restarting")

        resumed = await scripted.accept_and_welcome()

        assert [b"a"] == list(resumed.hello.in_flight_tokens)

    async def test_that_lost_its_job_finds_it_cancelled(
        self, scripted: ScriptedService, worker: ThreadWorker
    ) -> None:
        """As soon as it turns again; of the job nothing more is said, not even that it is there."""
        stream = await scripted.accept_and_welcome(heartbeat_interval=BEAT)
        await stream.assign(b"a", function="block")
        await worker.until(worker.begun)
        await stream.send(heartbeat=pb.HeartbeatAck(lost_tokens=[b"a"]))
        while list((await next_beat(stream)).tokens):
            pass

        worker.free.set()

        await worker.until(worker.cancelled)
        assert 1 == await stream.next_credit()  # a report would have come first


class TestSilentJob:
    async def test_with_a_hang_timeout_is_told_until_it_gives_a_sign(
        self, scripted: ScriptedService, worker: ThreadWorker
    ) -> None:
        """Its idle time begins anew with each sign."""
        stream = await scripted.accept_and_welcome(heartbeat_interval=BEAT)
        await stream.assign(b"a", function="silent", hang_timeout=seconds(60))
        await worker.until(worker.begun)
        before = idle_of(await idle_beyond(stream, 0.3))

        await worker.sign()
        while (after := idle_of(await next_beat(stream))) >= before:
            pass

        assert 0 < after < before

    async def test_without_a_hang_timeout_may_be_silent(
        self, scripted: ScriptedService, worker: ThreadWorker
    ) -> None:
        """The loop turns, and nothing else is asked of it."""
        stream = await scripted.accept_and_welcome(heartbeat_interval=BEAT)
        await stream.assign(b"a", function="silent")
        await worker.until(worker.begun)
        for _ in range(5):
            await next_beat(stream)

        # A machine that is busy may hold the loop up for a beat, but not for ever.
        while idle_of(beat := await next_beat(stream)) > 0:
            pass
        assert [b"a"] == list(beat.tokens)

    async def test_that_waits_for_the_service_is_not_idle(
        self, scripted: ScriptedService, worker: ThreadWorker
    ) -> None:
        """A step that is not stored yet is the service's to store."""
        stream = await scripted.accept_and_welcome(heartbeat_interval=BEAT)
        await stream.assign(b"a", function="steps", hang_timeout=seconds(60))
        await stream.next_report()

        beats = [await next_beat(stream) for _ in range(5)]

        assert [[b"a"], []] == [list(beats[-1].tokens), list(beats[-1].jobs)]
