"""The time by Redis's clock, whatever the clock of this machine says."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cli.embedded.redis import RedisServer
from mainstay.errors import UnavailableError
from shared.redis import clock as clock_module
from shared.redis.client import Redis
from shared.redis.clock import StoreClock

HOUR_MS = 3_600_000
# What passes between the two looks at the clock, on a busy machine.
SLACK_MS = 5_000


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Redis]:
    """Connect within the block."""
    redis = Redis(url)
    await redis.start()
    try:
        yield redis
    finally:
        await redis.close()


async def redis_ms(redis: Redis) -> int:
    """Ask Redis what time it is."""
    seconds, micros = await redis.execute("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


class TestTheTime:
    async def test_is_redis_s_and_not_this_machine_s(
        self, redis_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A replica whose clock is wrong by decades is as right as any other."""
        monkeypatch.setattr(time, "time", lambda: 0.0)
        monkeypatch.setattr(time, "time_ns", lambda: 0)
        async with connected(redis_url) as redis:
            clock = StoreClock(redis)
            await clock.start()

            assert abs(await redis_ms(redis) - clock.now_ms()) < SLACK_MS

    async def test_is_set_again_when_the_two_drift_apart(
        self, redis_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the background task, soon after."""
        monkeypatch.setattr(clock_module, "INTERVAL", 0.01)
        async with connected(redis_url) as redis:
            clock = StoreClock(redis)
            await clock.start()
            clock._offset_ms += HOUR_MS
            drifted = clock.now_ms() - await redis_ms(redis)
            task = asyncio.create_task(clock.run())
            await right_again(clock, redis)
            task.cancel()

        assert drifted > HOUR_MS - SLACK_MS

    async def test_goes_on_while_redis_is_away(
        self, private_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And is set again once it is back, without a restart."""
        monkeypatch.setattr(clock_module, "INTERVAL", 0.01)
        async with connected(private_redis.url) as redis:
            clock = StoreClock(redis)
            await clock.start()
            await private_redis.stop()
            with pytest.raises(UnavailableError):
                await clock.run_once()
            away = clock.now_ms()
            task = asyncio.create_task(clock.run())
            clock._offset_ms += HOUR_MS
            await private_redis.start()
            await right_again(clock, redis)
            task.cancel()

        assert abs(time.time_ns() // 1_000_000 - away) < 10 * SLACK_MS


async def right_again(clock: StoreClock, redis: Redis) -> None:
    """Look until the clock is right; nothing signals that it was set."""
    async with asyncio.timeout(10):
        while True:
            try:
                if abs(clock.now_ms() - await redis_ms(redis)) < SLACK_MS:
                    return
            except UnavailableError:
                await asyncio.sleep(0.01)
