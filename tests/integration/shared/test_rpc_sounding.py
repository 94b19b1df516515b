"""The queue in front of a service is measured as callers see it, and calls are shed by it."""

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import pytest

from mainstay.errors import UnavailableError
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from shared.rpc.admission import TARGET, Allowance
from shared.rpc.call import Tenant
from shared.rpc.sounding import INTERVAL, Sounding, sounding_address
from tests.integration.shared.probe import probe_service

PATIENCE = 10.0
ACME = Tenant("acme")


class Slow(health_pb2_grpc.HealthServicer):
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: object
    ) -> health_pb2.HealthCheckResponse:
        await self.release.wait()
        return health_pb2.HealthCheckResponse()

    List = Watch = Check  # type: ignore[assignment]


@pytest.fixture
async def slow() -> Slow:
    return Slow()


@pytest.fixture
async def allowance(slow: Slow) -> AsyncIterator[Allowance]:
    """Have an allowance follow soundings of a server that is slow."""
    server, address, allowance = grpc.aio.server(), sounding_address(), Allowance()
    health_pb2_grpc.add_HealthServicer_to_server(slow, server)
    server.add_insecure_port(address)
    await server.start()
    running = asyncio.create_task(Sounding(address, allowance).run())
    yield allowance
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await server.stop(None)


async def until_limited(allowance: Allowance, *, limited: bool) -> None:
    """Go on asking until calls are shed, or no more."""
    async with asyncio.timeout(PATIENCE):
        while allowance.limited is not limited:
            for _ in range(100):
                allowance.take(ACME)
            await asyncio.sleep(0)


class TestASounding:
    async def test_that_does_not_come_back_is_late_already(self, allowance: Allowance) -> None:
        """Calls are shed before its answer is there; nobody waits for its timeout."""
        began = time.monotonic()
        await until_limited(allowance, limited=True)

        assert time.monotonic() - began < PATIENCE / 2

    async def test_that_comes_back_soon_opens(self, allowance: Allowance, slow: Slow) -> None:
        """Once the queue is gone, all are let in again."""
        await until_limited(allowance, limited=True)
        slow.release.set()
        await until_limited(allowance, limited=False)

        assert allowance.take(ACME)


class TestAService:
    async def test_whose_loop_is_late_sheds_and_health_answers(self) -> None:
        """Callers are told to come back, and the one who asks for health is answered."""
        async with probe_service() as probe:
            shed, told = asyncio.Event(), list[tuple[str, float | None]]()

            async def flood() -> None:
                while not shed.is_set():
                    try:
                        await probe.get("none")
                    except UnavailableError as error:
                        told.append((error.reason, error.retry_after))
                        shed.set()

            async def hold_up() -> None:
                while not shed.is_set():
                    time.sleep(TARGET * 2)  # noqa: ASYNC251 - to hold up the loop is the point
                    await asyncio.sleep(INTERVAL / 10)

            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(hold_up(), *(flood() for _ in range(50)))
            stub = health_pb2_grpc.HealthStub(probe.channel.raw)
            checked = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)

        assert {("OVERLOADED", 0.2)} == {*told}
        assert health_pb2.HealthCheckResponse.SERVING == checked.status
