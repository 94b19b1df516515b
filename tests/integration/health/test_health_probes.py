"""Each probe against the real thing: answering, refusing, silent, broken, and back again."""

import asyncio
import socket

import pytest

from cli.embedded.postgres import PostgresServer
from cli.embedded.redis import RedisServer
from mainstay.errors import ConfigurationError
from mainstay.grpc_health.v1 import health_pb2
from services.health.ports import Probe, ProbeError
from services.health.probes import GrpcProbe, PostgresProbe, RedisProbe
from tests.integration.health.targets import GrpcTarget, SilentListener


def make_probe(kind: str, address: str) -> Probe:
    match kind:
        case "grpc":
            return GrpcProbe(address, timeout=1)
        case "redis":
            return RedisProbe(f"redis://{address}/0")
        case _:
            return PostgresProbe(f"postgresql://mainstay:secret@{address}/mainstay")


def unused_address() -> str:
    """Return an address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def complaint(probe: Probe) -> str:
    """Return what a probe has to say about a target that does not answer well."""
    with pytest.raises(ProbeError) as caught:
        await asyncio.wait_for(probe.ask("request-1"), 10)
    return caught.value.message


@pytest.mark.parametrize("kind", ["grpc", "redis", "postgres"])
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


class TestRedisProbe:
    async def test_answers(self, redis_url: str) -> None:
        """PING comes back with the id it was sent with, over a connection that is kept."""
        probe = RedisProbe(redis_url)
        await probe.ask("request-1")
        await probe.ask("request-2")
        await probe.close()

    async def test_kill_and_restart(self, private_redis: RedisServer) -> None:
        """A dead server fails the next probe, a new one passes it."""
        probe = RedisProbe(private_redis.url)
        await probe.ask("request-1")
        await private_redis.kill()

        assert await complaint(probe) == "Refused or closed the connection."

        await private_redis.start()
        await probe.ask("request-3")
        await probe.close()

    async def test_an_answer_that_comes_too_late_is_not_the_next_one(
        self, private_redis: RedisServer
    ) -> None:
        """After a timeout the connection is dropped, and its late answer with it."""
        probe = RedisProbe(private_redis.url)
        await probe.ask("request-1")
        private_redis.pause()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await probe.ask("request-2")
        private_redis.resume()
        await probe.ask("request-3")
        await probe.close()

    async def test_another_node_when_one_is_gone(self, redis_url: str) -> None:
        """Of several addresses the next is asked after a failure, and kept while it answers."""
        probe = RedisProbe(f"redis://127.0.0.1:1/0,{redis_url}")

        assert await complaint(probe) == "Refused or closed the connection."

        await probe.ask("request-2")
        await probe.ask("request-3")
        await probe.close()

    def test_a_wrong_url_is_a_wrong_setting(self) -> None:
        """It is refused when the service starts."""
        with pytest.raises(ConfigurationError, match="MAINSTAY_REDIS_URL"):
            RedisProbe("http://127.0.0.1:6379")


class TestPostgresProbe:
    async def test_answers(self, postgres_url: str) -> None:
        """SELECT 1 over a connection that is kept."""
        probe = PostgresProbe(postgres_url)
        await probe.ask("request-1")
        await probe.ask("request-2")
        await probe.close()

    async def test_no_such_database(self, postgres_url: str) -> None:
        """The server is there and says no: the kind of error is public, its text is not."""
        probe = PostgresProbe(f"{postgres_url}_missing")

        assert await complaint(probe) == "Answered with InvalidCatalogNameError."

    async def test_a_wrong_url_names_the_setting(self) -> None:
        """Nobody has to guess why no server is ever reached."""
        probe = PostgresProbe("mysql://127.0.0.1/mainstay")

        assert await complaint(probe) == "Cannot be asked: MAINSTAY_POSTGRES_URL is not valid."

    async def test_stop_and_restart(self, private_postgres: PostgresServer) -> None:
        """A stopped server fails the kept connection and a new one; once back, it passes."""
        probe = PostgresProbe(private_postgres.url)
        await probe.ask("request-1")
        # Not killed: its children would answer on until they notice.
        await private_postgres.stop()
        await complaint(probe)

        assert await complaint(probe) == "Refused or closed the connection."

        await private_postgres.start()
        await probe.ask("request-4")
        await probe.close()
