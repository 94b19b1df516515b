"""A job from its event to its end, as producers and workers see it."""

import json
import time

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.producer import VIDEO, Producer, video_event
from tests.integration.jobs.raw_worker import Workers, function, seconds


class TestHappyPath:
    async def test_event_to_result(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """An event starts a job, a worker does its steps, and the result is kept."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job(request_id="req-life")
        assigned = await worker.take_one()
        await worker.step(assigned.token, "probe", '{"codec": "h264"}')
        await worker.step(assigned.token, "transcode", '"done"')
        await worker.complete(assigned.token, '{"ok": true}')

        job = await jobs.get(job_id)

        assert job_pb2.JOB_STATE_SUCCEEDED == job.state
        assert '{"ok": true}' == job.result_json
        assert [("probe", '{"codec": "h264"}', 1), ("transcode", '"done"', 1)] == [
            (step.key, step.result_json, step.attempt) for step in job.steps
        ]
        assert ("process-video", "req-life", "") == (job.function, job.request_id, job.worker)
        assert not job.HasField("failure")
        assert job.create_time.ToDatetime() <= job.start_time.ToDatetime()
        assert job.start_time.ToDatetime() <= job.end_time.ToDatetime()

    async def test_what_a_worker_gets(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A worker gets the payload as it was sent, and the call that sent it."""
        payload = '{ "duration_seconds" : 1.50,' + json.dumps(VIDEO)[1:]
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        worker = await workers.connect(service.address)

        job_id = await jobs.start_job(
            video_event(data=payload), request_id="req-2", metadata=(("traceparent", trace),)
        )
        assigned = await worker.take_one()

        assert (
            job_id,
            "process-video",
            1,
            3,
            "video/upload.completed",
            payload,
            "req-2",
            trace[:35],
            "acme",
        ) == (
            assigned.job_id,
            assigned.function,
            assigned.attempt,
            assigned.max_attempts,
            assigned.event_name,
            assigned.data_json,
            assigned.request_id,
            assigned.traceparent[:35],
            assigned.tenant,
        )

    async def test_running(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A job that runs says who has it and how far it is."""
        worker = await workers.connect(service.address, worker="transcoder-1")
        job_id = await jobs.start_job()
        assigned = await worker.take_one()
        await worker.report(
            assigned.token, progress=pb.ProgressReported(fraction=0.25, message="probing")
        )

        job = await jobs.get(job_id)

        assert (job_pb2.JOB_STATE_RUNNING, "transcoder-1") == (job.state, job.worker)
        assert (0.25, "probing") == (job.progress.fraction, job.progress.message)
        assert not job.HasField("ready_time")

    async def test_two_functions(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """An event starts one job for every function that it triggers."""
        worker = await workers.connect(
            service.address, function("make-thumbnails"), function("process-video")
        )
        (accepted,) = await jobs.send(video_event())
        taken = await worker.take(2)

        assert set(accepted.job_ids) == {job.job_id for job in taken}
        assert {"make-thumbnails", "process-video"} == {job.function for job in taken}

    async def test_no_function(self, jobs: Producer) -> None:
        """An event that triggers nothing is accepted and starts nothing."""
        (accepted,) = await jobs.send(video_event())

        assert accepted.event_id
        assert list(accepted.job_ids) == []

    async def test_job_waits_for_a_worker(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A function outlives its workers: jobs wait for the next one."""
        first = await workers.connect(service.address)
        await first.say_goodbye()
        job_id = await jobs.start_job()
        waiting = await jobs.get(job_id)

        second = await workers.connect(service.address)
        assigned = await second.take_one()

        assert (job_pb2.JOB_STATE_QUEUED, 0) == (waiting.state, waiting.attempt)
        assert waiting.HasField("ready_time")
        assert job_id == assigned.job_id


class TestRetries:
    async def test_next_attempt(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A failed attempt is followed by another, which gets the finished steps."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await worker.step(first.token, "b", '"1"')
        await worker.step(first.token, "a", '"2"')
        await worker.fail(first.token, kind="Timeout", message="too slow")
        second = await worker.take_one()

        job = await jobs.get(job_id)

        assert (2, 3) == (second.attempt, second.max_attempts)
        assert [("b", '"1"'), ("a", '"2"')] == [
            (memo.key, memo.result_json) for memo in second.memo
        ]
        assert ("Timeout", "too slow", False) == (
            job.failure.kind,
            job.failure.message,
            job.failure.permanent,
        )

    async def test_dead_letter(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """After the last attempt a job is a dead letter and stays to be looked at."""
        worker = await workers.connect(service.address, function(max_attempts=2))
        job_id = await jobs.start_job()
        for attempt in (1, 2):
            assigned = await worker.take_one()
            assert attempt == assigned.attempt
            await worker.fail(assigned.token, message=f"failure {attempt}")

        job = await jobs.get(job_id)

        assert (job_pb2.JOB_STATE_DEAD_LETTERED, 2, "failure 2") == (
            job.state,
            job.attempt,
            job.failure.message,
        )
        assert job.HasField("end_time")

    async def test_permanent(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A failure that no retry can heal makes a dead letter at once."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        assigned = await worker.take_one()
        await worker.fail(assigned.token, permanent=True)

        job = await jobs.get(job_id)

        assert (job_pb2.JOB_STATE_DEAD_LETTERED, 1, 3) == (job.state, job.attempt, job.max_attempts)
        assert job.failure.permanent

    async def test_backoff(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A retry waits for its time, and is begun then without a poll."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await worker.fail(first.token, retry_after=seconds(0.4))
        waiting = await jobs.get(job_id)

        second = await worker.take_one()

        assert (job_pb2.JOB_STATE_RETRYING, 2) == (waiting.state, second.attempt)
        assert time.time() >= waiting.ready_time.ToMicroseconds() / 1e6

    async def test_success_after_failure(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A job that succeeds in the end still says why an attempt had failed."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        await worker.fail((await worker.take_one()).token, message="first")
        await worker.complete((await worker.take_one()).token, "7")

        job = await jobs.get(job_id)

        assert (job_pb2.JOB_STATE_SUCCEEDED, "7", "first") == (
            job.state,
            job.result_json,
            job.failure.message,
        )

    async def test_newest_declaration(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A new declaration of a function counts for jobs accepted after it, not before."""
        await workers.connect(service.address, function(max_attempts=2))
        before = await jobs.start_job()
        await workers.connect(service.address, function(max_attempts=5))
        after = await jobs.start_job()

        allowed = [(await jobs.get(job_id)).max_attempts for job_id in (before, after)]

        assert [2, 5] == allowed


class TestRelease:
    async def test_first_attempt(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A job that is given back waits as if it had not been begun."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        await worker.release((await worker.take_one()).token)
        waiting = await jobs.get(job_id)

        again = await worker.take_one()

        assert (job_pb2.JOB_STATE_QUEUED, 0) == (waiting.state, waiting.attempt)
        assert 1 == again.attempt

    async def test_later_attempt(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A later attempt that is given back is not burnt either."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        await worker.fail((await worker.take_one()).token)
        await worker.release((await worker.take_one()).token)
        waiting = await jobs.get(job_id)

        again = await worker.take_one()

        assert (job_pb2.JOB_STATE_RETRYING, 1) == (waiting.state, waiting.attempt)
        assert 2 == again.attempt
