"""A replica whose feed is watched, and what is heard of it."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from services.cache.channels import INVALIDATED
from services.cache.histories import RedisHistories
from services.cache.history import Head
from services.cache.redis_log import RedisLog
from services.cache.watcher import Discontinuity, Heartbeat, Message, Started, Told
from services.cache.watching import Watching
from shared.redis.client import Redis
from shared.redis.subscription import Subscription
from shared.rpc.call import Tenant

ACME = Tenant("acme")
OTHER = Tenant("other")
NEVER = 3_600.0
OFTEN = 0.05
PATIENCE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One process of the service, as far as invalidations go."""

    histories: RedisHistories
    watching: Watching
    redis: Redis


@asynccontextmanager
async def replica(
    url: str,
    *,
    interval: float = NEVER,
    hinted: bool = True,
    log_length: int = 10_000,
    max_watchers: int = 1_000,
    max_buffered: int = 1_000,
) -> AsyncIterator[Replica]:
    """Run one that looks for itself every `interval` seconds and hears hints, or not."""
    redis = Redis(url, timeout=5.0)
    await redis.start()
    log = RedisLog(redis, new_epoch=lambda: secrets.token_hex(8), log_length=log_length)
    watching = Watching(
        log, lambda: 0, interval=interval, max_watchers=max_watchers, max_buffered=max_buffered
    )
    subscription = Subscription(
        url,
        [INVALIDATED.decode()],
        on_message=lambda _, tenant: watching.hear(tenant),
        on_gap=watching.look,
    )
    histories = RedisHistories(log)
    if hinted:
        await subscription.start()
    try:
        yield Replica(histories=histories, watching=watching, redis=redis)
    finally:
        await subscription.close()
        await watching.close()
        await histories.close()
        await redis.close()


@asynccontextmanager
async def watched(
    replica: Replica, tenant: Tenant = ACME, resume: Head | None = None
) -> AsyncIterator[AsyncGenerator[Message]]:
    """Watch within the block, from the first message on."""
    async with aclosing(replica.watching.watch(tenant, resume)) as messages:
        first = await following(messages)
        assert isinstance(first, Started)
        yield messages


async def following(messages: AsyncGenerator[Message]) -> Message:
    async with asyncio.timeout(PATIENCE):
        return await anext(messages)


async def told(messages: AsyncGenerator[Message]) -> Told:
    """Return the next message that is not a heartbeat."""
    while isinstance(message := await following(messages), Heartbeat):
        pass
    assert isinstance(message, Told)
    return message


async def gap(messages: AsyncGenerator[Message]) -> Discontinuity:
    while not isinstance(message := await following(messages), Discontinuity):
        pass
    return message


async def until_connected(replica: Replica) -> None:
    async with asyncio.timeout(PATIENCE):
        while not replica.redis.connected:  # noqa: ASYNC110 - it gives no signal
            await asyncio.sleep(0.005)
