"""A job draws on its rate when it starts, not when it goes on after a wait."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mainstay.jobs.v1 import function_pb2, job_pb2
from services.ratelimit.app import build
from services.ratelimit.settings import RateLimitSettings
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.raw_worker import Workers, function, seconds

POLICY = """
version: 1
on_failure: closed
limits:
  - name: slow
    endpoints: [slow]
    default: 2/h
  - name: others
    endpoints: ["*"]
    default: unlimited
"""


@pytest.fixture
async def target(redis_url: str, tmp_path: Path) -> AsyncIterator[str]:
    """Run a rate limit service with a small budget and return its address."""
    (tmp_path / "ratelimit.yaml").write_text(POLICY)
    settings = RateLimitSettings.model_validate(
        {
            "redis_url": redis_url,
            "policies_dir": tmp_path,
            "ratelimit_port": 0,
            "ratelimit_ops_port": 0,
        }
    )
    async with build(settings).running() as service:
        yield service.address


class TestJobThatWaits:
    async def test_goes_on(
        self, target: str, serve_jobs: ServeJobs, produce: Produce, workers: Workers
    ) -> None:
        """With its budget used up, a job goes on after each wait; one that has to start waits."""
        service = await serve_jobs(jobs_ratelimit_address=target)
        jobs = await produce(service)
        limited = function()
        limited.rate_limit.CopyFrom(function_pb2.RateLimit(endpoint="slow"))
        worker = await workers.connect(service.address, limited)
        first, second = await jobs.start_job(), await jobs.start_job()
        taken = {job.job_id: job.token for job in await worker.take(2)}
        third = await jobs.start_job()
        await worker.credit(1)
        for number in range(3):
            key = f"nap-{number}"
            await worker.wait_for(taken[first], key, sleep={"duration": seconds(0.01)})
            await worker.suspend(taken[first], key)
            again = await worker.job()
            assert first == again.job_id
            taken[first] = again.token
            await worker.credit(1)
        await worker.complete(taken[first])
        await worker.complete(taken[second])

        assert job_pb2.JOB_STATE_SUCCEEDED == (await jobs.get(first)).state
        assert job_pb2.JOB_STATE_QUEUED == (await jobs.get(third)).state
