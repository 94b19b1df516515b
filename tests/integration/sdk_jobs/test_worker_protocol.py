"""A worker keeps its side of the session's contract: what it says, when, and how much."""

import asyncio

import grpc
import pytest

from mainstay import context
from mainstay.errors import ConfigurationError, UnavailableError, ValidationError
from mainstay.jobs.v1 import worker_service_pb2 as pb
from tests.integration.sdk_jobs.bench import Bench
from tests.integration.sdk_jobs.running_worker import PATIENCE, running
from tests.integration.sdk_jobs.scripted_service import ScriptedService


class TestHello:
    async def test_declares_worker_and_functions(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """Name, functions, tenant; and no session to resume."""
        stream = await scripted.accept()

        assert "bench" == stream.hello.worker
        assert ["work", "steps", "chatter"] == [
            function.name for function in stream.hello.functions
        ]
        assert b"" == stream.hello.resume_session
        assert "*" == stream.metadata["x-mainstay-tenant"]

    async def test_that_is_refused_ends_the_worker(self, scripted: ScriptedService) -> None:
        """Connecting again would be refused again."""
        task = asyncio.create_task(Bench(scripted.address).worker.run())

        (await scripted.accept()).end(grpc.StatusCode.INVALID_ARGUMENT, "functions[0]: wrong")

        with pytest.raises(ValidationError, match=r"functions\[0\]: wrong"):
            await asyncio.wait_for(task, PATIENCE)

    async def test_is_said_by_a_worker_once(self, scripted: ScriptedService, bench: Bench) -> None:
        """A second run, beside the first or after it, is a mistake that is named."""
        await scripted.accept_and_welcome()

        with pytest.raises(ConfigurationError, match="bench has run before, and a worker runs onc"):
            await asyncio.wait_for(bench.worker.run(), PATIENCE)

    async def test_that_is_refused_ends_the_wait_for_readiness(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """Whoever waits for a worker that will never be ready is told so."""
        ready = asyncio.create_task(bench.worker.ready())

        (await scripted.accept()).end(grpc.StatusCode.UNAUTHENTICATED, "no key")

        with pytest.raises(UnavailableError, match="worker bench has ended"):
            await asyncio.wait_for(ready, PATIENCE)

    async def test_makes_the_worker_ready_when_answered(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """Whoever sends an event after that will have it handled."""
        stream = await scripted.accept()
        ready = asyncio.create_task(bench.worker.ready())

        await stream.welcome()

        await asyncio.wait_for(ready, PATIENCE)

    async def test_does_not_speak_for_whoever_started_the_worker(
        self, scripted: ScriptedService
    ) -> None:
        """A worker started while a request is handled is not part of that request."""
        bench = Bench(scripted.address)
        with context.request(request_id="request-of-the-starter", tenant="elsewhere"):
            async with running(bench.worker):
                stream = await scripted.accept()

        assert "*" == stream.metadata["x-mainstay-tenant"]
        assert "request-of-the-starter" != stream.metadata["x-request-id"]


class TestCredits:
    async def test_are_as_many_as_the_worker_has_room_for(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """Its concurrency at first, then one for each job that has ended, stored or not yet."""
        stream = await scripted.accept_and_welcome()
        assert 2 == await stream.next_credit()
        await stream.assign(b"a")
        bench.finish.set()

        await stream.next_report()

        assert 1 == await stream.next_credit()

    async def test_are_granted_together_for_jobs_that_end_together(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """One frame, not one for each job."""
        stream = await scripted.accept_and_welcome()
        await stream.next_credit()
        await stream.assign(b"a", b"b")
        bench.finish.set()

        await stream.next_reports()

        assert 2 == await stream.next_credit()

    async def test_wait_when_the_ends_of_a_whole_round_are_not_stored(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """A service that stores nothing does not get ever more results to store."""
        stream = await scripted.accept_and_welcome()
        bench.finish.set()
        ends = []
        for tokens in ((b"a", b"b"), (b"c", b"d")):
            assert 2 == await stream.next_credit()
            await stream.assign(*tokens)
            ends += await stream.next_reports()

        await stream.acknowledge(ends[0])

        assert 1 == await stream.next_credit()

    async def test_that_the_service_oversteps_send_jobs_back(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """A worker never runs more than it said, and no attempt is burnt."""
        stream = await scripted.accept_and_welcome()

        await stream.assign(b"a", b"b", b"c")
        report = await stream.next_report()

        assert (b"c", True) == (report.token, report.HasField("released"))

    async def test_begin_anew_with_every_stream(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """On a resumed session there is room for what is not in flight."""
        stream = await scripted.accept_and_welcome()
        await stream.assign(b"a")
        await bench.next_begun()
        stream.end()

        resumed = await scripted.accept_and_welcome()

        assert 1 == await resumed.next_credit()


class TestReports:
    async def test_of_one_loop_turn_share_a_frame(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """Batches carry an order of magnitude more than single reports."""
        stream = await scripted.accept_and_welcome()
        await stream.assign(b"a", b"b")
        await bench.next_begun()
        await bench.next_begun()

        bench.finish.set()

        assert [b"a", b"b"] == [report.token for report in await stream.next_reports()]

    async def test_of_a_step_are_answered_before_the_next_step_begins(
        self, scripted: ScriptedService, bench: Bench
    ) -> None:
        """A step that runs may rely on all before it being stored."""
        stream = await scripted.accept_and_welcome()
        await stream.assign(b"a", function="steps")
        first = await stream.next_report()
        # A heartbeat and its answer later there still is no second step.
        await stream.send(heartbeat=pb.HeartbeatAck())
        assert ["first"] == bench.steps_run

        await stream.acknowledge(first)
        second = await stream.next_report()

        assert ["first", "second"] == bench.steps_run
        assert (2, "second") == (second.sequence, second.step_completed.key)

    async def test_of_progress_are_folded(self, scripted: ScriptedService, bench: Bench) -> None:
        """A hundred calls while nobody answers are at most two reports, then the end."""
        stream = await scripted.accept_and_welcome()
        await stream.assign(b"a", function="chatter")
        reports: list[pb.Report] = []
        while not (reports and reports[-1].HasField("completed")):
            reports += await stream.next_reports()

        assert len(reports) <= 3
        assert list(range(1, len(reports) + 1)) == [report.sequence for report in reports]
        assert 0.99 == reports[-2].progress.fraction


class TestDirective:
    @pytest.mark.parametrize("way", ["by itself", "with a heartbeat's answer"])
    async def test_to_cancel_is_followed(
        self, scripted: ScriptedService, bench: Bench, way: str
    ) -> None:
        """The handler is cancelled, and then the job has stopped; of others nothing is heard."""
        stream = await scripted.accept_and_welcome()
        await stream.assign(b"a", b"b")
        ids = {await bench.next_begun(), await bench.next_begun()}

        directives = [
            pb.Directive(token=b"a", kind=pb.DIRECTIVE_KIND_CANCEL, reason="no longer wanted"),
            pb.Directive(token=b"unknown", kind=pb.DIRECTIVE_KIND_CANCEL),
            pb.Directive(token=b"b", kind=pb.DIRECTIVE_KIND_UNSPECIFIED),
        ]
        if way == "by itself":
            await stream.send(directives=pb.DirectiveBatch(directives=directives))
        else:
            await stream.send(heartbeat=pb.HeartbeatAck(directives=directives))
        report = await stream.next_report()

        assert {"job-a", "job-b"} == ids
        assert "job-a" == await bench.next_cancelled()
        assert (b"a", True) == (report.token, report.HasField("stopped"))
