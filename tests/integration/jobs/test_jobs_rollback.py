"""Steps that are undone: after the final failure, or when somebody cancels and wants it."""

from typing import Any

import asyncpg
import pytest

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import RawWorker, Workers, function, raw_workers

ROLLING, DEAD = job_pb2.JOB_STATE_ROLLING_BACK, job_pb2.JOB_STATE_DEAD_LETTERED
CANCELLED, SUCCEEDED = job_pb2.JOB_STATE_CANCELLED, job_pb2.JOB_STATE_SUCCEEDED
STORED, DUPLICATE, REJECTED = pb.ACK_STATE_STORED, pb.ACK_STATE_DUPLICATE, pb.ACK_STATE_REJECTED
DECLARED, DONE = job_pb2.COMPENSATION_STATE_DECLARED, job_pb2.COMPENSATION_STATE_DONE


async def do(worker: RawWorker, token: bytes, key: str) -> pb.Ack:
    """Finish a step that can be undone."""
    step = pb.StepCompleted(key=key, result_json=f'"{key}"', compensable=True)
    return await worker.report(token, step_completed=step)


async def fail_for_good(
    service: Service, jobs: Producer, workers: Workers, **declared: Any
) -> tuple[RawWorker, str]:
    """Let a job with three steps, two of which can be undone, fail finally."""
    worker = await workers.connect(service.address, function(**declared))
    job_id = await jobs.start_job()
    first = await worker.take_one()
    await do(worker, first.token, "reserve")
    await worker.step(first.token, "look")
    await do(worker, first.token, "pay")
    await worker.fail(first.token, kind="Declined", message="no money", permanent=True)
    return worker, job_id


class TestOrder:
    async def test_in_reverse(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A worker is told what to undo, last first, with what the steps returned."""
        worker, job_id = await fail_for_good(service, jobs, workers)
        rolling = await jobs.get(job_id)

        turn = await worker.take_one()
        acks = [await worker.undo(turn.token, key) for key in turn.rollback.keys]
        acks.append(await worker.complete(turn.token))

        assert (ROLLING, DEAD) == (rolling.state, rolling.rollback.outcome)
        assert ["pay", "reserve"] == list(turn.rollback.keys)
        assert {"reserve": '"reserve"', "look": "1", "pay": '"pay"'} == {
            memo.key: memo.result_json for memo in turn.memo
        }
        assert [STORED] * 3 == [ack.state for ack in acks]
        job = await jobs.get(job_id)
        assert (DEAD, "Declined", 1) == (job.state, job.failure.kind, job.attempt)
        assert [("reserve", DONE), ("look", 0), ("pay", DONE)] == [
            (step.key, step.compensation) for step in job.steps
        ]
        assert (
            job.steps[0].compensate_time.ToDatetime() >= job.steps[2].compensate_time.ToDatetime()
        )

    async def test_nothing_to_undo(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A job without such steps is over at once."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await worker.step(first.token, "look")
        await worker.fail(first.token, permanent=True)

        assert DEAD == (await jobs.get(job_id)).state

    async def test_not_before_the_end(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """As long as attempts are left, steps stay done."""
        worker = await workers.connect(service.address)
        await jobs.start_job()
        first = await worker.take_one()
        await do(worker, first.token, "pay")
        await worker.fail(first.token)

        second = await worker.take_one()

        assert not second.HasField("rollback")
        assert (2, ["pay"]) == (second.attempt, [memo.key for memo in second.memo])


class TestInterrupted:
    async def test_goes_on(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Undoing that failed in the middle goes on behind what is undone."""
        worker, job_id = await fail_for_good(service, jobs, workers, max_attempts=2)
        first = await worker.take_one()
        await worker.undo(first.token, "pay")
        await worker.fail(first.token, kind="Busy", message="later")
        between = await jobs.get(job_id)

        second = await worker.take_one()

        assert (ROLLING, "Busy", "Declined") == (
            between.state,
            between.rollback.failure.kind,
            between.failure.kind,
        )
        assert ["reserve"] == list(second.rollback.keys)

    async def test_lost_worker(self, serve_jobs: ServeJobs, produce: Produce) -> None:
        """A worker that dies while it undoes is followed by another, which does the rest."""
        service = await serve_jobs(jobs_resume_window=0.2)
        jobs = await produce(service)
        async with raw_workers() as workers:
            dead, job_id = await fail_for_good(service, jobs, workers)
            first = await dead.take_one()
            await dead.undo(first.token, "pay")
            heir = await workers.connect(service.address)
            await dead.cut()

            second = await heir.take_one()
            await heir.undo(second.token, "reserve")
            await heir.complete(second.token)

            assert ["reserve"] == list(second.rollback.keys)
            assert DEAD == (await jobs.get(job_id)).state

    async def test_released(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A turn that is given back does not count."""
        worker, job_id = await fail_for_good(service, jobs, workers)
        first = await worker.take_one()
        during = (await jobs.get(job_id)).rollback.attempt
        await worker.release(first.token)

        after = (await jobs.get(job_id)).rollback.attempt

        assert (1, 0) == (during, after)

    async def test_repeated(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A step that is undone is not undone again, whoever says so."""
        worker, _ = await fail_for_good(service, jobs, workers)
        turn = await worker.take_one()
        await worker.undo(turn.token, "pay")

        again = await worker.undo(turn.token, "pay")

        assert DUPLICATE == again.state


class TestStuck:
    async def test_dead_letter(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Undoing that fails as often as the function may is stuck, and says why and where."""
        worker, job_id = await fail_for_good(service, jobs, workers, max_attempts=2)
        for _ in range(2):
            await worker.fail((await worker.take_one()).token, kind="Busy", message="never")

        job = await jobs.get(job_id)

        assert (DEAD, "Declined", "Busy", 2) == (
            job.state,
            job.failure.kind,
            job.rollback.failure.kind,
            job.rollback.attempt,
        )

    async def test_not_all_undone(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A worker that is done before everything is has failed."""
        worker, job_id = await fail_for_good(service, jobs, workers, max_attempts=1)
        turn = await worker.take_one()
        await worker.complete(turn.token)

        job = await jobs.get(job_id)

        assert (DEAD, "NotUndone") == (job.state, job.rollback.failure.kind)

    async def test_goes_on_when_retried(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """Somebody who retries a stuck job has the undoing go on."""
        worker, job_id = await fail_for_good(service, jobs, workers, max_attempts=1)
        await worker.fail((await worker.take_one()).token)
        await jobs.retry(job_id)

        turn = await worker.take_one()

        assert ["pay", "reserve"] == list(turn.rollback.keys)

    async def test_cancelled_and_stuck(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A job that was cancelled and cannot be undone says so as a dead letter."""
        worker = await workers.connect(service.address, function(max_attempts=1))
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await do(worker, first.token, "pay")
        await jobs.cancel(job_id, reason="wrong video", rollback=True)
        await worker.report(first.token, stopped=pb.Stopped())
        await worker.fail((await worker.take_one()).token, kind="Busy", message="never")

        job = await jobs.get(job_id)

        assert (DEAD, "Busy", CANCELLED) == (job.state, job.failure.kind, job.rollback.outcome)


class TestCancelled:
    async def test_after_the_stop(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A job that is cancelled with rollback is undone once its worker has stopped."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await do(worker, first.token, "pay")
        await jobs.cancel(job_id, reason="wrong video", rollback=True)
        await worker.report(first.token, stopped=pb.Stopped())
        turn = await worker.take_one()
        await worker.undo(turn.token, "pay")
        await worker.complete(turn.token)

        job = await jobs.get(job_id)

        assert ["pay"] == list(turn.rollback.keys)
        assert (CANCELLED, "wrong video", True) == (
            job.state,
            job.cancellation.reason,
            job.cancellation.rollback,
        )
        assert [DONE] == [step.compensation for step in job.steps]

    @pytest.mark.parametrize("rollback", [True, False])
    async def test_worker_lost(
        self, serve_jobs: ServeJobs, produce: Produce, rollback: bool
    ) -> None:
        """A worker that dies when it should stop has stopped."""
        service = await serve_jobs(jobs_resume_window=0.2)
        jobs = await produce(service)
        async with raw_workers() as workers:
            dead = await workers.connect(service.address)
            job_id = await jobs.start_job()
            await do(dead, (await dead.take_one()).token, "pay")
            await jobs.cancel(job_id, rollback=rollback)
            await dead.cut()

            job = await jobs.reaches(job_id, ROLLING if rollback else CANCELLED)

            assert DECLARED == job.steps[0].compensation


class TestRefused:
    async def test_another_step(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Only what can be undone is undone, and nothing else is done in such a turn."""
        worker, _ = await fail_for_good(service, jobs, workers)
        turn = await worker.take_one()

        acks = [
            await worker.undo(turn.token, "look"),
            await worker.undo(turn.token, "never"),
            await worker.step(turn.token, "another"),
        ]

        assert [REJECTED] * 3 == [ack.state for ack in acks]

    async def test_not_the_time(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """A turn that goes on undoes nothing."""
        worker = await workers.connect(service.address)
        await jobs.start_job()
        turn = await worker.take_one()
        await do(worker, turn.token, "pay")

        ack = await worker.undo(turn.token, "pay")

        assert REJECTED == ack.state
        assert 1 == await database.fetchval("SELECT compensation FROM jobs.steps")
