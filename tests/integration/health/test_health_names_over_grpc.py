"""grpc.health.v1 on the health service: targets, replicas, groups and the suite, by name."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mainstay.channel import Channel
from mainstay.errors import NotFoundError, QuotaError
from mainstay.grpc_health.v1 import health_pb2 as pb
from mainstay.grpc_health.v1 import health_pb2_grpc as pb_grpc
from services.health.maintenance import Mode
from services.health.state import State
from services.health.target import replica
from tests.integration.health.stand import ONE, OTHER, REDIS, Stand, open_stand

SERVICE = "mainstay.health.v1.HealthService"
SERVING = pb.HealthCheckResponse.SERVING
NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING
UNKNOWN = pb.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    """Serve, with everything healthy."""
    async with open_stand() as stand:
        yield stand


@pytest.fixture
async def channel(stand: Stand) -> AsyncIterator[Channel]:
    """Connect to it."""
    async with Channel(stand.service.address) as channel:
        yield channel


async def checked(channel: Channel, name: str) -> int:
    """Return the state of a name."""
    stub = pb_grpc.HealthStub(channel.raw)
    response = await channel.unary(stub.Check, pb.HealthCheckRequest(service=name))
    status: int = response.status
    return status


class TestCheck:
    @pytest.mark.parametrize("name", ["", "cache", ONE.name, "edge", "suite", "redis"])
    async def test_serving(self, channel: Channel, name: str) -> None:
        """The server itself has the empty name, as everywhere."""
        assert SERVING == await checked(channel, name)

    async def test_a_degraded_one_serves(self, stand: Stand, channel: Channel) -> None:
        """The protocol has no word between."""
        stand.see(State.UNHEALTHY, REDIS)

        assert SERVING == await checked(channel, "cache")

    async def test_one_replica_is_down(self, stand: Stand, channel: Channel) -> None:
        """And the others, the service and this server are not."""
        stand.see(State.UNHEALTHY, ONE)
        found = [await checked(channel, name) for name in (ONE.name, OTHER.name, "cache", "")]

        assert [NOT_SERVING, SERVING, SERVING, SERVING] == found

    async def test_what_is_old_or_out_of_service(self, stand: Stand, channel: Channel) -> None:
        """Neither takes traffic."""
        stand.see(State.HEALTHY, REDIS, age=3600)
        old = await checked(channel, "redis")
        stand.take_out("cache", Mode.DRAIN)
        out = await checked(channel, "edge")

        assert (NOT_SERVING, NOT_SERVING) == (old, out)

    async def test_an_unknown_name(self, channel: Channel) -> None:
        """NOT_FOUND, as the protocol wants it."""
        with pytest.raises(NotFoundError):
            await checked(channel, "cahce")

    async def test_of_others_while_it_drains(self, stand: Stand, channel: Channel) -> None:
        """The server itself is not serving; the cache is none of it."""
        await checked(channel, "")
        await stand.drain()
        found = [await checked(channel, name) for name in ("", "cache")]

        assert [NOT_SERVING, SERVING] == found


class TestList:
    async def test_names_all(self, stand: Stand, channel: Channel) -> None:
        """With the state of each."""
        stand.see(State.UNHEALTHY, ONE)
        stub = pb_grpc.HealthStub(channel.raw)
        listed = await stub.List(pb.HealthListRequest())

        assert {name: each.status for name, each in listed.statuses.items()} == {
            **dict.fromkeys(("", SERVICE, "suite", "edge", "cache", "redis", OTHER.name), SERVING),
            ONE.name: NOT_SERVING,
        }

    async def test_of_very_many_is_refused(self, stand: Stand, channel: Channel) -> None:
        """RESOURCE_EXHAUSTED beyond a hundred, as gRFC A90 has it; Check still answers."""
        many = [replica("cache", f"10.0.1.{number}:50051") for number in range(100)]
        stand.prober.snapshot = stand.prober.snapshot.with_replicas("cache", many)
        stub = pb_grpc.HealthStub(channel.raw)
        with pytest.raises(QuotaError, match="Check those you need"):
            await channel.unary(stub.List, pb.HealthListRequest())

        assert SERVING == await checked(channel, "redis")


class TestWatch:
    async def test_tells_of_changes(self, stand: Stand, channel: Channel) -> None:
        """Of the name that was asked for, as they come, within a second."""
        stub = pb_grpc.HealthStub(channel.raw)
        watch = stub.Watch(pb.HealthCheckRequest(service=ONE.name))
        responses = aiter(watch)
        found = [(await anext(responses)).status]
        async with asyncio.timeout(1):
            stand.see(State.UNHEALTHY, ONE)
            found.append((await anext(responses)).status)
            stand.see(State.UNHEALTHY, REDIS)
            stand.see(State.HEALTHY, ONE)
            found.append((await anext(responses)).status)
        watch.cancel()

        assert [SERVING, NOT_SERVING, SERVING] == found

    async def test_waits_for_a_name_that_is_not_there_yet(
        self, stand: Stand, channel: Channel
    ) -> None:
        """A replica that comes up is told of."""
        new = replica("cache", "10.0.0.9:50051")
        stub = pb_grpc.HealthStub(channel.raw)
        watch = stub.Watch(pb.HealthCheckRequest(service=new.name))
        responses = aiter(watch)
        before = (await anext(responses)).status
        stand.prober.snapshot = stand.prober.snapshot.with_replicas("cache", (ONE, OTHER, new))
        stand.see(State.HEALTHY, new)
        after = (await asyncio.wait_for(anext(responses), 5)).status
        watch.cancel()

        assert (UNKNOWN, SERVING) == (before, after)
