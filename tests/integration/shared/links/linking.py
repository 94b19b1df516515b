"""Connections to Redis for tests, and what they ask of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mainstay.errors import UnavailableError
from shared.redis.client import Redis
from shared.telemetry import metrics
from tests.integration.shared.waiting import PATIENCE

TIMEOUT = 0.25
AMPLE = 5.0  # where nothing hangs, a busy machine must not look as if it did


@asynccontextmanager
async def connected(url: str, timeout: float = AMPLE) -> AsyncIterator[Redis]:  # noqa: ASYNC109
    """Connect within the block."""
    redis = Redis(url, timeout=timeout)
    try:
        await redis.start()
        yield redis
    finally:
        await redis.close()


async def reason_of(redis: Redis, *command: str | bytes | int) -> str:
    """Return why a command fails."""
    with pytest.raises(UnavailableError) as caught:
        await redis.execute(*command)
    return caught.value.reason


def breaker() -> float:
    """Return what the metric says: 1 while commands fail at once."""
    return float(metrics.redis_breaker_open._value.get())


async def recovers(redis: Redis) -> None:
    """Ask until there is an answer."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await redis.execute("PING")
            except UnavailableError:
                await asyncio.sleep(0.01)
            else:
                return
