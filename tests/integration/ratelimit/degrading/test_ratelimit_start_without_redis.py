"""A service that starts before its Redis does."""

import asyncio

import pytest

from cli.embedded.redis import RedisServer
from mainstay.errors import ConfigurationError, UnavailableError
from services.ratelimit.redis_in_background import RedisInBackground
from shared.redis.client import Redis
from shared.redis.clock import StoreClock
from tests.integration.shared.waiting import until


class TestStart:
    async def test_with_redis_there_does_everything_before_it_returns(
        self, private_redis: RedisServer
    ) -> None:
        """Nothing is served that could have known more."""
        redis = Redis(private_redis.url)
        clock = StoreClock(redis)
        told: list[bool] = []

        async def tell() -> None:
            told.append(redis.connected)

        started = RedisInBackground(redis, then=(clock.run_once, tell))
        await started.start()
        await started.close()

        assert [True] == told
        assert not redis.connected

    async def test_without_redis_returns_and_goes_on_trying(
        self, private_redis: RedisServer
    ) -> None:
        """What is to follow is done as soon as Redis is there."""
        await private_redis.stop()
        redis = Redis(private_redis.url)
        followed = asyncio.Event()

        async def follow() -> None:
            followed.set()

        started = RedisInBackground(redis, then=(follow,))
        await started.start()
        away = redis.connected
        await private_redis.start()
        async with asyncio.timeout(10):
            await followed.wait()
        answered = await redis.execute("PING")
        await started.close()

        assert not away
        assert b"PONG" == answered

    async def test_a_step_that_fails_does_not_keep_the_next_from_being_done(
        self, private_redis: RedisServer
    ) -> None:
        """Redis may have gone again."""
        done = asyncio.Event()

        async def fail() -> None:
            raise UnavailableError("gone again")

        async def succeed() -> None:
            done.set()

        started = RedisInBackground(Redis(private_redis.url), then=(fail, succeed))
        await started.start()
        await started.close()

        assert done.is_set()

    async def test_with_a_setting_that_redis_refuses_stops_the_service(
        self, private_redis: RedisServer
    ) -> None:
        """As everywhere: nobody notices a wrong password later."""
        wrong = private_redis.url.replace("redis://", "redis://nobody:secret@")
        started = RedisInBackground(Redis(wrong))

        with pytest.raises(ConfigurationError):
            await started.start()
        await started.close()


class TestClose:
    async def test_ends_the_attempts(self, private_redis: RedisServer) -> None:
        """Nothing connects after it."""
        await private_redis.stop()
        redis = Redis(private_redis.url)
        started = RedisInBackground(redis)
        await started.start()
        await started.close()

        assert not [task for task in asyncio.all_tasks() if task.get_name() == "redis-start"]
        assert not redis.connected


class TestTheTime:
    async def test_is_this_machines_until_redis_was_reached(
        self, private_redis: RedisServer
    ) -> None:
        """Close enough for what is decided meanwhile, and it goes on as Redis's."""
        redis = Redis(private_redis.url)
        clock = StoreClock(redis)
        before = clock.now_us()
        started = RedisInBackground(redis, then=(clock.run_once,))
        await started.start()
        seconds, micros = await redis.execute("TIME")
        after = clock.now_us()
        await started.close()
        now = int(seconds) * 1_000_000 + int(micros)

        assert abs(before - now) < 5_000_000
        assert abs(after - now) < 1_000_000


async def test_a_redis_that_is_frozen_does_not_hold_up_the_start(
    private_redis: RedisServer,
) -> None:
    """It takes connections and answers none of them."""
    private_redis.pause()
    redis = Redis(private_redis.url)
    started = RedisInBackground(redis)
    async with asyncio.timeout(5):
        await started.start()
    private_redis.resume()
    await until(lambda: redis.connected)
    await started.close()
