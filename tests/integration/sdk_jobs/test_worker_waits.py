"""Waits, children, rollback and cancellation, from the decorator to the database and back."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from mainstay.jobs import (
    ChildFailedError,
    JobClient,
    JobContext,
    JobState,
    JsonValue,
    NonRetryableError,
    StepKind,
    Worker,
)
from tests.integration.sdk_jobs.running_worker import running
from tests.integration.sdk_jobs.worker_under_test import PATIENCE, Gate, send


@dataclass(frozen=True)
class Order:
    """What the functions of these tests are given."""

    number: int = 0


@pytest.fixture
def worker(jobs_address: str) -> Worker:
    """Return a worker without functions, with room for one job."""
    return Worker(jobs_address, name="one-at-a-time", tenant="*", concurrency=1)


@pytest.fixture
async def started(worker: Worker) -> AsyncIterator[asyncio.Event]:
    """Run the worker once the test has given it its functions."""
    start = asyncio.Event()

    async def run() -> None:
        await start.wait()
        async with running(worker):
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    yield start
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def begin(worker: Worker, started: asyncio.Event) -> None:
    """Start the worker and wait until the service knows it."""
    started.set()
    await asyncio.wait_for(worker.ready(), PATIENCE)


async def until(jobs: JobClient, job_id: str, state: JobState) -> None:
    """Wait until the job is in a state."""
    async with asyncio.timeout(PATIENCE):
        async for job in jobs.watch_job(job_id):
            if job.state is state:
                return


class TestWaitingJob:
    async def test_leaves_its_worker_to_others(
        self, jobs: JobClient, worker: Worker, started: asyncio.Event
    ) -> None:
        """With room for one, another job ends while the first one waits for a signal."""

        @worker.function("work", on="test/work")
        async def work(job: JobContext, order: Order) -> JsonValue:
            if order.number == 1:
                signal = await job.step.wait_for_signal("go", "go", timeout=60)
                return signal.data if signal else None
            return "passed"

        await begin(worker, started)
        first = await send(jobs, number=1)
        await until(jobs, first, JobState.WAITING)
        second = await jobs.wait_for_job(await send(jobs, number=2), timeout=PATIENCE)
        await jobs.signal_job(first, "go", {"by": "ann"})
        ended = await jobs.wait_for_job(first, timeout=PATIENCE)

        assert ("passed", {"by": "ann"}, 1) == (second.result, ended.result, ended.attempt)
        assert [("go", StepKind.SIGNAL)] == [(step.key, step.kind) for step in ended.steps]

    async def test_sleeps_and_hears_of_events(
        self, jobs: JobClient, worker: Worker, started: asyncio.Event
    ) -> None:
        """Each is a step, in the order in which they were over."""

        @worker.function("work", on="test/work")
        async def work(job: JobContext) -> JsonValue:
            async def nap() -> None:
                await job.step.sleep("nap", 2.1)

            async def hear() -> JsonValue:
                event = await job.step.wait_for_event(
                    "follow-up", "test/follow-up", match={"to": {"id": 7}}, timeout=60
                )
                return event.data if event else None

            _, heard, none = await asyncio.gather(
                nap(), hear(), job.step.wait_for_event("none", "test/follow-up", timeout=2.5)
            )
            return [heard, none is None]

        await begin(worker, started)
        job_id = await send(jobs)
        await until(jobs, job_id, JobState.WAITING)
        await jobs.send_event("test/follow-up", {"to": {"id": 7, "more": 1}})
        job = await jobs.wait_for_job(job_id, timeout=PATIENCE)

        assert (JobState.SUCCEEDED, 1) == (job.state, job.attempt)
        assert {"nap", "follow-up", "none"} == {step.key for step in job.steps}
        assert {"to": {"id": 7, "more": 1}} == job.result[0]

    async def test_is_joined_by_the_jobs_it_has_invoked(
        self, jobs: JobClient, worker: Worker, started: asyncio.Event
    ) -> None:
        """Both run on the worker that their parent has left; one of them fails."""

        @worker.function("chunk", retries=0)
        async def chunk(job: JobContext, order: Order) -> JsonValue:
            if order.number < 0:
                raise OSError("no such chunk")
            return order.number * 2

        @worker.function("work", on="test/work")
        async def work(job: JobContext) -> JsonValue:
            async def bad() -> list[str]:
                try:
                    return [await job.step.invoke("bad", "chunk", Order(number=-1))]
                except ChildFailedError as error:
                    return [error.state, error.kind, error.reason]

            good = job.step.invoke("good", "chunk", Order(number=21))
            return list(await asyncio.gather(good, bad()))

        await begin(worker, started)
        job = await jobs.wait_for_job(await send(jobs), timeout=PATIENCE)

        assert [42, ["dead_lettered", "OSError", "no such chunk"]] == job.result
        assert [StepKind.INVOKE] * 2 == [step.kind for step in job.steps]

    async def test_cannot_wait_for_itself(
        self, jobs: JobClient, worker: Worker, started: asyncio.Event
    ) -> None:
        """The refusal names the way; no retry can help."""

        @worker.function("work", on="test/work")
        async def work(job: JobContext) -> None:
            await job.step.invoke("again", "work")

        await begin(worker, started)
        job = await jobs.wait_for_job(await send(jobs), timeout=PATIENCE)

        assert job.failure is not None
        assert ("StepRejectedError", True) == (job.failure.kind, job.failure.permanent)
        assert "work → work" in job.failure.message


class TestSentEvent:
    async def test_starts_a_job_of_the_same_tenant_and_request(
        self, jobs: JobClient, worker: Worker, started: asyncio.Event
    ) -> None:
        """Once, whatever becomes of the step."""

        @worker.function("work", on="test/work")
        async def work(job: JobContext) -> JsonValue:
            accepted = await job.step.send_event("tell", "test/follow-up", {"from": job.id})
            return accepted.job_ids[0]

        @worker.function("follow-up", on="test/follow-up")
        async def follow_up(job: JobContext) -> JsonValue:
            return [job.tenant, job.request_id, job.data["from"]]

        await begin(worker, started)
        first = await jobs.wait_for_job(await send(jobs), timeout=PATIENCE)
        second = await jobs.wait_for_job(first.result, timeout=PATIENCE)

        assert ["acme", first.request_id, first.job_id] == second.result


class TestRollback:
    async def test_undoes_in_reverse_and_shows_it(
        self, jobs: JobClient, worker: Worker, started: asyncio.Event
    ) -> None:
        """After the last attempt; the job is dead-lettered for the failure that began it."""
        undone: list[str] = []

        @worker.function("work", on="test/work", retries=0)
        async def work(job: JobContext) -> JsonValue:
            await job.step.run("reserve", lambda: "seat 5", compensate=undone.append)
            await job.step.run("charge", lambda: "5 €", compensate=undone.append)
            raise NonRetryableError("sold out")

        await begin(worker, started)
        job = await jobs.wait_for_job(await send(jobs), timeout=PATIENCE)

        assert (JobState.DEAD_LETTERED, ["5 €", "seat 5"]) == (job.state, undone)
        assert job.failure is not None
        assert "sold out" == job.failure.message

    async def test_that_fails_is_tried_again_without_repeating(
        self, jobs: JobClient, worker: Worker, started: asyncio.Event
    ) -> None:
        """What was undone stays undone."""
        tries: list[str] = []

        async def undo(what: str) -> None:
            tries.append(what)
            if tries.count("seat 5") == 1:
                raise OSError("bank closed")

        @worker.function("work", on="test/work", retries=2, initial_backoff=0.05)
        async def work(job: JobContext) -> JsonValue:
            await job.step.run("reserve", lambda: "seat 5", compensate=undo)
            await job.step.run("charge", lambda: "5 €", compensate=undo)
            raise NonRetryableError("sold out")

        await begin(worker, started)
        job = await jobs.wait_for_job(await send(jobs), timeout=PATIENCE)

        assert JobState.DEAD_LETTERED is job.state
        assert ["5 €", "seat 5", "seat 5"] == tries


class TestCancelledJob:
    async def test_ends_its_function(
        self, jobs: JobClient, worker: Worker, started: asyncio.Event
    ) -> None:
        """Which is told why, and does what it has to before it ends."""
        gate = Gate()
        heard: list[tuple[str, bool]] = []

        @worker.function("work", on="test/work")
        async def work(job: JobContext) -> JsonValue:
            try:
                await gate.wait()
            except asyncio.CancelledError as cancelled:
                heard.append((str(cancelled), job.cancelled))
                raise
            return None

        await begin(worker, started)
        job_id = await send(jobs)
        await gate.reached()
        await jobs.cancel_job(job_id, reason="changed my mind")
        job = await jobs.wait_for_job(job_id, timeout=PATIENCE)

        assert JobState.CANCELLED is job.state
        assert [(f"job {job_id} was cancelled: changed my mind", True)] == heard

    async def test_is_undone_when_that_is_asked_for(
        self, jobs: JobClient, worker: Worker, started: asyncio.Event
    ) -> None:
        """As after a failure, and then it is cancelled."""
        gate, undone = Gate(), list[str]()

        @worker.function("work", on="test/work")
        async def work(job: JobContext) -> JsonValue:
            await job.step.run("reserve", lambda: "seat 5", compensate=undone.append)
            await gate.wait()
            return None

        await begin(worker, started)
        job_id = await send(jobs)
        await gate.reached()
        await jobs.cancel_job(job_id, reason="changed my mind", rollback=True)
        job = await jobs.wait_for_job(job_id, timeout=PATIENCE)

        assert (JobState.CANCELLED, ["seat 5"]) == (job.state, undone)


class TestTurnThatTakesTooLong:
    async def test_fails(self, jobs: JobClient, worker: Worker, started: asyncio.Event) -> None:
        """By the worker's own hand, before the service has to."""

        @worker.function("work", on="test/work", retries=0, timeout=0.2)
        async def work(job: JobContext) -> JsonValue:
            return await asyncio.Event().wait()

        await begin(worker, started)
        job = await jobs.wait_for_job(await send(jobs), timeout=PATIENCE)

        assert job.failure is not None
        assert ("TimedOut", "this turn took longer than 0.2 s") == (
            job.failure.kind,
            job.failure.message,
        )


class TestProgress:
    async def test_carries_partial_results(
        self, jobs: JobClient, worker: Worker, started: asyncio.Event
    ) -> None:
        """The last one stays while later news has none."""

        @worker.function("work", on="test/work")
        async def work(job: JobContext) -> JsonValue:
            await job.progress(0.4, "transcribing", partial={"text": "Good eve"})
            await job.step.run("one", lambda: 1)
            await job.progress(0.9)
            return None

        await begin(worker, started)
        job = await jobs.wait_for_job(await send(jobs), timeout=PATIENCE)

        assert job.progress is not None
        assert (0.9, {"text": "Good eve"}) == (job.progress.fraction, job.progress.partial)
