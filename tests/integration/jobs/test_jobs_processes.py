"""The service as a process of its own, killed and stopped."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest

from mainstay.jobs.v1 import job_pb2
from tests.integration.jobs.conftest import POLICIES
from tests.integration.jobs.producer import producer
from tests.integration.jobs.raw_worker import raw_workers

StartProcess = Callable[[], Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
def port() -> int:
    """Find a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture
async def start_process(postgres_url: str, port: int) -> AsyncIterator[StartProcess]:
    """Start the service as `python -m services.jobs` and wait until it can be reached."""
    started: list[asyncio.subprocess.Process] = []

    async def start() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.jobs",
            cwd=POLICIES.parent,
            env=os.environ
            | {
                "MAINSTAY_POSTGRES_URL": postgres_url,
                "MAINSTAY_JOBS_PORT": str(port),
                "MAINSTAY_JOBS_OPS_PORT": "0",
                "MAINSTAY_LOG_LEVEL": "warning",
            },
        )
        started.append(process)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            async with asyncio.timeout(20):
                await channel.channel_ready()
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.wait()


class TestKilled:
    async def test_worker_goes_on(self, start_process: StartProcess, port: int) -> None:
        """A service that is killed and started again finds its workers, and these their jobs."""
        address = f"127.0.0.1:{port}"
        first = await start_process()
        async with raw_workers() as workers:
            worker = await workers.connect(address)
            async with producer(address, "acme") as jobs:
                job_id = await jobs.start_job()
                waiting = await jobs.start_job()
            assigned = await worker.take_one()
            await worker.step(assigned.token, "before")
            first.kill()
            await worker.end()
            await start_process()

            async with raw_workers() as others:
                again = await others.connect(
                    address, resume=worker.welcome.session, in_flight=[assigned.token]
                )
                await again.report(assigned.token, sequence=2, completed={"result_json": '"after"'})
                next_job = await again.take_one()
                async with producer(address, "acme") as jobs:
                    job = await jobs.get(job_id)

        assert list(again.welcome.lost_tokens) == []
        assert (job_pb2.JOB_STATE_SUCCEEDED, '"after"', 1) == (
            job.state,
            job.result_json,
            job.attempt,
        )
        assert ["before"] == [step.key for step in job.steps]
        assert waiting == next_job.job_id


class TestStopped:
    async def test_exit(self, start_process: StartProcess, port: int) -> None:
        """SIGTERM sends workers away and ends the process with 0, long before the grace is over."""
        process = await start_process()
        async with raw_workers() as workers:
            worker = await workers.connect(f"127.0.0.1:{port}")
            process.send_signal(signal.SIGTERM)
            await worker.next("go_away")
            async with asyncio.timeout(5):
                code = await process.wait()

        assert 0 == code
