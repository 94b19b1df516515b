"""Retrying a dead letter."""

import asyncpg
import pytest

from mainstay.errors import NotFoundError, PreconditionError
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.conftest import Produce
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import RawWorker, Workers, function

NOBODYS = "018f0000-0000-7000-8000-000000000000"
DEAD = job_pb2.JOB_STATE_DEAD_LETTERED


async def compensable_step(worker: RawWorker, token: bytes, key: str) -> None:
    """Finish a step that can be undone."""
    done = pb.StepCompleted(key=key, result_json="1", compensable=True)
    await worker.report(token, step_completed=done)


class TestAttempts:
    async def test_as_many_as_declared(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """It gets as many further attempts as its function declares."""
        worker = await workers.connect(service.address, function(max_attempts=2))
        job_id = await jobs.start_job()
        for _ in range(2):
            await worker.fail((await worker.take_one()).token)
        dead = await jobs.get(job_id)

        job = await jobs.retry(job_id)
        attempts = []
        for _ in range(2):
            assigned = await worker.take_one()
            attempts.append(assigned.attempt)
            await worker.fail(assigned.token)

        assert (DEAD, job_pb2.JOB_STATE_RETRYING) == (dead.state, job.state)
        assert (4, [3, 4]) == (job.max_attempts, attempts)
        assert not job.HasField("end_time")
        assert DEAD == (await jobs.get(job_id)).state

    async def test_declared_otherwise_since(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """What counts is the declaration of now."""
        worker = await workers.connect(service.address, function(max_attempts=1))
        job_id = await jobs.start_job()
        await worker.fail((await worker.take_one()).token)
        await workers.connect(service.address, function(max_attempts=5))

        assert 6 == (await jobs.retry(job_id)).max_attempts

    async def test_poison(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """Workers that it has lost count anew."""
        worker = await workers.connect(service.address, function(max_attempts=3))
        job_id = await jobs.start_job()
        await worker.fail((await worker.take_one()).token, permanent=True)
        # As if it had lost four workers before.
        await database.execute("UPDATE jobs.jobs SET attempt = 5, crash_count = 4")

        job = await jobs.retry(job_id)

        assert (1, 4) == (job.attempt, job.max_attempts)
        assert 0 == await database.fetchval("SELECT crash_count FROM jobs.jobs")


class TestSteps:
    async def test_kept(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Finished steps are not run again."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        token = (await worker.take_one()).token
        await worker.step(token, "probe", '{"a": 1}')
        await worker.fail(token, permanent=True)

        await jobs.retry(job_id)

        assert [("probe", '{"a": 1}')] == [
            (memo.key, memo.result_json) for memo in (await worker.take_one()).memo
        ]

    async def test_undone(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Where steps have been undone, all of them are run again."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        token = (await worker.take_one()).token
        await worker.step(token, "probe")
        await compensable_step(worker, token, "charge")
        await worker.fail(token, permanent=True)
        undoing = (await worker.take_one()).token
        await worker.undo(undoing, "charge")
        await worker.complete(undoing)
        dead = await jobs.get(job_id)

        job = await jobs.retry(job_id)
        assigned = await worker.take_one()

        assert (DEAD, job_pb2.JOB_STATE_RETRYING) == (dead.state, job.state)
        assert (False, False) == (job.HasField("rollback"), assigned.HasField("rollback"))
        assert [] == list(assigned.memo)

    async def test_stuck(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Where undoing got stuck, it goes on, with as many turns as before."""
        worker = await workers.connect(service.address, function(max_attempts=2))
        job_id = await jobs.start_job()
        token = (await worker.take_one()).token
        await compensable_step(worker, token, "reserve")
        await compensable_step(worker, token, "charge")
        await worker.fail(token, permanent=True)
        undoing = (await worker.take_one()).token
        await worker.undo(undoing, "charge")
        await worker.fail(undoing, permanent=True, message="no refunds on Sundays")
        stuck = await jobs.get(job_id)

        job = await jobs.retry(job_id)
        assigned = await worker.take_one()
        await worker.undo(assigned.token, "reserve")
        await worker.complete(assigned.token)

        assert (DEAD, "no refunds on Sundays") == (stuck.state, stuck.rollback.failure.message)
        assert (job_pb2.JOB_STATE_ROLLING_BACK, DEAD) == (job.state, job.rollback.outcome)
        assert ["reserve"] == list(assigned.rollback.keys)
        assert DEAD == (await jobs.get(job_id)).state


class TestRefused:
    async def test_not_dead(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """What is no dead letter stays as it is: one that waits, and one that succeeded."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        reasons = []
        with pytest.raises(PreconditionError) as caught:
            await jobs.retry(job_id)
        reasons.append(caught.value.reason)
        await worker.complete((await worker.take_one()).token)
        with pytest.raises(PreconditionError) as caught:
            await jobs.retry(job_id)
        reasons.append(caught.value.reason)

        assert ["JOB_NOT_DEAD"] * 2 == reasons

    async def test_foreign(
        self, service: Service, jobs: Producer, workers: Workers, produce: Produce
    ) -> None:
        """Another tenant's dead letter does not exist, like one that does not."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        await worker.fail((await worker.take_one()).token, permanent=True)
        stranger = await produce(service, "globex")

        for who, which in ((stranger, job_id), (jobs, NOBODYS)):
            with pytest.raises(NotFoundError) as caught:
                await who.retry(which)
            assert "JOB_NOT_FOUND" == caught.value.reason
        assert DEAD == (await jobs.get(job_id)).state
