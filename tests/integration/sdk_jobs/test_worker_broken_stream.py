"""A worker loses streams, jobs and patience in good order, whatever the service says."""

import asyncio

import grpc
import pytest

from mainstay.jobs import Worker
from mainstay.jobs.v1 import worker_service_pb2 as pb
from tests.integration.sdk_jobs.bench import Bench, seconds
from tests.integration.sdk_jobs.running_worker import PATIENCE, running
from tests.integration.sdk_jobs.scripted_service import ScriptedService


class TestBrokenStream:
    async def test_is_resumed_with_what_is_in_flight(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """The session goes on with its jobs; handlers notice nothing."""
        stream = await scripted.accept_and_welcome()
        await stream.assign(b"a")
        await bench.next_begun()

        stream.end(grpc.StatusCode.UNAVAILABLE, "restarting")
        resumed = await scripted.accept_and_welcome()
        bench.finish.set()

        assert (b"session-1", [b"a"]) == (
            resumed.hello.resume_session,
            list(resumed.hello.in_flight_tokens),
        )
        assert '"job-a"' == (await resumed.next_report()).completed.result_json

    async def test_has_unanswered_reports_sent_again(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """Under the same sequence, so that the service can tell; the step is not run again."""
        stream = await scripted.accept_and_welcome()
        await stream.assign(b"a", function="steps")
        lost = await stream.next_report()
        stream.end(grpc.StatusCode.UNAVAILABLE, "restarting")

        resumed = await scripted.accept_and_welcome()
        again = await resumed.next_report()
        await resumed.acknowledge(again, state=pb.ACK_STATE_DUPLICATE)
        second = await resumed.next_report()

        assert lost == again
        assert (2, ["first", "second"]) == (second.sequence, bench.steps_run)

    async def test_loses_the_jobs_that_others_have(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """Their handlers are cancelled and nothing more is said of them."""
        stream = await scripted.accept_and_welcome()
        await stream.assign(b"a", b"b")
        await bench.next_begun()
        await bench.next_begun()
        stream.end(grpc.StatusCode.UNAVAILABLE, "restarting")

        resumed = await scripted.accept_and_welcome(lost_tokens=[b"a"])

        assert "job-a" == await bench.next_cancelled()
        bench.finish.set()
        assert b"b" == (await resumed.next_report()).token

    async def test_is_one_on_which_no_heartbeat_is_answered(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """A half-open connection looks alive from one side only."""
        short = {"heartbeat_interval": seconds(0.05), "lease": seconds(0.2)}
        await scripted.accept_and_welcome(**short)

        resumed = await scripted.accept()

        assert b"session-1" == resumed.hello.resume_session

    async def test_is_one_that_the_service_wants_replaced(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """GoAway: connect again, perhaps to another replica, and go on."""
        stream = await scripted.accept_and_welcome()
        await stream.assign(b"a")
        await bench.next_begun()

        await stream.send(go_away=pb.GoAway(reason="draining"))
        resumed = await scripted.accept()

        assert [b"a"] == list(resumed.hello.in_flight_tokens)


class TestHeartbeat:
    async def test_names_the_jobs_in_flight(self, scripted: ScriptedService, bench: Bench) -> None:
        """The service learns which of its assignments have arrived."""
        stream = await scripted.accept_and_welcome(heartbeat_interval=seconds(0.02))
        await stream.assign(b"a")
        await bench.next_begun()
        while not (frame := await stream.next_frame()).heartbeat.tokens:
            pass

        assert [b"a"] == list(frame.heartbeat.tokens)

    async def test_may_be_answered_with_lost_jobs(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """Their handlers stop; the worker has room again."""
        stream = await scripted.accept_and_welcome()
        await stream.next_credit()
        await stream.assign(b"a")
        await bench.next_begun()

        await stream.send(heartbeat=pb.HeartbeatAck(lost_tokens=[b"a"]))

        assert "job-a" == await bench.next_cancelled()
        assert 1 == await stream.next_credit()

    async def test_that_is_answered_keeps_the_stream(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """Well beyond the lease that the session began with."""
        terms = {"heartbeat_interval": seconds(0.1), "lease": seconds(0.5)}
        stream = await scripted.accept_and_welcome(**terms)
        for _ in range(10):
            while not (await stream.next_frame()).HasField("heartbeat"):
                pass
            await stream.send(heartbeat=pb.HeartbeatAck())

        await stream.assign(b"a")

        assert "job-a" == await bench.next_begun()


class TestFencedReport:
    async def test_cancels_the_handler(self, scripted: ScriptedService, bench: Bench) -> None:
        """A job that is somebody else's goes no step further and reports no end."""
        stream = await scripted.accept_and_welcome()
        await stream.next_credit()
        await stream.assign(b"a", function="steps")

        await stream.acknowledge(await stream.next_report(), state=pb.ACK_STATE_FENCED)

        assert 1 == await stream.next_credit()  # reports would have come first
        assert ["first"] == bench.steps_run


class TestRejectedReport:
    async def test_of_a_step_fails_the_job_by_name(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """The next attempt would be rejected too."""
        stream = await scripted.accept_and_welcome()
        await stream.assign(b"a", function="steps")
        step = await stream.next_report()

        await stream.acknowledge(step, state=pb.ACK_STATE_REJECTED, message="too many steps")
        failed = (await stream.next_report()).failed

        assert ("StepRejectedError", True) == (failed.kind, failed.permanent)
        assert "the result of step 'first' was refused: too many steps" == failed.message

    async def test_of_an_end_is_followed_by_one_that_can_be_stored(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """A job must not stay open because its result is not liked."""
        stream = await scripted.accept_and_welcome()
        bench.finish.set()
        await stream.assign(b"a")
        states = []
        for _ in range(3):
            report = await stream.next_report()
            states.append(report.WhichOneof("report"))
            await stream.acknowledge(report, state=pb.ACK_STATE_REJECTED, message="no")

        assert ["completed", "failed", "released"] == states


class TestStop:
    async def test_drains(self, scripted: ScriptedService, bench: Bench) -> None:
        """No more jobs are wanted; those in flight finish; then the stream is closed."""
        stream = await scripted.accept_and_welcome()
        await stream.next_credit()
        await stream.assign(b"a")
        await bench.next_begun()

        bench.worker.stop()
        assert (await stream.next_frame()).HasField("drain")
        bench.finish.set()
        report = await stream.next_report()
        await stream.acknowledge(report)

        assert report.HasField("completed")
        assert [] == await stream.closed_by_worker()

    async def test_sends_back_jobs_that_were_on_their_way(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """Sent before the service heard of the drain; no attempt is burnt."""
        stream = await scripted.accept_and_welcome()
        await stream.next_credit()
        await stream.assign(b"a")
        await bench.next_begun()
        bench.worker.stop()
        assert (await stream.next_frame()).HasField("drain")

        await stream.assign(b"late")
        report = await stream.next_report()

        assert (b"late", True) == (report.token, report.HasField("released"))

    async def test_releases_what_does_not_finish_in_time(self, scripted: ScriptedService) -> None:
        """Past the grace another worker may have it."""
        bench = Bench(scripted.address, drain_seconds=0)
        async with running(bench.worker) as task:
            stream = await scripted.accept_and_welcome()
            await stream.assign(b"a")
            await bench.next_begun()
            bench.worker.stop()
            report = await stream.next_report()
            await stream.acknowledge(report)
            await asyncio.wait_for(task, PATIENCE)

        assert (b"a", True) == (report.token, report.HasField("released"))

    async def test_by_cancellation_releases_at_once(self, scripted: ScriptedService) -> None:
        """Whoever cancels `run` does not wait for jobs, and they are not lost either."""
        bench = Bench(scripted.address)
        async with running(bench.worker) as task:
            stream = await scripted.accept_and_welcome()
            await stream.assign(b"a")
            await bench.next_begun()
            task.cancel()
            report = await stream.next_report()
            await stream.acknowledge(report)

            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, PATIENCE)
        assert report.HasField("released")

    async def test_of_a_worker_that_cannot_reach_its_service_does_not_wait_for_it(self) -> None:
        """Nothing can be handed back, and nothing is waited for without end."""
        worker = Worker("127.0.0.1:1", name="alone")
        worker.function("work", on="test/work")(Bench("127.0.0.1:1").work)
        async with running(worker) as task:
            worker.stop()

            await asyncio.wait_for(task, PATIENCE)
