"""GetOrLease over the wire: two real servers on one Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from mainstay.channel import Channel
from mainstay.errors import MainstayError, PreconditionError, UnavailableError, ValidationError
from services.cache.app import build
from services.cache.settings import CacheSettings
from tests.integration.cache.computing.computing_replica import ACME, NAME
from tests.integration.cache.computing.observing import Store, waited_for
from tests.integration.cache.conftest import POLICIES

PLACE: dict[str, Any] = {"namespace": NAME.namespace, "key": NAME.key}
VALUE = pb.FilledValue(value=b"value")


class Client:
    """Calls the bare methods of one replica."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stub = pb_grpc.CacheServiceStub(channel.raw)

    async def ask(self, *, within: float = 10.0, **fields: Any) -> pb.GetOrLeaseResponse:
        request = pb.GetOrLeaseRequest(**{**PLACE, **fields})
        return await self._channel.unary(self._stub.GetOrLease, request, timeout=within)

    async def fill(self, token: bytes, **fields: Any) -> pb.FillResponse:
        request = pb.FillRequest(**{**PLACE, "lease_token": token, "value": VALUE, **fields})
        return await self._channel.unary(self._stub.Fill, request)


Clients = tuple[Client, Client, Callable[[], Awaitable[None]]]


@pytest.fixture
async def clients(redis_url: str) -> AsyncIterator[Clients]:
    """Return a client for each of two replicas, and what stops the second."""
    settings = CacheSettings.model_validate(
        {
            "redis_url": redis_url,
            "policies_dir": POLICIES,
            "cache_port": 0,
            "cache_ops_port": 0,
            "shutdown_delay": 0,
        }
    )
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        made = []
        for stack in (first, second):
            service = build(settings)
            await stack.enter_async_context(service.running())
            channel = Channel(service.address, tenant=ACME)
            made.append(Client(await first.enter_async_context(channel)))
        yield made[0], made[1], second.aclose


class TestOverTheWire:
    async def test_held_and_answered(self, clients: Clients, store: Store) -> None:
        """A caller of one replica is held until a fill at the other answers it."""
        one, other, _ = clients
        token = (await one.ask()).lease.token
        waiting = asyncio.create_task(other.ask())
        await waited_for(store)
        filled = await one.fill(token)
        answer = await waiting

        assert filled.outcome == pb.FILL_OUTCOME_STORED
        assert (answer.hit.value, answer.waited) == (b"value", True)
        assert answer.hit.version == filled.version

    async def test_held_in_vain(self, clients: Clients) -> None:
        """Whoever is held to the end gets an answer, and goes on without the lease."""
        one, other, _ = clients
        await one.ask()
        wait = Duration(nanos=200_000_000)
        began = time.monotonic()
        answer = await other.ask(wait=wait)

        assert (answer.miss.reason, answer.waited) == (pb.MISS_REASON_COLD, True)
        assert not answer.HasField("lease")
        assert time.monotonic() - began >= 0.2

    async def test_errors(self, clients: Clients) -> None:
        """What is wrong with a token travels with its field."""
        one, _, _ = clients
        token = (await one.ask()).lease.token
        with pytest.raises(ValidationError) as garbled:
            await one.fill(b"garbled")
        with pytest.raises(PreconditionError) as foreign:
            await one.fill(token, key="another")

        assert list(garbled.value.fields) == ["lease_token"]
        assert foreign.value.reason == "LEASE_OF_ANOTHER"
        assert foreign.value.metadata["subject"] == "lease_token"

    async def test_shutting_down(self, clients: Clients, store: Store) -> None:
        """A replica that leaves sends its waiters elsewhere instead of holding them to the end."""
        one, other, stop_other = clients
        token = (await one.ask()).lease.token
        waiting = asyncio.create_task(_outcome(other.ask(within=30.0)))
        await waited_for(store)
        async with asyncio.timeout(5):
            await stop_other()
            error = await waiting

        assert isinstance(error, UnavailableError)
        assert error.reason == "DRAINING"
        assert (await one.fill(token)).outcome == pb.FILL_OUTCOME_STORED


async def _outcome(call: Awaitable[object]) -> object:
    try:
        return await call
    except MainstayError as error:
        return error
