"""The standard health protocol, and a Watch that a stuck watcher cannot wedge."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import pytest

from mainstay.channel import Channel
from mainstay.errors import NotFoundError
from mainstay.grpc_health.v1 import health_pb2 as pb
from mainstay.grpc_health.v1 import health_pb2_grpc as pb_grpc
from tests.faults.http2_peer import Http2Peer, framed
from tests.integration.health.plain_http import ask
from tests.integration.shared.probe import Probe, probe_service

SERVING = pb.HealthCheckResponse.SERVING
NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING
UNKNOWN = pb.HealthCheckResponse.SERVICE_UNKNOWN
WATCH = "/grpc.health.v1.Health/Watch"
NAMES = [
    "",
    "mainstay.cache.v1.CacheService",
    "mainstay.jobs.v1.JobService",
    "mainstay.jobs.v1.WorkerService",
]
GRACE = 1.0
LONG = 10.0  # a drain that nobody holds up takes much less


class Draining:
    """A running probe that the test drains when it likes."""

    def __init__(self, probe: Probe, stack: AsyncExitStack) -> None:
        self.probe = probe
        self._stack = stack

    async def drain(self) -> float:
        """Stop the service, and return how long that took."""
        began = time.monotonic()
        await self._stack.aclose()
        return time.monotonic() - began


@pytest.fixture
async def draining() -> AsyncIterator[Draining]:
    async with AsyncExitStack() as stack:
        probe = await stack.enter_async_context(probe_service(shutdown_grace=GRACE))
        yield Draining(probe, stack)


async def states_of(probe: Probe, service: str, channel: Channel) -> list[int]:
    """Watch until the service ends the stream."""
    watch = pb_grpc.HealthStub(channel.raw).Watch(pb.HealthCheckRequest(service=service))
    return [response.status async for response in watch]


class TestCheck:
    pytestmark = pytest.mark.asyncio(loop_scope="module")

    @pytest.mark.parametrize("service", NAMES)
    async def test_says_serving(self, lasting_probe: Probe, service: str) -> None:
        """For the server as a whole and for each service in it."""
        stub = pb_grpc.HealthStub(lasting_probe.channel.raw)
        checked = await stub.Check(pb.HealthCheckRequest(service=service))

        assert checked.status == SERVING

    async def test_an_unknown_service(self, lasting_probe: Probe) -> None:
        """NOT_FOUND, as the protocol wants it, with the way to those there are."""
        stub = pb_grpc.HealthStub(lasting_probe.channel.raw)
        with pytest.raises(NotFoundError, match="List names those there are") as caught:
            await lasting_probe.channel.unary(stub.Check, pb.HealthCheckRequest(service="nope"))

        assert (caught.value.resource_type, caught.value.resource_name) == ("service", "nope")

    async def test_list_names_all(self, lasting_probe: Probe) -> None:
        """Every service with its state."""
        stub = pb_grpc.HealthStub(lasting_probe.channel.raw)
        listed = await stub.List(pb.HealthListRequest())

        assert {name: response.status for name, response in listed.statuses.items()} == (
            dict.fromkeys(NAMES, SERVING)
        )

    async def test_ready_over_http(self, lasting_probe: Probe) -> None:
        """The operations port says the same to those who speak HTTP."""
        port = int(lasting_probe.service.ops_address.rpartition(":")[2])
        live, ready = await ask(port, "/livez"), await ask(port, "/readyz")

        assert (live.status, live.document()) == (200, {"service": "probe", "status": "alive"})
        assert (ready.status, ready.document()) == (200, {"service": "probe", "status": "ready"})

    async def test_metrics_over_http(self, lasting_probe: Probe) -> None:
        """Calls are counted by method, status and reason, and timed."""
        port = int(lasting_probe.service.ops_address.rpartition(":")[2])
        with pytest.raises(NotFoundError):
            await lasting_probe.get("raise", "NotFoundError")
        text = (await ask(port, "/metrics")).body.decode()

        method = 'method="mainstay.cache.v1.CacheService/Get"'
        counted = f'calls_total{{code="NOT_FOUND",{method},reason="EXAMPLE_REASON"}}'
        assert f"mainstay_rpc_server_{counted}" in text
        assert f"mainstay_rpc_server_call_duration_seconds_count{{{method}}}" in text
        assert "mainstay_rpc_server_calls_in_flight 0.0" in text


class TestWatch:
    async def test_tells_of_the_drain_and_ends(self) -> None:
        """Serving now, not serving when it drains, then the stream is over: no balancer hangs."""
        stack = AsyncExitStack()
        probe = await stack.enter_async_context(probe_service(shutdown_grace=LONG))
        draining = Draining(probe, stack)
        async with Channel(draining.probe.service.address) as channel:
            stub = pb_grpc.HealthStub(channel.raw)
            watch = aiter(stub.Watch(pb.HealthCheckRequest()))
            first = await anext(watch)
            took = await draining.drain()
            rest = [response.status async for response in watch]

        assert (first.status, rest) == (SERVING, [NOT_SERVING])
        assert took < LONG

    async def test_an_unknown_service_is_watched_for(self, draining: Draining) -> None:
        """SERVICE_UNKNOWN, and the stream stays open: it may appear."""
        async with Channel(draining.probe.service.address) as channel:
            stub = pb_grpc.HealthStub(channel.raw)
            watch = aiter(stub.Watch(pb.HealthCheckRequest(service="nope")))
            first = await anext(watch)
            await draining.drain()
            rest = [response.status async for response in watch]

        assert (first.status, rest) == (UNKNOWN, [])

    async def test_a_watcher_that_leaves_is_forgotten(self, probe: Probe) -> None:
        """Nothing is kept for it."""
        stub = pb_grpc.HealthStub(probe.channel.raw)
        registry = probe.service._rpc.health
        watch = stub.Watch(pb.HealthCheckRequest())
        await anext(aiter(watch))
        watching = len(registry._watchers)
        watch.cancel()
        async with asyncio.timeout(5):
            while registry._watchers:
                await stub.Check(pb.HealthCheckRequest())

        assert watching == 1

    async def test_watchers_are_bounded(
        self, probe: Probe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One too many is told to poll."""
        monkeypatch.setattr("shared.rpc.health.MAX_WATCHERS", 1)
        stub = pb_grpc.HealthStub(probe.channel.raw)
        watch = stub.Watch(pb.HealthCheckRequest())
        await anext(aiter(watch))
        with pytest.raises(grpc.aio.AioRpcError, match="poll Check instead"):
            await anext(aiter(stub.Watch(pb.HealthCheckRequest())))
        watch.cancel()


class TestAStuckWatcher:
    """It opened a stream with a window of 0 and never reads: no message can be delivered to it."""

    async def test_holds_up_nobody(self, draining: Draining) -> None:
        """Others hear of the drain, and it ends in its time."""
        address = draining.probe.service.address
        async with Http2Peer.connect(address, window=0) as stuck, Channel(address) as channel:
            for _ in range(20):
                await stuck.call(WATCH, framed(b""))
            stub = pb_grpc.HealthStub(channel.raw)
            watch = aiter(stub.Watch(pb.HealthCheckRequest()))
            first = await anext(watch)
            began = time.monotonic()
            drained = asyncio.create_task(draining.drain())
            told = await anext(watch)
            told_after = time.monotonic() - began
            took = await drained

        assert (first.status, told.status) == (SERVING, NOT_SERVING)
        assert told_after < GRACE
        assert took < GRACE + 3.0

    async def test_repeated_changes_pile_up_nothing(self, probe: Probe) -> None:
        """A thousand changes later its health is answered at once and others see the last one."""
        registry = probe.service._rpc.health
        stub = pb_grpc.HealthStub(probe.channel.raw)
        async with Http2Peer.connect(probe.service.address, window=0) as stuck:
            await stuck.call(WATCH, framed(b""))
            watch = stub.Watch(pb.HealthCheckRequest())
            responses = aiter(watch)
            await anext(responses)
            for _ in range(500):
                registry.set_serving(serving=False)
                await asyncio.sleep(0)
                registry.set_serving(serving=True)
            checked = await stub.Check(pb.HealthCheckRequest(), timeout=1)
            registry.set_serving(serving=False)
            async with asyncio.timeout(5):
                while (await anext(responses)).status != NOT_SERVING:
                    pass
            watch.cancel()

        assert checked.status == SERVING
