"""Overload is shed at once, and health answers all the same."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import grpc
import pytest

from mainstay.cache.v1 import cache_service_pb2 as cache_pb
from mainstay.errors import UnavailableError
from mainstay.errors_wire import translate
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from tests.integration.health.plain_http import ask
from tests.integration.shared.probe import Probe, probe_service

PATIENCE = 5.0
HOLD = cache_pb.GetRequest(namespace="hold")


async def take_all_slots(probe: Probe, count: int = 2) -> list[asyncio.Task[cache_pb.GetResponse]]:
    """Fill the service with calls that wait."""
    calls = [asyncio.create_task(probe.get("hold")) for _ in range(count)]
    async with asyncio.timeout(PATIENCE):
        for _ in calls:
            await probe.acts.entered.acquire()
    return calls


async def waits(probe: Probe, asked: job_pb.GetJobRequest) -> None:
    """Make a call whose policy says that it may wait."""
    await probe.channel.unary(probe.jobs.GetJob, asked)


@pytest.fixture
async def narrow() -> AsyncIterator[Probe]:
    """Run a service with room for two calls."""
    async with probe_service(max_concurrent_calls=2) as probe:
        yield probe


class TestAFullService:
    async def test_sheds_at_once(self, narrow: Probe) -> None:
        """UNAVAILABLE, OVERLOADED, and when to come back; without waiting for a slot."""
        held = await take_all_slots(narrow)
        began = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            await narrow.get("none")
        took = time.monotonic() - began
        narrow.acts.release.set()
        await asyncio.gather(*held)

        assert (caught.value.reason, caught.value.retry_after) == ("OVERLOADED", 0.2)
        assert took < 1.0

    async def test_health_and_operations_still_answer(self, narrow: Probe) -> None:
        """A full instance is alive and ready; taking it out would fill the others."""
        held = await take_all_slots(narrow)
        health = health_pb2_grpc.HealthStub(narrow.channel.raw)
        checked = await health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        port = int(narrow.service.ops_address.rpartition(":")[2])
        answers = [(await ask(port, path)).status for path in ("/livez", "/readyz", "/metrics")]
        narrow.acts.release.set()
        await asyncio.gather(*held)

        assert checked.status == health_pb2.HealthCheckResponse.SERVING
        assert answers == [200, 200, 200]

    async def test_streams_have_slots_of_their_own(self, narrow: Probe) -> None:
        """A stream gets in where calls fill every slot of theirs."""
        held = await take_all_slots(narrow)
        asked = job_pb.WatchJobRequest(job_id="none")
        states = [s async for s in narrow.channel.server_stream(narrow.jobs.WatchJob, asked)]
        narrow.acts.release.set()
        await asyncio.gather(*held)

        assert len(states) == 1

    async def test_long_polls_take_no_slots_of_calls(self, narrow: Probe) -> None:
        """However many of them wait, an ordinary call gets in, and the other way round."""
        asked = job_pb.GetJobRequest(job_id="hold")
        waiting = [asyncio.create_task(waits(narrow, asked)) for _ in range(4)]
        async with asyncio.timeout(PATIENCE):
            for _ in waiting:
                await narrow.acts.entered.acquire()
        held = await take_all_slots(narrow)
        with pytest.raises(UnavailableError):
            await narrow.get("none")
        await waits(narrow, job_pb.GetJobRequest(job_id="none"))
        narrow.acts.release.set()
        await asyncio.gather(*held, *waiting)

        assert [call.exception() for call in held] == [None, None]

    async def test_too_many_streams(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Streams are bounded too, and calls get in beside them."""
        monkeypatch.setattr("shared.service.MAX_STREAMS", 1)
        async with probe_service() as probe, AsyncExitStack() as stack:
            asked = job_pb.WatchJobRequest(job_id="hold")
            first = probe.jobs.WatchJob(asked)
            stack.callback(first.cancel)
            async with asyncio.timeout(PATIENCE):
                await probe.acts.entered.acquire()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await anext(aiter(probe.jobs.WatchJob(asked)))
            await probe.get("none")

        assert translate(caught.value).reason == "OVERLOADED"


async def end_well(probe: Probe) -> None:
    await probe.get("none")


async def fail(probe: Probe) -> None:
    with pytest.raises(Exception, match="what happened"):
        await probe.get("raise", "NotFoundError")


async def crash(probe: Probe) -> None:
    with pytest.raises(Exception, match="internal error"):
        await probe.get("crash")


async def send_junk(probe: Probe) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="cannot be parsed"):
        await probe.raw("/mainstay.cache.v1.CacheService/Get")(b"\xff\xff")


async def leave(probe: Probe) -> None:
    call = probe.cache.Get(HOLD)
    async with asyncio.timeout(PATIENCE):
        await probe.acts.entered.acquire()
    call.cancel()
    async with asyncio.timeout(PATIENCE):
        await probe.acts.left.acquire()


async def run_out_of_time(probe: Probe) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="did not end within"):
        await probe.cache.Set(cache_pb.SetRequest(namespace="hold"))
    async with asyncio.timeout(PATIENCE):
        await probe.acts.left.acquire()
        await probe.acts.entered.acquire()


class TestSlots:
    @pytest.mark.parametrize(
        "end", [end_well, fail, crash, send_junk, leave, run_out_of_time], ids=lambda f: f.__name__
    )
    async def test_come_back(self, narrow: Probe, end: Callable[[Probe], Awaitable[None]]) -> None:
        """However calls end, three times as many as there are slots find one."""
        for _ in range(6):
            await end(narrow)
        held = await take_all_slots(narrow)
        narrow.acts.release.set()
        await asyncio.gather(*held)

        assert [call.exception() for call in held] == [None, None]
