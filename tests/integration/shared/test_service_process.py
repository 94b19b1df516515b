"""The life of a real service process: how it starts, waits, refuses to start, drains and leaves."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cli.embedded.redis import RedisServer
from cli.ports import free_port
from mainstay.cache.client import CacheClient
from mainstay.channel import Channel
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.conftest import StartRedis
from tests.integration.health.plain_http import ask
from tests.integration.shared.service_process import cache_process, held_call

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def taken_port() -> Iterator[int]:
    """Listen on a port that a service may be told to use."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


class TestStopping:
    async def test_sigterm_drains(self, private_redis: RedisServer) -> None:
        """Not serving first; the call in flight ends well; exit code 0."""
        async with cache_process(redis_url=private_redis.url, redis_timeout=10) as process:
            address = (await process.line("service_ready"))["address"]
            async with Channel(address) as watching, held_call(process, private_redis) as call:
                stub = health_pb2_grpc.HealthStub(watching.raw)
                watch = aiter(stub.Watch(health_pb2.HealthCheckRequest()))
                states = [(await anext(watch)).status]
                process.send(signal.SIGTERM)
                states += [response.status async for response in watch]
                ended_early = call.done()
                private_redis.resume()
                entry = await call
            code = await process.exited()

        assert states == [SERVING, NOT_SERVING]
        assert (ended_early, code) == (False, 0)
        assert getattr(entry, "value", None) == b"value"
        assert [line["event"] for line in process.lines if line["event"].startswith("service")] == [
            "service_ready",
            "service_draining",
            "service_stopped",
        ]

    async def test_balancers_get_time_to_notice(self, redis_url: str) -> None:
        """Within `shutdown_delay` calls are still served, though it says NOT_SERVING."""
        async with cache_process(redis_url=redis_url, shutdown_delay=0.5) as process:
            address = (await process.line("service_ready"))["address"]
            async with Channel(address) as channel:
                stub = health_pb2_grpc.HealthStub(channel.raw)
                watch = aiter(stub.Watch(health_pb2.HealthCheckRequest()))
                await anext(watch)
                process.send(signal.SIGTERM)
                told = (await anext(watch)).status
                served = await CacheClient(channel).get("n", "k")
            code = await process.exited()

        assert (told, served is not None, code) == (NOT_SERVING, True, 0)

    async def test_a_second_signal_exits_at_once(self, private_redis: RedisServer) -> None:
        """Whoever cannot wait for the grace sends it again."""
        async with (
            cache_process(
                redis_url=private_redis.url, redis_timeout=10, shutdown_grace=60
            ) as process,
            held_call(process, private_redis),
        ):
            process.send(signal.SIGTERM)
            await process.line("service_draining")
            began = time.monotonic()
            process.send(signal.SIGINT)
            code = await process.exited()
            took = time.monotonic() - began

        assert (code, took < 5.0) == (130, True)
        assert process.lines[-1]["event"] == "exiting_at_once"

    async def test_the_grace_is_a_bound(self, private_redis: RedisServer) -> None:
        """A call that does not end is cut off after it."""
        async with (
            cache_process(
                redis_url=private_redis.url, redis_timeout=10, shutdown_grace=0.3
            ) as process,
            held_call(process, private_redis),
        ):
            process.send(signal.SIGTERM)
            began = time.monotonic()
            code = await process.exited()
            took = time.monotonic() - began

        assert (code, took < 5.0) == (0, True)


class TestWaitingForADependency:
    async def test_says_so_and_starts_when_it_comes(self, private_redis: RedisServer) -> None:
        """It names what it waits for, is alive but not ready, and then it serves."""
        await private_redis.stop()
        async with cache_process(
            redis_url=private_redis.url, cache_ops_port=(ops_port := free_port())
        ) as process:
            waiting = await process.line("dependency_waiting")
            live, ready = await ask(ops_port, "/livez"), await ask(ops_port, "/readyz")
            await private_redis.start()
            await process.line("service_ready")
            ready_then = await ask(ops_port, "/readyz")

        assert (waiting["dependency"], waiting["level"]) == ("redis", "warning")
        assert str(private_redis.port) in waiting["error"]
        assert (live.status, ready.status, ready_then.status) == (200, 503, 200)

    async def test_waits_longer_each_time(self, private_redis: RedisServer) -> None:
        """Backoff: a dependency that is down is not hammered."""
        await private_redis.stop()
        async with cache_process(redis_url=private_redis.url) as process:
            await process.line("dependency_waiting", 3)

        pauses = [line["retry_in_s"] for line in process.events("dependency_waiting")[:3]]
        assert pauses == sorted(pauses)
        assert pauses[0] < pauses[2]

    async def test_sigterm_ends_the_wait(self, private_redis: RedisServer) -> None:
        """Nobody has to kill -9 what never started."""
        await private_redis.stop()
        async with cache_process(redis_url=private_redis.url) as process:
            await process.line("dependency_waiting")
            began = time.monotonic()
            process.send(signal.SIGTERM)
            code = await process.exited()

        assert (code, time.monotonic() - began < 5.0) == (0, True)
        assert process.events("service_ready") == []


class TestRefusingToStart:
    async def test_every_mistake_at_once(self) -> None:
        """All of them in one go, each by its variable, without its value; exit code 2."""
        async with cache_process(
            redis_url="http://user:hunter2@redis",
            processes="many",
            host="0.0.0.0",
            shutdown_grace=-1,
            log_level="loud",
            cache_port=70_000,
        ) as process:
            code = await process.exited()
        first, *mistakes = process.errors.splitlines()

        assert (code, first) == (2, "Wrong settings (.env.example describes them all):")
        assert {line.split(":")[0].strip() for line in mistakes} == {
            "MAINSTAY_REDIS_URL",
            "MAINSTAY_PROCESSES",
            "MAINSTAY_HOST",
            "MAINSTAY_SHUTDOWN_GRACE",
            "MAINSTAY_LOG_LEVEL",
            "MAINSTAY_CACHE_PORT",
        }
        assert "hunter2" not in process.errors
        assert process.lines == []

    @pytest.mark.parametrize("scheme", ["redis", "postgres"])
    async def test_a_password_with_a_slash(self, scheme: str) -> None:
        """The error of a URL that cannot be parsed quotes no part of it."""
        async with cache_process(
            **{"redis_url": "redis://127.0.0.1:1", f"{scheme}_url": f"{scheme}://u:hun/ter2@h:1/0"}
        ) as process:
            code = await process.exited()

        assert code == 2
        assert f"MAINSTAY_{scheme.upper()}_URL" in process.errors
        assert "hun" not in process.errors

    async def test_a_missing_setting(self) -> None:
        """What a service cannot do without is named."""
        async with cache_process() as process:
            code = await process.exited()

        assert code == 2
        assert process.errors.splitlines()[1] == "  MAINSTAY_REDIS_URL: is not set"

    async def test_a_broken_policy_file(self, redis_url: str, tmp_path: Path) -> None:
        """Data that operators edit is checked before anything is served."""
        (tmp_path / "cache.yaml").write_text("classes: [")
        async with cache_process(redis_url=redis_url, policies_dir=tmp_path) as process:
            code = await process.exited()

        assert code == 2
        assert "cache.yaml" in process.errors
        assert "Traceback" not in process.errors

    @pytest.mark.parametrize("which", ["cache_port", "cache_ops_port"])
    async def test_a_port_that_is_taken(self, redis_url: str, taken_port: int, which: str) -> None:
        """Exit code 2 and a sentence with the port in it, no stack."""
        async with cache_process(**{"redis_url": redis_url, which: taken_port}) as process:
            code = await process.exited()

        assert code == 2
        assert f"cannot listen on 127.0.0.1:{taken_port}" in process.errors
        assert "Traceback" not in process.errors

    async def test_a_wrong_redis_password(self, start_redis: StartRedis) -> None:
        """It does not wait for what waiting cannot mend, and does not print the password."""
        redis = await start_redis()
        url = redis.url.replace("127.0.0.1", "user:hunter2@127.0.0.1")
        async with cache_process(redis_url=url) as process:
            code = await process.exited()

        assert code == 2
        assert "MAINSTAY_REDIS_URL" in process.errors
        assert "hunter2" not in process.errors
