"""Services and workers come and go, and no job is lost and no finished step run again."""

import asyncio
import signal
from itertools import count
from pathlib import Path

from mainstay.channel import Channel
from mainstay.jobs import (
    JobClient,
    JobContext,
    JobState,
    JsonValue,
)
from tests.integration.sdk_jobs.jobs_service import serving
from tests.integration.sdk_jobs.running_worker import running
from tests.integration.sdk_jobs.worker_process import said, worker_process
from tests.integration.sdk_jobs.worker_under_test import PATIENCE, Gate, send, worker_for


class TestRestartedService:
    async def test_finds_its_workers_at_work(self, postgres_url: str, jobs_policies: Path) -> None:
        """A handler that runs while the service is away notices nothing; no step runs twice."""
        gate = Gate()
        runs = count(1)

        async def numbered() -> int:
            return next(runs)

        async def work(job: JobContext) -> JsonValue:
            before = await job.step.run("before", numbered)
            await gate.wait()
            after = await job.step.run("after", numbered)
            return [before, after]

        async with serving(postgres_url, jobs_policies) as address, Channel(address) as channel:
            worker = worker_for(address, work)
            task = asyncio.create_task(worker.run())
            await worker.ready()
            job_id = await send(JobClient(channel))
            await gate.reached()
        gate.open()  # the report of the second step is made while nobody listens
        port = int(address.rpartition(":")[2])
        async with serving(postgres_url, jobs_policies, port=port), Channel(address) as channel:
            job = await JobClient(channel).wait_for_job(job_id, timeout=PATIENCE)
            worker.stop()
            await asyncio.wait_for(task, PATIENCE)

        assert (JobState.SUCCEEDED, 1, [1, 2]) == (job.state, job.attempt, job.result)

    async def test_is_found_again_by_watchers(self, postgres_url: str, jobs_policies: Path) -> None:
        """A watch goes on where it was, and sees the end."""
        gate = Gate()

        async def work(job: JobContext) -> JsonValue:
            await gate.wait()
            return None

        async with serving(postgres_url, jobs_policies) as address:
            worker = worker_for(address, work)
            task = asyncio.create_task(worker.run())
            channel = Channel(address)
            jobs = JobClient(channel)
            await worker.ready()
            job_id = await send(jobs)
            await gate.reached()
            watch = jobs.watch_job(job_id, timeout=PATIENCE)
            seen = [await anext(watch)]
        gate.open()
        port = int(address.rpartition(":")[2])
        async with serving(postgres_url, jobs_policies, port=port), channel:
            seen += [job async for job in watch]
            worker.stop()
            await asyncio.wait_for(task, PATIENCE)

        revisions = [job.revision for job in seen]
        assert sorted(set(revisions)) == revisions
        assert JobState.SUCCEEDED is seen[-1].state


class TestStop:
    async def test_lets_jobs_finish_and_takes_no_more(
        self, jobs: JobClient, jobs_address: str
    ) -> None:
        """What comes while a worker drains is for others."""
        gate = Gate()

        async def at_gate(job: JobContext) -> JsonValue:
            await gate.wait()
            return "first worker"

        async def at_once(job: JobContext) -> JsonValue:
            return "second worker"

        first = worker_for(jobs_address, at_gate)
        second = worker_for(jobs_address, at_once)
        async with running(first) as draining:
            await first.ready()
            in_flight = await send(jobs)
            await gate.reached()
            first.stop()
            async with running(second):
                await second.ready()
                later = await jobs.wait_for_job(await send(jobs), timeout=PATIENCE)
                gate.open()
                finished = await jobs.wait_for_job(in_flight, timeout=PATIENCE)
                await asyncio.wait_for(draining, PATIENCE)

        assert ("second worker", "first worker") == (later.result, finished.result)

    async def test_hands_back_what_does_not_finish_without_burning_an_attempt(
        self, jobs: JobClient, jobs_address: str
    ) -> None:
        """The next worker has it at once, as its first attempt."""
        gate = Gate()

        async def at_gate(job: JobContext) -> JsonValue:
            await gate.wait()
            return None

        async def at_once(job: JobContext) -> JsonValue:
            return job.attempt

        first = worker_for(jobs_address, at_gate, drain_seconds=0)
        async with running(first) as stopping:
            await first.ready()
            job_id = await send(jobs)
            await gate.reached()
            first.stop()
            await asyncio.wait_for(stopping, PATIENCE)
        second = worker_for(jobs_address, at_once)
        async with running(second):
            job = await jobs.wait_for_job(job_id, timeout=PATIENCE)

        assert (JobState.SUCCEEDED, 1) == (job.state, job.result)


class TestLostWorker:
    async def test_killed_between_two_steps_has_its_job_finished_elsewhere(
        self, jobs: JobClient, jobs_address: str, tmp_path: Path
    ) -> None:
        """By kill -9: the finished step is not run again, and its result is the first worker's."""
        ledger = tmp_path / "ledger"
        async with worker_process(jobs_address, ledger, "hang") as first:
            job_id = await send(jobs)
            await said(first, "between")
            first.kill()
            await first.wait()
        async with worker_process(jobs_address, ledger) as second:
            job = await jobs.wait_for_job(job_id, timeout=PATIENCE)

        assert JobState.SUCCEEDED is job.state
        assert [f"one of {first.pid}", f"two of {second.pid}"] == job.result
        lines = ledger.read_text().splitlines()
        assert (1, 1) == (lines.count("one begins"), lines.count("two begins"))

    async def test_that_was_only_silent_is_told_to_stop(
        self, jobs: JobClient, jobs_address: str, tmp_path: Path
    ) -> None:
        """Stopped past its lease and continued: its handler is cancelled, the other's result stays.

        The stopped process keeps its connection, so nothing but the lease tells that it is gone.
        """
        ledger = tmp_path / "ledger"
        async with worker_process(jobs_address, ledger, "hang") as first:
            job_id = await send(jobs)
            await said(first, "between")
            first.send_signal(signal.SIGSTOP)
            async with worker_process(jobs_address, ledger) as second:
                job = await jobs.wait_for_job(job_id, timeout=PATIENCE)
                first.send_signal(signal.SIGCONT)
                await said(first, "cancelled")
            after = await jobs.get_job(job_id)

        assert [f"one of {first.pid}", f"two of {second.pid}"] == job.result
        assert job == after

    async def test_terminated_drains_and_leaves_in_good_order(
        self, jobs: JobClient, jobs_address: str, tmp_path: Path
    ) -> None:
        """SIGTERM, as every orchestrator sends it first."""
        async with worker_process(jobs_address, tmp_path / "ledger") as process:
            job = await jobs.wait_for_job(await send(jobs), timeout=PATIENCE)
            process.terminate()

            assert 0 == await asyncio.wait_for(process.wait(), PATIENCE)
        assert JobState.SUCCEEDED is job.state

    async def test_terminated_does_not_wait_for_its_threads(
        self, jobs: JobClient, jobs_address: str, tmp_path: Path
    ) -> None:
        """A step that blocks for a minute: the job goes back and the process ends all the same."""
        async with worker_process(jobs_address, tmp_path / "ledger", "block") as process:
            job_id = await send(jobs)
            await said(process, "blocks")
            process.terminate()

            assert 0 == await asyncio.wait_for(process.wait(), PATIENCE)
        assert (await jobs.get_job(job_id)).state in {JobState.QUEUED, JobState.RETRYING}
