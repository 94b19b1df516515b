"""One cache process, which has to survive every hostile caller."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mainstay.cache.client import CacheClient
from mainstay.channel import Channel
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.faults.hostile.hostile_input import SOON, seconds_to_answer
from tests.integration.shared.service_process import ServiceProcess, cache_process


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(session_redis_url: str) -> AsyncIterator[ServiceProcess]:
    """Start one cache process that has to survive all of it."""
    async with cache_process(redis_url=session_redis_url, max_concurrent_calls=64) as process:
        await process.line("service_ready")
        yield process


@pytest.fixture
def address(service: ServiceProcess) -> str:
    return str(service.events("service_ready")[0]["address"])


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def goes_on(service: ServiceProcess, address: str) -> AsyncIterator[None]:
    """After the test: an ordinary call works, at once, and the process is the same and quiet."""
    yield
    took = await seconds_to_answer(address)
    async with Channel(address, timeout=5.0) as channel:
        cache = CacheClient(channel)
        await cache.set("n", "after", b"well")
        entry = await cache.get("n", "after")
        health = health_pb2_grpc.HealthStub(channel.raw)
        checked = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)

    assert took < SOON
    assert b"well" == getattr(entry, "value", None)
    assert checked.status == health_pb2.HealthCheckResponse.SERVING
    assert service.process.returncode is None
    loud = [line for line in service.lines if line["level"] in {"error", "fatal"}]
    service.lines[:] = [line for line in service.lines if line not in loud]
    assert loud == []
