"""Workers that die, and jobs that kill them."""

import json

from mainstay.jobs.v1 import job_pb2
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import VIDEO, Producer, video_event
from tests.integration.jobs.raw_worker import Workers, function, raw_workers


class TestTakeover:
    async def test_between_steps(self, serve_jobs: ServeJobs, produce: Produce) -> None:
        """A job whose worker is gone goes on elsewhere, behind the step that was finished."""
        service = await serve_jobs(jobs_resume_window=0.2)
        jobs = await produce(service)
        async with raw_workers() as workers:
            dead = await workers.connect(service.address, worker="dead")
            heir = await workers.connect(service.address, worker="heir")
            job_id = await jobs.start_job()
            first = await dead.take_one()
            await dead.step(first.token, "probe", '"probed"')
            await heir.credit(1)
            await dead.cut()

            second = await heir.job()
            await heir.step(second.token, "transcode")
            await heir.complete(second.token)

            job = await jobs.get(job_id)
            assert [("probe", '"probed"')] == [(memo.key, memo.result_json) for memo in second.memo]
            assert [("probe", 1), ("transcode", 2)] == [
                (step.key, step.attempt) for step in job.steps
            ]
            assert (job_pb2.JOB_STATE_SUCCEEDED, "WorkerLost") == (job.state, job.failure.kind)

    async def test_crash_burns_no_attempt(self, serve_jobs: ServeJobs, produce: Produce) -> None:
        """A function that is tried once only is begun again when its worker is lost."""
        service = await serve_jobs(jobs_resume_window=0.2)
        jobs = await produce(service)
        async with raw_workers() as workers:
            once = function(max_attempts=1)
            dead = await workers.connect(service.address, once)
            heir = await workers.connect(service.address, once)
            job_id = await jobs.start_job()
            await dead.take_one()
            await dead.cut()
            second = await heir.take_one()
            await heir.fail(second.token)

            job = await jobs.get(job_id)
            assert (2, 2) == (second.attempt, second.max_attempts)
            assert (job_pb2.JOB_STATE_DEAD_LETTERED, "ValueError") == (job.state, job.failure.kind)

    async def test_unwritten_jobs_come_back(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """Jobs that a dead worker had not read yet go back at once, their attempts not burnt."""
        deaf = await workers.connect(service.address)
        large = json.dumps(VIDEO)[:-1] + " " * 900_000 + "}"
        job_ids = [await jobs.start_job(video_event(data=large)) for _ in range(12)]
        deaf.stop_reading()
        await deaf.credit(12)
        for job_id in job_ids:
            await jobs.reaches(job_id, job_pb2.JOB_STATE_RUNNING)
        await deaf.cut()

        heir = await workers.connect(service.address)
        again = await heir.take_one()

        assert 1 == again.attempt


class TestPoison:
    async def test_cap(self, serve_jobs: ServeJobs, produce: Produce) -> None:
        """A job that has lost as many workers as it may is a dead letter that says so."""
        service = await serve_jobs(jobs_resume_window=0.2, jobs_max_crashes=2)
        jobs = await produce(service)
        async with raw_workers() as workers:
            job_id = ""
            for name in ("first", "second"):
                victim = await workers.connect(service.address, worker=name)
                job_id = job_id or await jobs.start_job()
                await victim.take_one()
                await victim.cut()

            job = await jobs.reaches(job_id, job_pb2.JOB_STATE_DEAD_LETTERED)
            assert "WorkerLost" == job.failure.kind
            assert "second was lost during attempt 2; 2 workers were lost" in job.failure.message
