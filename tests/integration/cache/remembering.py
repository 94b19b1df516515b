"""Replicas of the cache that do nothing but remember what was invalidated."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import redis.asyncio as redis_py

from mainstay.errors import CacheError
from services.cache.entry import MissReason
from services.cache.histories import RedisHistories
from services.cache.history import History
from services.cache.invalidation_metrics import history_reloads
from services.cache.keys import tenant_key
from services.cache.redis_log import RedisLog
from shared.redis.client import Redis
from shared.rpc.call import Tenant

ACME = Tenant("acme")
OTHER = Tenant("other")
HEAD, LOG, MARKS = (tenant_key(ACME, part) for part in ("head", "log", "epochs"))
FAR_FUTURE = 7_000_000_000_000_000

Replica = Callable[..., AbstractAsyncContextManager[RedisHistories]]


@asynccontextmanager
async def replica_of(
    url: str, *, max_tenants: int = 1_000, max_marks: int = 100_000, log_length: int = 10_000
) -> AsyncIterator[RedisHistories]:
    """Be one replica: a memory and a connection of its own."""
    redis = Redis(url, timeout=5.0)
    await redis.start()
    log = RedisLog(
        redis,
        new_epoch=lambda: secrets.token_hex(8),
        max_marks=max_marks,
        log_length=log_length,
    )
    histories = RedisHistories(log, max_tenants=max_tenants)
    try:
        yield histories
    finally:
        await histories.close()
        await redis.close()


async def verdict(
    histories: RedisHistories,
    stamp: int,
    *tags: str,
    namespace: str = "video",
    key: str = "feed/1",
) -> MissReason | None:
    """Read as the service does, and judge an entry."""
    return (await histories.current(ACME)).verdict(namespace, key, tags, stamp)


async def commands(store: "redis_py.Redis") -> dict[str, int]:
    """Count the commands that Redis has carried out so far."""
    stats = await store.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()}


async def loaded(histories: RedisHistories) -> History:
    """Load what the marks say, past the memory."""
    return await histories._store.load(ACME)


async def snapshot(store: "redis_py.Redis") -> dict[bytes, bytes]:
    """Keep what a replica of the store has got so far."""
    return {key: await store.dump(key) or b"" for key in (HEAD, LOG, MARKS)}


async def set_back(store: "redis_py.Redis", kept: dict[bytes, bytes]) -> None:
    """Go on with an older state, as after a failover."""
    for key, value in kept.items():
        await store.restore(key, 0, value, replace=True)


def reloads(cause: str) -> float:
    return float(history_reloads.labels(cause)._value.get())


async def eventually(histories: RedisHistories) -> History:
    """Ask until the connection is back."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await histories.current(ACME)
            except CacheError:
                await asyncio.sleep(0.01)
