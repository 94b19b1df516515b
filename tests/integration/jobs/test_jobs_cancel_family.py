"""Cancelling jobs with those that they have invoked, and while they move."""

import asyncio

import asyncpg

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import RawWorker, Workers, function
from tests.integration.jobs.test_jobs_cancel import TRACES

CANCELLED = job_pb2.JOB_STATE_CANCELLED


class TestFamily:
    async def invoke(self, worker: RawWorker) -> tuple[str, str]:
        """Let a job invoke another and wait for it; return both."""
        parent = await worker.take_one()
        call = pb.InvokeWait(function="encode", data_json="{}")
        await worker.wait_for(parent.token, "child", invoke=call)
        await worker.suspend(parent.token, "child")
        child = await worker.take_one()
        return parent.job_id, child.job_id

    async def test_children(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """What a job has invoked ends with it."""
        worker = await workers.connect(service.address, function(), function("encode", ""))
        await jobs.start_job()
        parent, child = await self.invoke(worker)

        job = await jobs.cancel(parent, reason="all of it")
        directive = await worker.directive()
        await worker.report(directive.token, stopped=pb.Stopped())

        assert CANCELLED == job.state
        over = await jobs.get(child)
        assert (CANCELLED, "all of it", parent) == (
            over.state,
            over.cancellation.reason,
            over.parent_job_id,
        )

    async def test_parent_goes_on(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Who waits for a job that is cancelled goes on, and is told so."""
        worker = await workers.connect(service.address, function(), function("encode", ""))
        await jobs.start_job()
        parent = await worker.take_one()
        call = pb.InvokeWait(function="encode", data_json="{}")
        await worker.wait_for(parent.token, "child", invoke=call)
        await worker.suspend(parent.token, "child")
        (wait,) = (await jobs.get(parent.job_id)).waits

        await jobs.cancel(wait.subject)
        again = await worker.take_one()

        assert (parent.job_id, 1) == (again.job_id, again.attempt)
        (memo,) = again.memo
        assert '"state":"cancelled"' in memo.result_json


class TestRaces:
    async def test_claims_and_failures(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """Wherever a job is at that moment, no wish to cancel it is forgotten."""
        worker = await workers.connect(service.address, function(max_attempts=100))
        ids = [await jobs.start_job() for _ in range(40)]
        await worker.credit(20)

        async def fail_for_ever() -> None:
            while True:
                assigned = await worker.job()
                await worker.credit(1)
                await worker.fail(assigned.token)

        failing = asyncio.create_task(fail_for_ever())
        await asyncio.gather(*(jobs.cancel(job_id) for job_id in ids))
        over = [await jobs.reaches(job_id, CANCELLED) for job_id in ids]
        failing.cancel()

        assert {CANCELLED} == {job.state for job in over}
        assert 0 == await database.fetchval(TRACES)
