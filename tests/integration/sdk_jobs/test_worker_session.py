"""Jobs, attempts and requests: what a handler is promised, by the real service."""

import asyncio
from itertools import count
from pathlib import Path
from typing import Any

from mainstay import context
from mainstay.channel import Channel
from mainstay.jobs import (
    JobClient,
    JobContext,
    JobState,
    JsonValue,
    NonRetryableError,
    RetryAfterError,
)
from tests.integration.sdk_jobs.jobs_service import serving
from tests.integration.sdk_jobs.running_worker import running
from tests.integration.sdk_jobs.worker_under_test import PATIENCE, send, worker_for

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"


class TestJob:
    async def test_runs_its_steps_and_returns(self, jobs: JobClient, jobs_address: str) -> None:
        """What the handler did is what a watcher sees."""

        async def double(number: int) -> int:
            return number * 2

        async def work(job: JobContext) -> JsonValue:
            once = await job.step.run("once", double, job.data["number"])
            await job.progress(0.5, "half way")
            twice = await job.step.run("twice", double, once)
            return {"twice": twice}

        worker = worker_for(jobs_address, work)
        async with running(worker):
            await worker.ready()
            job = await jobs.wait_for_job(await send(jobs, number=3), timeout=PATIENCE)

        assert (JobState.SUCCEEDED, {"twice": 12}, 1) == (job.state, job.result, job.attempt)
        assert [("once", 6), ("twice", 12)] == [(step.key, step.result) for step in job.steps]
        assert job.progress is not None
        assert (0.5, "half way") == (job.progress.fraction, job.progress.message)

    async def test_waits_for_a_worker_that_has_room(
        self, jobs: JobClient, jobs_address: str
    ) -> None:
        """Many more jobs than a worker runs at once, and never more at once than it said."""
        at_once: list[int] = []
        now = 0

        async def work(job: JobContext) -> JsonValue:
            nonlocal now
            now += 1
            at_once.append(now)
            await job.step.run("turn", asyncio.sleep, 0.001)
            now -= 1
            return None

        worker = worker_for(jobs_address, work)
        async with running(worker):
            await worker.ready()
            job_ids = [await send(jobs) for _ in range(20)]
            ended = [await jobs.wait_for_job(job_id, timeout=PATIENCE) for job_id in job_ids]

        assert {JobState.SUCCEEDED} == {job.state for job in ended}
        assert 2 == max(at_once)


class TestFailedAttempt:
    async def test_is_followed_by_one_that_does_not_repeat_finished_steps(
        self, jobs: JobClient, jobs_address: str
    ) -> None:
        """The step ran once; its stored result is what the second attempt gets."""
        runs = count(1)

        async def numbered() -> int:
            return next(runs)

        async def work(job: JobContext) -> JsonValue:
            number = await job.step.run("numbered", numbered)
            if job.attempt == 1:
                raise OSError("disk full")
            return number

        worker = worker_for(jobs_address, work)
        async with running(worker):
            await worker.ready()
            job = await jobs.wait_for_job(await send(jobs), timeout=PATIENCE)

        assert (JobState.SUCCEEDED, 2, 1) == (job.state, job.attempt, job.result)
        assert [("numbered", 1)] == [(step.key, step.attempt) for step in job.steps]

    async def test_is_repeated_after_its_backoff_until_attempts_are_used_up(
        self, jobs: JobClient, jobs_address: str
    ) -> None:
        """Each wait is at least half of twice the one before; then the job is dead-lettered."""
        began: list[float] = []

        async def work(job: JobContext) -> JsonValue:
            began.append(asyncio.get_running_loop().time())
            raise OSError(f"attempt {job.attempt}")

        worker = worker_for(jobs_address, work, initial_backoff=0.2)
        async with running(worker):
            await worker.ready()
            job = await jobs.wait_for_job(await send(jobs), timeout=PATIENCE)

        assert (JobState.DEAD_LETTERED, 3, 3) == (job.state, job.attempt, len(began))
        assert job.failure is not None
        assert ("OSError", "attempt 3", False) == (
            job.failure.kind,
            job.failure.message,
            job.failure.permanent,
        )
        assert began[1] - began[0] >= 0.1
        assert began[2] - began[1] >= 0.2

    async def test_may_name_the_time_of_the_next(self, jobs: JobClient, jobs_address: str) -> None:
        """A provider that says 'in half a second' is asked again then, not by the backoff."""
        began: list[float] = []

        async def work(job: JobContext) -> JsonValue:
            began.append(asyncio.get_running_loop().time())
            if job.attempt == 1:
                raise RetryAfterError("quota used up", seconds=0.5)
            return None

        worker = worker_for(jobs_address, work, initial_backoff=0.01)
        async with running(worker):
            await worker.ready()
            await jobs.wait_for_job(await send(jobs), timeout=PATIENCE)

        assert began[1] - began[0] >= 0.5

    async def test_is_the_last_when_no_retry_can_help(
        self, jobs: JobClient, jobs_address: str
    ) -> None:
        """Dead-lettered at once, with what the function said."""

        async def work(job: JobContext) -> JsonValue:
            raise NonRetryableError("this is no video")

        worker = worker_for(jobs_address, work)
        async with running(worker):
            await worker.ready()
            job = await jobs.wait_for_job(await send(jobs), timeout=PATIENCE)

        assert (JobState.DEAD_LETTERED, 1) == (job.state, job.attempt)
        assert job.failure is not None
        assert ("this is no video", True) == (job.failure.message, job.failure.permanent)

    async def test_names_the_step_whose_result_is_no_json(
        self, jobs: JobClient, jobs_address: str
    ) -> None:
        """Permanent, and nothing is stored for the step."""

        async def tags() -> set[str]:
            return {"a"}

        async def work(job: JobContext) -> JsonValue:
            await job.step.run("tags", tags)
            return None

        worker = worker_for(jobs_address, work)
        async with running(worker):
            await worker.ready()
            job = await jobs.wait_for_job(await send(jobs), timeout=PATIENCE)

        assert (JobState.DEAD_LETTERED, ()) == (job.state, job.steps)
        assert job.failure is not None
        assert "the result of step 'tags' cannot be kept as JSON" in job.failure.message


class TestRequest:
    async def test_reaches_the_handler_and_what_it_calls(
        self, jobs: JobClient, jobs_address: str
    ) -> None:
        """One request id, one tenant, one trace, from the sender through a job into the next."""
        seen: list[context.RequestContext | None] = []

        async def work(job: JobContext) -> JsonValue:
            seen.append(context.current())
            async with Channel(jobs_address) as channel:
                return await job.step.run(
                    "follow up", follow_up, JobClient(channel), f"{job.id}/follow-up"
                )

        async def follow_up(client: JobClient, key: str) -> list[str]:
            accepted = await client.send_event("test/follow-up", {}, idempotency_key=key)
            return list(accepted.job_ids)

        async def remember(job: JobContext) -> JsonValue:
            seen.append(context.current())
            return None

        worker = worker_for(jobs_address, work)
        worker.function("remember", on="test/follow-up")(remember)
        async with running(worker):
            await worker.ready()
            sender = context.RequestContext(request_id="request-42", traceparent=TRACEPARENT)
            with context.use(sender):
                job_id = await send(jobs)
            first = await jobs.wait_for_job(job_id, timeout=PATIENCE)
            second = await jobs.wait_for_job(first.result[0], timeout=PATIENCE)

        assert ["request-42"] * 2 == [first.request_id, second.request_id]
        assert [("request-42", "acme", TRACE_ID)] * 2 == [
            (request.request_id, request.tenant, (request.traceparent or "")[3:35])
            for request in seen
            if request is not None
        ]


class TestHeartbeat:
    async def test_keeps_a_job_that_takes_longer_than_the_lease(
        self, postgres_url: str, jobs_policies: Path
    ) -> None:
        """Three leases long, on its first attempt."""
        lease: dict[str, Any] = {"jobs_session_lease": 0.6, "jobs_heartbeat_interval": 0.15}

        async def work(job: JobContext) -> JsonValue:
            await asyncio.sleep(1.8)  # the work itself
            return "done"

        async with serving(postgres_url, jobs_policies, **lease) as address:
            worker = worker_for(address, work)
            async with running(worker), Channel(address) as channel:
                await worker.ready()
                jobs = JobClient(channel)
                job = await jobs.wait_for_job(await send(jobs), timeout=PATIENCE)

        assert (JobState.SUCCEEDED, 1) == (job.state, job.attempt)
