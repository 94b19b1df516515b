"""The probe of Redis: whether it answers, and whether it takes writes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio as redis

from cli.embedded.redis import RedisServer
from mainstay.errors import ConfigurationError
from services.health.probe_redis import RedisProbe
from tests.conftest import StartRedis
from tests.integration.health.asking import answer, complaint


@pytest.fixture
async def control(private_redis: RedisServer) -> AsyncIterator[Any]:
    """Let the test tell the Redis of its own how to behave."""
    async with redis.Redis.from_url(private_redis.url) as connection:
        yield connection


class TestConnection:
    async def test_answers(self, redis_url: str) -> None:
        """PING comes back with the id it was sent with, over a connection that is kept."""
        probe = RedisProbe(redis_url, instance="test")
        await probe.ask("request-1")
        await probe.ask("request-2")
        await probe.close()

    async def test_kill_and_restart(self, private_redis: RedisServer) -> None:
        """A dead server fails the next probe, a new one passes it."""
        probe = RedisProbe(private_redis.url, instance="test")
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
        probe = RedisProbe(private_redis.url, instance="test")
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
        probe = RedisProbe(f"redis://127.0.0.1:1/0,{redis_url}", instance="test")

        assert await complaint(probe) == "Refused or closed the connection."

        await probe.ask("request-2")
        await probe.ask("request-3")
        await probe.close()

    def test_a_wrong_url_is_a_wrong_setting(self) -> None:
        """It is refused when the service starts."""
        with pytest.raises(ConfigurationError, match="MAINSTAY_REDIS_URL"):
            RedisProbe("http://127.0.0.1:6379", instance="test")


class TestWrites:
    async def test_the_request_id_is_written(
        self, private_redis: RedisServer, control: Any
    ) -> None:
        """To a key of this instance, which goes by itself."""
        probe = RedisProbe(private_redis.url, instance="one")
        told = await answer(probe, "request-7")
        written = await control.get("mainstay:health:one")
        seconds = await control.ttl("mainstay:health:one")
        await probe.close()

        assert ("", b"request-7") == (told, written)
        assert 50 <= seconds <= 60

    async def test_a_replica_takes_none(
        self, private_redis: RedisServer, control: Any, start_redis: StartRedis
    ) -> None:
        """It answers PING like a primary."""
        primary = await start_redis()
        await control.execute_command("REPLICAOF", "127.0.0.1", primary.port)
        probe = RedisProbe(private_redis.url, instance="one")
        message = await complaint(probe)
        await control.execute_command("REPLICAOF", "NO", "ONE")
        then = await answer(probe)
        await probe.close()

        assert ("Does not take writes (READONLY).", "") == (message, then)

    async def test_a_full_memory(self, private_redis: RedisServer, control: Any) -> None:
        """What may not evict takes nothing more."""
        await control.config_set("maxmemory", "1")
        probe = RedisProbe(private_redis.url, instance="one")
        message = await complaint(probe)
        await control.config_set("maxmemory", "0")
        then = await answer(probe)
        await probe.close()

        assert ("Does not take writes (OOM).", "") == (message, then)

    async def test_a_disk_that_fails(self, private_redis: RedisServer, control: Any) -> None:
        """After a snapshot that could not be saved it refuses everything, PING too."""
        await control.config_set("save", "3600 1000000")
        # A directory stands where the snapshot is to be.
        (private_redis.directory / "dump.rdb").mkdir()
        await control.execute_command("BGSAVE")
        async with asyncio.timeout(10):
            while "ok" == (await control.info("persistence"))["rdb_last_bgsave_status"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # Redis tells nobody when it is over
        probe = RedisProbe(private_redis.url, instance="one")
        message = await complaint(probe)
        await probe.close()
        await control.config_set("save", "")  # else it would not end without saving

        assert message == "Does not take writes (MISCONF)."

    async def test_too_few_replicas(self, private_redis: RedisServer, control: Any) -> None:
        """One that may only write with replicas, and has none."""
        await control.config_set("min-replicas-to-write", "1")
        probe = RedisProbe(private_redis.url, instance="one")
        message = await complaint(probe)
        await probe.close()

        assert message == "Does not take writes (NOREPLICAS)."

    async def test_a_user_without_rights(self, private_redis: RedisServer, control: Any) -> None:
        """Its name and its password stay out of the message."""
        await control.execute_command(
            "ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read", "+@connection"
        )
        url = f"redis://reader:secret@127.0.0.1:{private_redis.port}/0"
        probe = RedisProbe(url, instance="one")
        message = await complaint(probe)
        await probe.close()

        assert message == "Does not take writes (NOPERM)."
