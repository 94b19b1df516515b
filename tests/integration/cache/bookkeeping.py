"""The books of the quotas with all they need, on a real Redis; writes entries as use cases do."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Self

from services.cache.entry import Entry, MissReason
from services.cache.frame import decode
from services.cache.histories import RedisHistories
from services.cache.keys import EntryName, entry_key
from services.cache.policy import CachePolicy, Quota, TtlClass
from services.cache.quota import charged_bytes
from services.cache.recency import Recency
from services.cache.redis_log import RedisLog
from services.cache.redis_store import RedisEntryStore
from services.cache.redis_usage import Usage
from services.cache.settlements import MAX_PENDING, Settlements
from shared.redis.client import Redis
from shared.rpc.call import Tenant

TENANT = Tenant("acme")
HOUR_MS = 3_600_000
GENERAL = TtlClass(name="general", ttl_ms=600_000)


@dataclass(slots=True)
class FixedPolicies:
    """The port `Policies` with a policy that a test may replace."""

    current: CachePolicy
    problem: str = ""


def policies(quota: Quota | None = None, **budgets: int | None) -> FixedPolicies:
    """Return a policy with the class `general` and permanent classes with these budgets."""
    permanent = {
        name: TtlClass(name=name, ttl_ms=None, max_bytes=max_bytes)
        for name, max_bytes in budgets.items()
    }
    classes = {"general": GENERAL, **permanent}
    return FixedPolicies(CachePolicy(classes=classes, default=GENERAL, quota=quota or Quota()))


class Bookkeeping:
    """Writes and removes entries of the tenant `acme` in the namespace `video`.

    `now_ms` is the time that entries are written at and that recency goes by.
    """

    def __init__(
        self, redis: Redis, given: FixedPolicies, *, max_pending: int = MAX_PENDING
    ) -> None:
        self.redis = redis
        self.policies = given
        self.now_ms = 1_700_000_000_000
        self._numbers = count(1)
        self.settlements = Settlements(redis, given, max_pending=max_pending)
        self.recency = Recency(redis, lambda: self.now_ms)
        self.store = RedisEntryStore(
            redis, now_ms=lambda: self.now_ms, new_version=lambda: next(self._numbers)
        )
        self.log = RedisLog(redis, new_epoch=lambda: f"{next(self._numbers):x}")
        self.histories = RedisHistories(self.log)
        self.usage = Usage(
            redis,
            policies=given,
            store=self.store,
            key_log=self.histories,
            settlements=self.settlements,
            recency=self.recency,
        )

    @classmethod
    @asynccontextmanager
    async def on(
        cls, url: str, given: FixedPolicies, *, max_pending: int = MAX_PENDING
    ) -> AsyncIterator[Self]:
        """Connect within a block; times are Redis's own from the start."""
        redis = Redis(url, timeout=2.0)
        await redis.start()
        books = cls(redis, given, max_pending=max_pending)
        seconds, _ = await redis.execute("TIME")
        books.now_ms = int(seconds) * 1000
        try:
            yield books
        finally:
            await books.histories.close()
            await redis.close()

    def entry(
        self,
        key: str,
        size: int,
        *,
        ttl_ms: int | None = HOUR_MS,
        ttl_class: str = "",
        near: bool = False,
    ) -> Entry:
        """Return an entry of `size` bytes as a use case would make it."""
        return Entry(
            value=b"x" * size,
            content_type="",
            version=next(self._numbers),
            create_ms=self.now_ms,
            soft_expiry_ms=None,
            expiry_ms=None if ttl_ms is None else self.now_ms + ttl_ms,
            stamp=0,
            ttl_class=ttl_class,
            charged=charged_bytes(name(key), size, permanent=ttl_ms is None),
            near=near,
        )

    async def write(
        self,
        key: str,
        size: int,
        *,
        ttl_ms: int | None = HOUR_MS,
        ttl_class: str = "",
        near: bool = False,
    ) -> Entry:
        """Book, write, and settle what was replaced."""
        entry = self.entry(key, size, ttl_ms=ttl_ms, ttl_class=ttl_class, near=near)
        await self.usage.admit(name(key), entry)
        put = await self.store.put(name(key), entry, ttl_ms)
        if put.replaced is not None:
            self.usage.settle(name(key), put.replaced)
        return entry

    async def remove(self, key: str) -> None:
        """Remove an entry and settle it."""
        dropped = await self.store.drop(name(key), MissReason.KEY)
        if dropped.header is not None:
            self.usage.settle(name(key), dropped.header)

    async def read(self, key: str) -> Entry | None:
        """Return what is stored under a key, a tombstone included, and note the read."""
        frame = await self.redis.execute("GET", entry_key(*name(key)))
        entry = None if frame is None else decode(frame)
        if entry is not None:
            self.usage.used(name(key), entry)
        return entry

    async def lives(self, key: str) -> bool:
        """Tell whether an entry can be read; notes nothing."""
        frame = await self.redis.execute("GET", entry_key(*name(key)))
        entry = None if frame is None else decode(frame)
        return entry is not None and entry.last_miss is None

    async def used(self) -> dict[str, int]:
        """Return what the tenant holds, by quota."""
        return {holding.quota: holding.used for holding in await self.usage.holdings(TENANT)}


def name(key: str) -> EntryName:
    """Return the name of an entry of these tests."""
    return EntryName(TENANT, "video", key)


def charged(keys: Sequence[str], size: int, *, permanent: bool = False) -> int:
    """Return what entries of `size` bytes count together."""
    return sum(charged_bytes(name(key), size, permanent=permanent) for key in keys)
