"""The services as `mainstay up` would run them, and the example app on them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from cli.ports import free_port
from examples.video_app.fakes.pace import Pace
from examples.video_app.worker import build_worker
from mainstay import Mainstay
from services.cache.app import build as build_cache
from services.cache.settings import CacheSettings
from services.jobs.app import build as build_jobs
from services.jobs.settings import JobsSettings
from services.ratelimit.app import build as build_ratelimit
from services.ratelimit.settings import RateLimitSettings
from tests.integration.sdk_jobs.running_worker import running
from tests.integration.video_app.app_process import PATIENCE, ROOT

POLICIES = ROOT / "policies"


@pytest.fixture
async def addresses(redis_url: str, postgres_url: str) -> AsyncIterator[dict[str, str]]:
    """Run cache, rate limit and jobs service; the latter two need each other."""
    jobs_port = free_port()
    stores: dict[str, Any] = {
        "redis_url": redis_url,
        "postgres_url": postgres_url,
        "policies_dir": POLICIES,
    }
    async with AsyncExitStack() as stack:
        cache = build_cache(CacheSettings(cache_port=0, cache_ops_port=0, **stores))
        await stack.enter_async_context(cache.running())
        ratelimit = build_ratelimit(
            RateLimitSettings(
                ratelimit_port=0,
                ratelimit_ops_port=0,
                ratelimit_jobs_address=f"127.0.0.1:{jobs_port}",
                **stores,
            )
        )
        await stack.enter_async_context(ratelimit.running())
        jobs = build_jobs(
            JobsSettings(
                jobs_port=jobs_port,
                jobs_ops_port=0,
                jobs_ratelimit_address=ratelimit.address,
                jobs_resume_window=0.5,
                jobs_heartbeat_interval=1.0,
                postgres_url=postgres_url,
                policies_dir=POLICIES,
            )
        )
        await stack.enter_async_context(jobs.running())
        yield {
            "cache": cache.address,
            "ratelimit": ratelimit.address,
            "jobs": jobs.address,
        }


@pytest.fixture
async def mainstay(addresses: dict[str, str]) -> AsyncIterator[Mainstay]:
    """Connect to them as the tenant `acme`."""
    clients = Mainstay(
        cache=addresses["cache"],
        ratelimit=addresses["ratelimit"],
        jobs=addresses["jobs"],
        tenant="acme",
    )
    async with clients as mainstay:
        yield mainstay


@pytest.fixture
def pace() -> Pace:
    """Let the fakes of the worker in the test be quick."""
    return Pace(speed=50)


@pytest.fixture
async def worker_in_test(
    mainstay: Mainstay, addresses: dict[str, str], pace: Pace
) -> AsyncIterator[None]:
    """Run the app's worker in the process of the test."""
    worker = build_worker(mainstay, addresses["jobs"], pace)
    async with running(worker):
        await asyncio.wait_for(worker.ready(), PATIENCE)
        yield
