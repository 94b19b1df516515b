"""What all probes with a connection do, and the one that asks a service for its health."""

import asyncio

import grpc
import pytest
from grpc.aio import Metadata

from mainstay.errors_wire import DETAILS_KEY
from mainstay.grpc_health.v1 import health_pb2
from services.health.ports import Probe
from services.health.probe_grpc import GrpcProbe, failure_of
from services.health.probe_jobs import QueueProbe
from services.health.probe_postgres import PostgresProbe
from services.health.probe_redis import RedisProbe
from tests.integration.health.asking import complaint
from tests.integration.health.targets import GrpcTarget, SilentListener, unused_address


def make_probe(kind: str, address: str) -> Probe:
    match kind:
        case "grpc":
            return GrpcProbe(address, timeout=1)
        case "jobs":
            return QueueProbe([address], timeout=1, max_age=300)
        case "redis":
            return RedisProbe(f"redis://{address}/0", instance="test")
        case _:
            return PostgresProbe(f"postgresql://mainstay:secret@{address}/mainstay")


@pytest.mark.parametrize("kind", ["grpc", "jobs", "redis", "postgres"])
class TestEveryProbe:
    async def test_nobody_listens(self, kind: str) -> None:
        """The refusal is reported at once, without the address or the user in the sentence."""
        probe = make_probe(kind, unused_address())

        assert await complaint(probe) == "Refused or closed the connection."

    async def test_silence_ends_when_the_caller_gives_up(self, kind: str) -> None:
        """A target that accepts and never answers is left, and its connection not kept."""
        async with SilentListener() as silent:
            probe = make_probe(kind, silent.address)
            asking = asyncio.create_task(probe.ask("request-1"))
            await asyncio.wait_for(silent.connected.wait(), 10)
            asking.cancel()
            await asyncio.wait([asking], timeout=10)

            assert asking.cancelled()
            await asyncio.wait_for(silent.left.wait(), 10)

    async def test_close_before_the_first_question(self, kind: str) -> None:
        """There is nothing to give back, and that is fine."""
        probe = make_probe(kind, unused_address())

        await probe.close()


class TestGrpcProbe:
    @pytest.mark.parametrize(
        ("trailing", "message"),
        [
            (Metadata(), "Refused or closed the connection."),
            (Metadata((DETAILS_KEY, b"reason")), "Answered with UNAVAILABLE."),
        ],
    )
    def test_a_refusal_of_the_service_is_not_called_a_lost_connection(
        self, trailing: Metadata, message: str
    ) -> None:
        """A jobs service that has measured nothing yet is there, and says so."""
        error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), trailing, "why")

        assert message == failure_of(error).message

    async def test_serving_passes_and_carries_the_request_id(self) -> None:
        """The id of the probe is in the metadata that the target logs."""
        async with GrpcTarget() as target:
            probe = GrpcProbe(target.address, timeout=1)
            await probe.ask("request-1")
            await probe.ask("request-2")
            await probe.close()

            assert target.request_ids == ["request-1", "request-2"]

    async def test_not_serving_fails(self) -> None:
        """A target that drains is reached and says so."""
        async with GrpcTarget() as target:
            target.status = health_pb2.HealthCheckResponse.NOT_SERVING

            assert (
                await complaint(GrpcProbe(target.address, timeout=1))
                == "Answered NOT_SERVING: it is starting, draining or broken."
            )

    async def test_a_restarted_target_is_found_by_the_next_probe(self) -> None:
        """Nothing of the old connection, such as its backoff, stands in the way."""
        async with GrpcTarget() as target:
            probe = GrpcProbe(target.address, timeout=1)
            await probe.ask("request-1")
            await target.stop()
            for _ in range(5):
                await complaint(probe)
            await target.start()
            await probe.ask("request-2")
            await probe.close()

            assert target.request_ids == ["request-1", "request-2"]

    async def test_a_connection_that_fell_silent_is_not_used_again(self) -> None:
        """It may be half dead for minutes; as long as it answers, it is kept."""
        async with GrpcTarget() as target:
            probe = GrpcProbe(target.address, timeout=1)
            await probe.ask("request-1")
            await probe.ask("request-2")
            target.asked.clear()
            target.may_answer.clear()
            asking = asyncio.create_task(probe.ask("request-3"))
            await asyncio.wait_for(target.asked.wait(), 10)
            asking.cancel()
            await asyncio.wait([asking], timeout=10)
            target.may_answer.set()
            await probe.ask("request-4")
            await probe.close()
            first, second, third, fourth = target.peers

        assert first == second == third
        assert third != fourth
