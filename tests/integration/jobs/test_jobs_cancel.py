"""Cancelling jobs."""

from uuid import UUID

import asyncpg
import pytest

from mainstay.errors import NotFoundError, PreconditionError, ValidationError
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import RawWorker, Workers, function, seconds

NOBODYS = "018f0000-0000-7000-8000-000000000000"
CANCELLED = job_pb2.JOB_STATE_CANCELLED
HOUR = pb.SleepWait(duration=seconds(3600))
# What a job may have left behind anywhere but in the history.
TRACES = (
    "SELECT (SELECT count(*) FROM jobs.jobs) + (SELECT count(*) FROM jobs.ready)"
    " + (SELECT count(*) FROM jobs.delayed) + (SELECT count(*) FROM jobs.leases)"
    " + (SELECT count(*) FROM jobs.waits) + (SELECT count(*) FROM jobs.signals)"
    " + (SELECT count(*) FROM jobs.steps)"
)


async def step(worker: RawWorker, token: bytes, key: str, *, compensable: bool = True) -> None:
    """Finish a step that can be undone."""
    done = pb.StepCompleted(key=key, result_json="1", compensable=compensable)
    assert (await worker.report(token, step_completed=done)).state == pb.ACK_STATE_STORED


async def asleep(worker: RawWorker, *steps: str) -> str:
    """Take a job, finish steps that can be undone, and put it to sleep for an hour."""
    assigned = await worker.take_one()
    for key in steps:
        await step(worker, assigned.token, key)
    await worker.wait_for(assigned.token, "nap", sleep=HOUR)
    await worker.suspend(assigned.token, "nap")
    return assigned.job_id


class TestNobodyHasIt:
    async def test_ready(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """A job that waits for its first attempt ends at once and says who wanted it and why."""
        await workers.connect(service.address)
        watch = jobs.watch(job_id := await jobs.start_job())
        await watch.next()

        job = await jobs.cancel(job_id, reason="a mistake")
        told = await watch.rest()

        assert (CANCELLED, "a mistake", False) == (
            job.state,
            job.cancellation.reason,
            job.cancellation.rollback,
        )
        assert job.HasField("end_time")
        assert [(CANCELLED, job.revision)] == [(each.state, each.revision) for each in told]
        assert 0 == await database.fetchval(TRACES)

    async def test_delayed(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """So does one that waits for its next attempt; its failure stays readable."""
        worker = await workers.connect(service.address, function(backoff=600))
        job_id = await jobs.start_job()
        await worker.fail((await worker.take_one()).token)

        job = await jobs.cancel(job_id)

        assert (CANCELLED, "ValueError") == (job.state, job.failure.kind)
        assert 0 == await database.fetchval(TRACES)

    async def test_asleep(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """So does one that sleeps; its steps stay readable and are not undone unless asked."""
        worker = await workers.connect(service.address)
        await jobs.start_job()
        job_id = await asleep(worker, "charge")

        job = await jobs.cancel(job_id)

        assert (CANCELLED, ["charge"]) == (job.state, [each.key for each in job.steps])
        assert job_pb2.COMPENSATION_STATE_DECLARED == job.steps[0].compensation
        assert 0 == await database.fetchval(TRACES)


class TestWorkerHasIt:
    async def test_stopped(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """The worker is told at once and ends the job."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        assigned = await worker.take_one()

        running = await jobs.cancel(job_id, reason="too long")
        directive = await worker.directive()
        ack = await worker.report(assigned.token, stopped=pb.Stopped())

        assert (job_pb2.JOB_STATE_RUNNING, "too long") == (
            running.state,
            running.cancellation.reason,
        )
        assert (assigned.token, pb.DIRECTIVE_KIND_CANCEL, "too long") == (
            directive.token,
            directive.kind,
            directive.reason,
        )
        assert pb.ACK_STATE_STORED == ack.state
        assert CANCELLED == (await jobs.get(job_id)).state

    async def test_completed_first(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A job that is done all the same has succeeded."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        assigned = await worker.take_one()
        await jobs.cancel(job_id)

        await worker.complete(assigned.token)

        assert job_pb2.JOB_STATE_SUCCEEDED == (await jobs.get(job_id)).state

    async def test_failed(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A failure after the wish ends the job instead of trying it again."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        assigned = await worker.take_one()
        await jobs.cancel(job_id)

        await worker.fail(assigned.token)

        assert CANCELLED == (await jobs.get(job_id)).state

    async def test_heartbeat_repeats_it(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """Every heartbeat repeats what has not been followed."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        token = (await worker.take_one()).token
        before = await worker.heartbeat(token)
        await jobs.cancel(job_id, reason="r")

        told = [await worker.heartbeat(token) for _ in range(2)]

        assert [] == list(before.directives)
        assert [[(token, "r")]] * 2 == [
            [(each.token, each.reason) for each in ack.directives] for ack in told
        ]

    async def test_other_replica(
        self, serve_jobs: ServeJobs, produce: Produce, workers: Workers
    ) -> None:
        """A worker of another replica is told as fast."""
        here, there = await serve_jobs(), await serve_jobs()
        worker = await workers.connect(there.address)
        jobs = await produce(here)
        job_id = await jobs.start_job()
        token = (await worker.take_one()).token

        await jobs.cancel(job_id)

        assert token == (await worker.directive()).token

    async def test_again(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """The wish may be repeated, and undoing be added; the first reason stays."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        await worker.take_one()

        first = await jobs.cancel(job_id, reason="first")
        same = await jobs.cancel(job_id, reason="second")
        more = await jobs.cancel(job_id, reason="third", rollback=True)

        assert first == same
        assert ("first", True) == (more.cancellation.reason, more.cancellation.rollback)
        assert first.cancellation.request_time == more.cancellation.request_time

    async def test_does_not_comply(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """A worker that goes on for 30 s loses the job, and its late report is fenced."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        token = (await worker.take_one()).token
        await jobs.cancel(job_id)
        granted = await database.fetchval(
            "SELECT extract(epoch FROM expire_time - j.cancel_time) "
            "FROM jobs.leases JOIN jobs.jobs AS j USING (job_id)"
        )
        await database.execute("UPDATE jobs.leases SET expire_time = now()")

        job = await jobs.reaches(job_id, CANCELLED)
        ack = await worker.complete(token)

        assert 30 == granted
        assert (pb.ACK_STATE_FENCED, False) == (ack.state, job.HasField("failure"))
        assert [token] == await worker.beat(token)

    async def test_worker_is_lost(
        self, serve_jobs: ServeJobs, produce: Produce, workers: Workers
    ) -> None:
        """A job whose worker is lost after the wish is not tried again."""
        service = await serve_jobs(jobs_resume_window=0.1)
        jobs = await produce(service)
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        await worker.take_one()
        await jobs.cancel(job_id)

        await worker.cut()

        assert CANCELLED == (await jobs.reaches(job_id, CANCELLED)).state


class TestRollback:
    async def test_asleep(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Finished steps of a job that nobody has are undone, the last first; then it is over."""
        worker = await workers.connect(service.address)
        await jobs.start_job()
        job_id = await asleep(worker, "reserve", "charge")

        job = await jobs.cancel(job_id, rollback=True)
        assigned = await worker.take_one()
        for key in assigned.rollback.keys:
            await worker.undo(assigned.token, key)
        await worker.complete(assigned.token)

        assert (job_pb2.JOB_STATE_ROLLING_BACK, CANCELLED) == (job.state, job.rollback.outcome)
        assert ["charge", "reserve"] == list(assigned.rollback.keys)
        over = await jobs.get(job_id)
        assert (CANCELLED, [job_pb2.COMPENSATION_STATE_DONE] * 2) == (
            over.state,
            [each.compensation for each in over.steps],
        )

    async def test_running(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Those of a job that a worker has are undone once it has stopped."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await step(worker, first.token, "charge")
        await jobs.cancel(job_id, rollback=True)
        await worker.report(first.token, stopped=pb.Stopped())

        second = await worker.take_one()

        assert ["charge"] == list(second.rollback.keys)

    async def test_failure_is_being_undone(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A job that undoes its steps anyway goes on with it, and will have been cancelled."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await step(worker, first.token, "charge")
        await worker.fail(first.token, permanent=True)
        undoing = await worker.take_one()

        job = await jobs.cancel(job_id)
        directives = (await worker.heartbeat(undoing.token)).directives
        await worker.undo(undoing.token, "charge")
        await worker.complete(undoing.token)

        assert (job_pb2.JOB_STATE_ROLLING_BACK, CANCELLED) == (job.state, job.rollback.outcome)
        assert [] == list(directives)
        assert CANCELLED == (await jobs.get(job_id)).state

    async def test_nothing_to_undo(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """Without such steps a job ends at once, whatever was asked."""
        await workers.connect(service.address)
        job_id = await jobs.start_job()

        assert CANCELLED == (await jobs.cancel(job_id, rollback=True)).state


class TestRepeated:
    async def test_ended(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Who did not hear that the job has ended may ask again, and gets the job as it is."""
        await workers.connect(service.address)
        job_id = await jobs.start_job()

        first = await jobs.cancel(job_id, reason="a mistake", rollback=True)
        second = await jobs.cancel(job_id, reason="a mistake", rollback=True)

        assert CANCELLED == first.state
        assert first == second

    async def test_running(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Nor is it an error while the worker complies, or once the job has ended otherwise."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        assigned = await worker.take_one()

        first = await jobs.cancel(job_id)
        second = await jobs.cancel(job_id)
        await worker.complete(assigned.token)
        third = await jobs.cancel(job_id)

        assert first == second
        assert (job_pb2.JOB_STATE_SUCCEEDED, first.cancellation) == (
            third.state,
            third.cancellation,
        )

    async def test_more_than_before(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """Who wants steps undone of a job that was cancelled without hears that it is too late."""
        await workers.connect(service.address)
        job_id = await jobs.start_job()
        await jobs.cancel(job_id)

        with pytest.raises(PreconditionError) as caught:
            await jobs.cancel(job_id, rollback=True)

        assert "JOB_OVER" == caught.value.reason


class TestRefused:
    async def test_over(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A job that is over is not cancelled, and stays what it is."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        await worker.complete((await worker.take_one()).token)

        with pytest.raises(PreconditionError) as caught:
            await jobs.cancel(job_id)

        assert "JOB_OVER" == caught.value.reason
        assert "succeeded" in str(caught.value)

    async def test_dead_letter(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Nor is a dead letter."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        await worker.fail((await worker.take_one()).token, permanent=True)

        with pytest.raises(PreconditionError) as caught:
            await jobs.cancel(job_id)

        assert "JOB_OVER" == caught.value.reason

    async def test_foreign(
        self, service: Service, jobs: Producer, workers: Workers, produce: Produce
    ) -> None:
        """Another tenant's job does not exist, like one that does not."""
        await workers.connect(service.address)
        job_id = await jobs.start_job()
        stranger = await produce(service, "globex")

        for who, which in ((stranger, job_id), (jobs, NOBODYS)):
            with pytest.raises(NotFoundError) as caught:
                await who.cancel(which)
            assert ("JOB_NOT_FOUND", which) == (caught.value.reason, caught.value.resource_name)
        assert job_pb2.JOB_STATE_QUEUED == (await jobs.get(job_id)).state

    async def test_reason(self, jobs: Producer) -> None:
        """A reason that is too long is refused by its field."""
        with pytest.raises(ValidationError) as caught:
            await jobs.cancel(str(UUID(NOBODYS)), reason="x" * 501)

        assert ["reason"] == list(caught.value.fields)
