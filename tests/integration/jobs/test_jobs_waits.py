"""Steps that wait: the worker is free meanwhile, and the job goes on where it was."""

import asyncio
import json
from uuid import UUID

import asyncpg

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from services.jobs.job import JobId
from services.jobs.postgres_waits import finish_waits
from services.jobs.waiting import Done
from shared.service import Service
from tests.integration.jobs.producer import VIDEO, Producer, video_event
from tests.integration.jobs.raw_worker import PATIENCE, RawWorker, Workers, function, seconds

WAITING, RUNNING = job_pb2.JOB_STATE_WAITING, job_pb2.JOB_STATE_RUNNING
QUEUED, SUCCEEDED = job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_SUCCEEDED
STORED, DUPLICATE, REJECTED = pb.ACK_STATE_STORED, pb.ACK_STATE_DUPLICATE, pb.ACK_STATE_REJECTED

BLOCKED = """
SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))
"""
HOUR = pb.SleepWait(duration=seconds(3600))
WAKE = pb.EventWait(name="video/upload.completed", match_json='{"video_id": "v-2"}')


def other_video(video_id: str = "v-2") -> str:
    """Return the payload of another video."""
    return json.dumps(VIDEO | {"video_id": video_id})


class TestParked:
    async def test_nobody_has_it(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A job that waits is in nobody's hands and says what for."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        assigned = await worker.take_one()
        await worker.wait_for(assigned.token, "nap", sleep=HOUR)
        ack = await worker.suspend(assigned.token, "nap")

        job = await jobs.get(job_id)

        assert (STORED, WAITING, "", 1) == (ack.state, job.state, job.worker, job.attempt)
        assert not job.HasField("ready_time")
        (wait,) = job.waits
        assert ("nap", job_pb2.STEP_KIND_SLEEP) == (wait.key, wait.kind)
        assert 3500 < wait.due_time.ToSeconds() - job.create_time.ToSeconds() < 3700
        assert await worker.beat(assigned.token) == [assigned.token]

    async def test_sleep(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """After a sleep the same attempt goes on, behind the step that slept."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await worker.step(first.token, "probe")
        nap = pb.SleepWait(duration=seconds(0.3))
        await worker.wait_for(first.token, "nap", sleep=nap)
        await worker.suspend(first.token, "nap")

        second = await worker.take_one()
        await worker.complete(second.token)

        assert 1 == second.attempt
        assert [("probe", "1", 1), ("nap", "null", 2)] == [
            (memo.key, memo.result_json, memo.kind) for memo in second.memo
        ]
        job = await jobs.get(job_id)
        assert (SUCCEEDED, ["probe", "nap"]) == (job.state, [step.key for step in job.steps])
        assert job_pb2.STEP_KIND_SLEEP == job.steps[1].kind

    async def test_event(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """An event that fits wakes the job, with what the event says; another does not."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await worker.wait_for(first.token, "other", event=WAKE)
        await worker.suspend(first.token, "other")
        await workers.connect(service.address, function("other-function"), tenant="globex")
        await jobs.send(video_event(data=other_video("v-3")))
        assert WAITING == (await jobs.get(job_id)).state

        (sent,) = await jobs.send(video_event(data=other_video()))
        woken = await jobs.reaches(job_id, WAITING)
        await worker.credit(3)
        taken = [await worker.job() for _ in range(3)]

        assert job_id == woken.job_id
        (second,) = [job for job in taken if job.job_id == job_id]
        (memo,) = second.memo
        result = json.loads(memo.result_json)
        assert (sent.event_id, "video/upload.completed", "v-2") == (
            result["event_id"],
            result["name"],
            result["data"]["video_id"],
        )

    async def test_one_is_enough(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Of several waits the first that is over wakes the job; the others go on."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await worker.wait_for(first.token, "long", sleep=HOUR)
        await worker.wait_for(first.token, "go", signal=pb.SignalWait(name="go"))
        await worker.suspend(first.token, "long", "go")
        await jobs.signal(job_id, "go", "7")

        second = await worker.take_one()
        ack = await worker.suspend(second.token, "long")

        assert [("go", '{"data":7}')] == [(memo.key, memo.result_json) for memo in second.memo]
        job = await jobs.get(job_id)
        assert (STORED, WAITING, ["long"]) == (ack.state, job.state, [w.key for w in job.waits])


class TestWokenAtOnce:
    async def test_done_before_the_suspension(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """What has come while the function still ran is found when it suspends."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await worker.wait_for(first.token, "go", signal=pb.SignalWait(name="go"))
        await jobs.signal(job_id, "go", "1")
        running = await jobs.get(job_id)

        await worker.suspend(first.token, "go")
        second = await worker.take_one()

        assert RUNNING == running.state
        assert ["go"] == [step.key for step in running.steps]
        assert ["go"] == [memo.key for memo in second.memo]

    async def test_signal_before_the_wait(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A signal that came too early is kept for the step, also when both come in one batch."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        for number in (1, 2):
            await jobs.signal(job_id, "go", str(number))
        go = pb.SignalWait(name="go")
        await worker.report_all(
            worker.make_report(first.token, wait_begun=pb.WaitBegun(key="a", signal=go)),
            worker.make_report(first.token, wait_begun=pb.WaitBegun(key="b", signal=go)),
            worker.make_report(first.token, wait_begun=pb.WaitBegun(key="c", signal=go)),
            worker.make_report(first.token, suspended=pb.Suspended(keys=["a", "b", "c"])),
        )

        second = await worker.take_one()

        assert {"a": '{"data":1}', "b": '{"data":2}'} == {
            memo.key: memo.result_json for memo in second.memo
        }
        assert ["c"] == [wait.key for wait in (await jobs.get(job_id)).waits]


class TestCrossing:
    async def test_done_while_it_suspends(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """What comes at the very moment of the suspension, and is stored first, is not missed."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await worker.wait_for(first.token, "go", signal=pb.SignalWait(name="go"))
        async with database.transaction():
            await finish_waits(database, [Done(job_id=JobId(UUID(job_id)), key="go", result="1")])
            suspending = asyncio.create_task(worker.suspend(first.token, "go"))
            await blocked(database)
        await suspending

        second = await worker.take_one()

        assert [("go", "1")] == [(memo.key, memo.result_json) for memo in second.memo]


async def blocked(database: asyncpg.Connection) -> None:
    """Wait until somebody waits for what this connection has locked."""
    async with asyncio.timeout(PATIENCE):
        while not await database.fetchval(BLOCKED):
            # What it has read once of the activity stays the same in a transaction.
            await database.execute("SELECT pg_sleep(0.01), pg_stat_clear_snapshot()")


class TestResumedTurn:
    async def test_released(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A turn that goes on with an attempt gives none back: the job waits for a worker again."""
        worker, second = await self.resume(service, jobs, workers)
        await worker.release(second.token)
        waiting = await jobs.get(second.job_id)

        third = await worker.take_one()

        assert (WAITING, 1) == (waiting.state, waiting.attempt)
        assert waiting.HasField("ready_time")
        assert 1 == third.attempt

    async def test_failed(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Its failure is that of the attempt, and the next one begins."""
        worker, second = await self.resume(service, jobs, workers)
        await worker.fail(second.token)

        third = await worker.take_one()

        assert (2, ["go"]) == (third.attempt, [memo.key for memo in third.memo])

    @staticmethod
    async def resume(
        service: Service, jobs: Producer, workers: Workers
    ) -> tuple[RawWorker, pb.AssignedJob]:
        """Let a job wait and go on."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await worker.wait_for(first.token, "go", signal=pb.SignalWait(name="go"))
        await worker.suspend(first.token, "go")
        await jobs.signal(job_id, "go")
        return worker, await worker.take_one()


class TestRepetition:
    async def test_same_key(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A step that waits already waits on as before, also in the next attempt."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await worker.wait_for(first.token, "nap", sleep=HOUR)
        before = (await jobs.get(job_id)).waits[0].due_time
        await worker.fail(first.token)
        second = await worker.take_one()

        ack = await worker.wait_for(second.token, "nap", sleep=pb.SleepWait(duration=seconds(1)))

        assert DUPLICATE == ack.state
        assert [before] == [wait.due_time for wait in (await jobs.get(job_id)).waits]
        assert STORED == (await worker.suspend(second.token, "nap")).state

    async def test_suspended_again(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A suspension whose answer was lost is known."""
        worker = await workers.connect(service.address)
        await jobs.start_job()
        first = await worker.take_one()
        await worker.wait_for(first.token, "nap", sleep=HOUR)
        await worker.suspend(first.token, "nap")

        again = await worker.report(first.token, sequence=2, suspended=pb.Suspended(keys=["nap"]))

        assert DUPLICATE == again.state


class TestBadInput:
    async def test_nothing_waits(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A job cannot rest for a step that has not begun to wait; it stays the worker's."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()

        ack = await worker.suspend(first.token, "nap")

        assert REJECTED == ack.state
        assert "'nap' has not begun to wait" in ack.message
        assert RUNNING == (await jobs.get(job_id)).state


class TestEnd:
    async def test_nothing_is_left(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """A job that ends takes what it waits for, and what was kept for it, along."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await worker.wait_for(first.token, "nap", sleep=HOUR)
        await jobs.signal(job_id, "unheard", "1")
        await worker.complete(first.token)

        left = [
            await database.fetchval(f"SELECT count(*) FROM jobs.{table}")
            for table in ("jobs", "leases", "waits", "signals", "steps", "ready")
        ]

        assert [0] * 6 == left
        assert SUCCEEDED == (await jobs.get(job_id)).state

    async def test_partial_result(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """What there was of a result is kept beside the result."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await worker.report(
            first.token,
            progress=pb.ProgressReported(fraction=0.5, message="half", partial_json='["a"]'),
        )
        await worker.report(first.token, progress=pb.ProgressReported(fraction=0.7))
        running = await jobs.get(job_id)
        await worker.complete(first.token)

        job = await jobs.get(job_id)

        assert [(0.7, '["a"]')] * 2 == [
            (each.progress.fraction, each.progress.partial_json) for each in (running, job)
        ]
