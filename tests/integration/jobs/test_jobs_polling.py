"""Workers that keep no stream: jobs by Poll, ends by Report, and the lease in between."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from mainstay.errors import NotFoundError, ValidationError
from mainstay.errors_wire import translate
from mainstay.jobs.v1 import function_pb2, job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from mainstay.jobs.v1 import worker_service_pb2_grpc as pb_grpc
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import PATIENCE, Workers, function, seconds


class Poller:
    """A simple client: two unary calls."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: Any = pb_grpc.WorkerServiceStub(channel)
        self.session = b""
        self.functions: list[function_pb2.FunctionDefinition] = [function()]

    async def poll(
        self, *tokens: bytes, jobs: int = 1, wait: float = 5.0, **fields: Any
    ) -> pb.PollResponse:
        """Ask for work; raises the error tree's errors."""
        hello = pb.Hello(
            worker="poller",
            functions=self.functions,
            resume_session=self.session,
            in_flight_tokens=tokens,
        )
        request = pb.PollRequest(hello=hello, max_jobs=jobs, wait=seconds(wait), **fields)
        answer: pb.PollResponse = await self._call("Poll", request)
        self.session = answer.welcome.session
        return answer

    async def report(self, *reports: pb.Report) -> pb.ReportResponse:
        """Report; raises the error tree's errors."""
        request = pb.ReportRequest(session=self.session, reports=reports)
        answer: pb.ReportResponse = await self._call("Report", request)
        return answer

    async def _call(self, method: str, request: Any) -> Any:
        metadata = (("x-mainstay-tenant", "acme"),)
        try:
            return await getattr(self._stub, method)(
                request, metadata=metadata, timeout=2 * PATIENCE
            )
        except grpc.aio.AioRpcError as error:
            raise translate(error) from error


@pytest.fixture
async def poller(service: Service) -> AsyncIterator[Poller]:
    async with grpc.aio.insecure_channel(service.address) as channel:
        yield Poller(channel)


def done(token: bytes, sequence: int = 1) -> pb.Report:
    return pb.Report(
        token=token, sequence=sequence, completed=pb.Completed(result_json='{"ok":true}')
    )


class TestPoll:
    async def test_job(self, jobs: Producer, poller: Poller) -> None:
        """A worker needs two calls to do a job: one to get it, one to end it."""
        await poller.poll(jobs=0, wait=0)
        job_id = await jobs.start_job()
        (job,) = (await poller.poll()).jobs
        (ack,) = (await poller.report(done(job.token))).acks

        assert (job_id, "video/upload.completed") == (job.job_id, job.event_name)
        assert pb.ACK_STATE_STORED == ack.state
        assert job_pb2.JOB_STATE_SUCCEEDED == (await jobs.get(job_id)).state

    async def test_waits_for_work(self, jobs: Producer, poller: Poller) -> None:
        """A poll that finds nothing returns without jobs when its wait is over."""
        answer = await poller.poll(wait=0.0)

        assert not answer.jobs
        assert 16 == len(answer.welcome.session)

    async def test_keeps_its_jobs(self, jobs: Producer, poller: Poller) -> None:
        """Between calls the jobs are the worker's; a poll that names them gives others."""
        await poller.poll(jobs=0, wait=0)
        await jobs.start_job()
        await jobs.start_job()
        (first,) = (await poller.poll()).jobs
        answer = await poller.poll(first.token)
        (second,) = answer.jobs

        assert first.job_id != second.job_id
        assert not answer.welcome.lost_tokens

    async def test_forgotten(self, jobs: Producer, poller: Poller) -> None:
        """A job that a poll does not name never arrived: it comes again, its attempt not burnt."""
        await poller.poll(jobs=0, wait=0)
        job_id = await jobs.start_job()
        (lost,) = (await poller.poll()).jobs
        (again,) = (await poller.poll()).jobs

        assert (job_id, 1) == (again.job_id, again.attempt)
        assert lost.token != again.token

    async def test_directive(self, jobs: Producer, poller: Poller) -> None:
        """A cancellation is told by the next call of either kind."""
        await poller.poll(jobs=0, wait=0)
        job_id = await jobs.start_job()
        (job,) = (await poller.poll()).jobs
        await jobs.cancel(job_id, reason="not wanted")
        polled = await poller.poll(job.token, jobs=0, wait=0)
        progress = pb.Report(
            token=job.token, sequence=1, progress=pb.ProgressReported(fraction=0.5)
        )
        reported = await poller.report(progress)

        assert [(job.token, "not wanted")] == [(d.token, d.reason) for d in polled.directives]
        assert [job.token] == [directive.token for directive in reported.directives]

    async def test_too_many(self, poller: Poller) -> None:
        """What is beyond the bounds is told by its field."""
        with pytest.raises(ValidationError) as caught:
            await poller.poll(jobs=1_001)

        assert "max_jobs" in caught.value.fields


class TestReport:
    async def test_flush(self, jobs: Producer, poller: Poller) -> None:
        """What was stored already is a duplicate."""
        await poller.poll(jobs=0, wait=0)
        await jobs.start_job()
        (job,) = (await poller.poll()).jobs
        first = await poller.report(done(job.token))
        second = await poller.report(done(job.token))

        assert [pb.ACK_STATE_STORED] == [ack.state for ack in first.acks]
        assert [pb.ACK_STATE_DUPLICATE] == [ack.state for ack in second.acks]

    @pytest.mark.parametrize("session", [b"", b"x" * 16])
    async def test_no_session(self, poller: Poller, session: bytes) -> None:
        """Who has no session has nothing to report."""
        poller.session = session
        with pytest.raises(NotFoundError) as caught:
            await poller.report(done(b"token"))

        assert "SESSION_NOT_FOUND" == caught.value.reason


class TestLease:
    async def test_renewed_by_calls(self, serve_jobs: ServeJobs, produce: Produce) -> None:
        """A worker that calls often enough keeps its job beyond the first lease."""
        service = await serve_jobs(jobs_session_lease=1.0, jobs_heartbeat_interval=0.4)
        jobs = await produce(service)
        async with grpc.aio.insecure_channel(service.address) as channel:
            poller = Poller(channel)
            await poller.poll(jobs=0, wait=0)
            job_id = await jobs.start_job()
            (job,) = (await poller.poll()).jobs
            for _ in range(8):
                # Each poll waits for a job that does not come: that is the time that passes.
                answer = await poller.poll(job.token, wait=0.3)
                assert not answer.welcome.lost_tokens
            (ack,) = (await poller.report(done(job.token))).acks

        assert pb.ACK_STATE_STORED == ack.state
        assert 1 == (await jobs.get(job_id)).attempt

    async def test_long_wait(self, serve_jobs: ServeJobs, produce: Produce) -> None:
        """A poll does not wait until the lease of the jobs that the worker has is over."""
        service = await serve_jobs(jobs_session_lease=1.0, jobs_heartbeat_interval=0.4)
        jobs = await produce(service)
        async with grpc.aio.insecure_channel(service.address) as channel:
            poller = Poller(channel)
            await poller.poll(jobs=0, wait=0)
            nothing = await poller.poll(wait=30.0)
            await jobs.start_job()
            (job,) = (await poller.poll()).jobs
            await poller.poll(job.token, wait=30.0)
            (ack,) = (await poller.report(done(job.token))).acks

        assert not nothing.jobs
        assert pb.ACK_STATE_STORED == ack.state


class TestBesideAStream:
    async def test_moves_on(
        self, service: Service, jobs: Producer, workers: Workers, poller: Poller
    ) -> None:
        """A worker may go on by polls where its stream was, and back: no job is lost."""
        first = await workers.connect(service.address)
        await jobs.start_job()
        taken = await first.take_one()
        await first.credit(5)

        poller.session = first.welcome.session
        await poller.poll(taken.token, jobs=0, wait=0)
        code, _ = await first.end()
        await jobs.start_job()
        (polled,) = (await poller.poll(taken.token)).jobs
        both = [taken.token, polled.token]
        second = await workers.connect(service.address, resume=poller.session, in_flight=both)
        acks = [await second.complete(token) for token in both]

        assert grpc.StatusCode.OK == code
        assert (first.welcome.session, []) == (
            second.welcome.session,
            list(second.welcome.lost_tokens),
        )
        assert [pb.ACK_STATE_STORED] * 2 == [ack.state for ack in acks]

    async def test_two_polls(self, jobs: Producer, poller: Poller) -> None:
        """Of two polls of one session the later gets the job, and the other none of it."""
        await poller.poll(jobs=0, wait=0)
        waiting = asyncio.create_task(poller.poll(wait=10.0))
        session = poller.session
        later = asyncio.create_task(poller.poll(wait=10.0))
        earlier, _ = await asyncio.wait({waiting, later}, return_when=asyncio.FIRST_COMPLETED)
        job_id = await jobs.start_job()
        answers = await asyncio.gather(waiting, later)

        assert [job_id] == [job.job_id for answer in answers for job in answer.jobs]
        assert [session] * 2 == [answer.welcome.session for answer in answers]
        assert not [job for task in earlier for job in task.result().jobs]
