"""Replicas of the cache without servers: the use cases of computed entries, wired as usual."""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from services.cache.answer import Answer
from services.cache.channels import WAKE
from services.cache.computing import Computing, Wanted
from services.cache.fill import Fill, Filled, Value
from services.cache.filling import Filling
from services.cache.histories import RedisHistories
from services.cache.keys import EntryName, entry_key, lease_key
from services.cache.lease import Lease
from services.cache.policy import CachePolicy, Quota, TtlClass
from services.cache.reading import RedisReader
from services.cache.recency import Recency
from services.cache.recollection import Recollection
from services.cache.redis_leases import RedisLeases
from services.cache.redis_log import RedisLog
from services.cache.redis_store import RedisEntryStore
from services.cache.redis_usage import Usage
from services.cache.settlements import Settlements
from services.cache.statistics import CacheStatistics, Tally, total
from services.cache.waiters import Waiters
from shared.redis.client import Redis
from shared.redis.subscription import Subscription
from shared.rpc.call import Tenant

ACME = Tenant("acme")
NAME = EntryName(ACME, "video", "feed/1")
WHERE = entry_key(*NAME)
LEASE = lease_key(WHERE)

GENERAL = TtlClass(name="general", ttl_ms=600_000, soft_ttl_ms=60_000, negative_ttl_ms=30_000)
NEVER_EARLY = replace(GENERAL, name="never_early", early_refresh=0.0)
NEAR = replace(GENERAL, name="near", near_max_age_ms=5_000)
PERMANENT = TtlClass(name="permanent", ttl_ms=None, soft_ttl_ms=60_000, max_bytes=1_000_000)
CLASSES = {part.name: part for part in (GENERAL, NEVER_EARLY, NEAR, PERMANENT)}


# No test here is about a Redis that is slow, but the machine may be busy with others.
TIMEOUT = 3.0


class Clock:
    """Redis's clock, which runs on this machine too, and which a test may move."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms


class Policy:
    """The policy in force."""

    def __init__(self) -> None:
        self.current = CachePolicy(classes=CLASSES, default=GENERAL)
        self.problem = ""

    def allow(self, **quota: int) -> None:
        self.current = replace(self.current, quota=Quota(**quota))


@dataclass(kw_only=True)
class World:
    """What all replicas of one test share."""

    clock: Clock = field(default_factory=Clock)
    policy: Policy = field(default_factory=Policy)
    chance: float = 0.0


@dataclass(kw_only=True)
class Replica:
    """One process of the cache."""

    redis: Redis
    histories: RedisHistories
    reader: RedisReader
    store: RedisEntryStore
    leases: RedisLeases
    waiters: Waiters
    statistics: CacheStatistics
    usage: Usage
    computing: Computing
    filling: Filling

    async def ask(
        self, name: EntryName = NAME, *, remaining: float = 30.0, **wanted: Any
    ) -> Answer:
        return await self.computing.get_or_lease(
            Tenant(name.tenant), name.namespace, name.key, Wanted(**wanted), remaining=remaining
        )

    async def lease(self, name: EntryName = NAME, **wanted: Any) -> Lease:
        """Ask, and expect to be the one who computes."""
        answer = await self.ask(name, **wanted)
        assert answer.lease is not None, answer
        return answer.lease

    async def fill(
        self, lease: Lease, value: bytes = b"value", name: EntryName = NAME, **fill: Any
    ) -> Filled:
        filled = Fill(**{"lease_token": lease.token, "found": Value(value=value), **fill})
        return await self.filling.fill(Tenant(name.tenant), name.namespace, name.key, filled)

    async def extend(self, lease: Lease, lease_ms: int) -> int:
        return await self.filling.extend(*NAME_PARTS, lease.token, lease_ms)

    async def abandon(self, lease: Lease, *, error: str = "", throttle_ms: int = 1_000) -> bool:
        return await self.filling.abandon(
            *NAME_PARTS, lease.token, error=error, throttle_ms=throttle_ms
        )

    def counted(self) -> Tally:
        """Return what was counted since the last time."""
        return total(tally for _, tally in self.statistics.drain())


NAME_PARTS = (ACME, NAME.namespace, NAME.key)


@asynccontextmanager
async def running(
    url: str, world: World, *, subscription_url: str | None = None
) -> AsyncIterator[Replica]:
    """Run a replica within the block; `subscription_url` where it listens by another way."""
    async with AsyncExitStack() as resources:
        redis = Redis(url, timeout=TIMEOUT)
        await redis.start()
        resources.push_async_callback(redis.close)
        histories = RedisHistories(RedisLog(redis, new_epoch=lambda: secrets.token_hex(8)))
        resources.push_async_callback(histories.close)
        replica = _wired(redis, histories, world)
        subscription = Subscription(
            subscription_url or url,
            [WAKE.decode()],
            on_message=lambda _, entry: replica.waiters.wake(entry),
            on_gap=replica.waiters.wake_all,
            timeout=TIMEOUT,
        )
        await subscription.start()
        resources.push_async_callback(subscription.close)
        yield replica


def _wired(redis: Redis, histories: RedisHistories, world: World) -> Replica:
    recollection, waiters, statistics = Recollection(), Waiters(), CacheStatistics()
    now_ms = world.clock.now_ms
    reader = RedisReader(redis, histories, recollection, now_ms)
    store = RedisEntryStore(redis, now_ms=now_ms, new_version=_new_version)
    leases = RedisLeases(redis)
    usage = Usage(
        redis,
        policies=world.policy,
        store=store,
        key_log=histories,
        settlements=Settlements(redis, world.policy),
        recency=Recency(redis, now_ms),
    )
    computing = Computing(
        reader=reader,
        leases=leases,
        waiters=waiters,
        histories=histories,
        charge=usage,
        statistics=statistics,
        policies=world.policy,
        recollection=recollection,
        now_ms=now_ms,
        chance=lambda: world.chance,
        new_randomness=lambda: secrets.token_bytes(15),
    )
    filling = Filling(
        reader=reader,
        store=store,
        leases=leases,
        histories=histories,
        key_log=histories,
        charge=usage,
        statistics=statistics,
        policies=world.policy,
        recollection=recollection,
        now_ms=now_ms,
        new_version=_new_version,
        chance=lambda: 0.0,
        max_value_bytes=1_000,
    )
    return Replica(
        redis=redis,
        histories=histories,
        reader=reader,
        store=store,
        leases=leases,
        waiters=waiters,
        statistics=statistics,
        usage=usage,
        computing=computing,
        filling=filling,
    )


def _new_version() -> int:
    return secrets.randbits(64)
