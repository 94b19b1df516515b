"""Counters, lists and sets with all they need, on a real Redis, as the service has them."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from services.cache.collecting import Collections
from services.cache.counters import Counters
from services.cache.entry import Entry, Kind, MissReason
from services.cache.frame import decode
from services.cache.keys import entry_key, items_key
from services.cache.lists import Lists
from services.cache.policy import Quota
from services.cache.reading import RedisReader
from services.cache.recollection import Recollection
from services.cache.redis_collections import RedisCollections
from services.cache.sets import Sets
from services.cache.statistics import CacheStatistics
from shared.redis.client import Redis
from shared.redis.clock import StoreClock
from tests.integration.cache.bookkeeping import TENANT, Bookkeeping, FixedPolicies, name, policies

MEBIBYTE = 1024 * 1024


class Bench:
    """One replica's collections; several on one Redis are several replicas."""

    def __init__(self, books: Bookkeeping, clock: StoreClock, *, max_bytes: int) -> None:
        self.books = books
        self.redis = books.redis
        self.clock = clock
        self.statistics = CacheStatistics()
        collections = Collections(
            reader=RedisReader(books.redis, books.histories, Recollection(), clock.now_ms),
            histories=books.histories,
            charge=books.usage,
            key_log=books.histories,
            statistics=self.statistics,
            policies=books.policies,
            now_ms=clock.now_ms,
            new_version=lambda: random.getrandbits(64),
            chance=random.random,
        )
        store = RedisCollections(books.redis, max_bytes=max_bytes)
        self.counters = Counters(collections, store)
        bounds = {
            "max_push_bytes": MEBIBYTE,
            "max_answer_bytes": 4 * MEBIBYTE,
            "max_bytes": max_bytes,
        }
        self.lists = Lists(collections, store, **bounds)
        self.sets = Sets(collections, store, **bounds)

    @classmethod
    @asynccontextmanager
    async def on(
        cls, url: str, given: FixedPolicies | None = None, *, max_bytes: int = 16 * MEBIBYTE
    ) -> AsyncIterator[Self]:
        """Connect within a block."""
        given = given or policies(Quota(), embeddings=None)
        async with Bookkeeping.on(url, given) as books:
            clock = StoreClock(books.redis)
            await clock.start()
            yield cls(books, clock, max_bytes=max_bytes)

    async def increment(self, key: str, delta: int = 1, *, initial: int = 0) -> int:
        """Add to a counter and return it."""
        counter = await self.counters.increment(TENANT, "video", key, delta=delta, initial=initial)
        return counter.value

    async def items(self, key: str) -> list[bytes]:
        """Return the first thousand items of a list."""
        return [*(await self.lists.read(TENANT, "video", key, start=0, count=1_000)).items]

    async def members(self, key: str, size: int = 1_000) -> set[bytes]:
        """Return all members of a set, page by page."""
        found, token = set[bytes](), ""
        while True:
            page = await self.sets.page(TENANT, "video", key, size=size, token=token)
            found.update(page.members)
            token = page.next_token
            if not token:
                return found

    async def write(self, key: str, kind: Kind = Kind.VALUE) -> None:
        """Write an entry of a kind that lives."""
        history = await self.books.histories.current(TENANT)
        entry = self.books.entry(key, 3)._replace(kind=kind, stamp=history.sequence)
        await self.books.usage.admit(name(key), entry)
        await self.books.store.put(name(key), entry, 3_600_000)

    async def entry(self, key: str) -> Entry | None:
        """Return what is stored under a key."""
        return await stored(self.redis, key)

    async def delete(self, key: str) -> None:
        """Remove an entry as Delete does."""
        await self.books.store.drop(name(key), MissReason.KEY)

    async def milliseconds_left(self, key: str) -> tuple[int, int]:
        """Return how long Redis keeps the entry and its items; -1 for ever, -2 for nothing."""
        where = entry_key(*name(key))
        entry, items = await self.redis.execute_many([("PTTL", where), ("PTTL", items_key(where))])
        return entry, items

    async def ends_together(self, key: str) -> bool:
        """Tell whether an entry and its items end at the same time; what passes meanwhile aside."""
        entry, items = await self.milliseconds_left(key)
        return 0 < items and abs(entry - items) < 10


async def stored(redis: Redis, key: str) -> Entry | None:
    """Return the entry of a frame in Redis."""
    frame = await redis.execute("GET", entry_key(*name(key)))
    return None if frame is None else decode(frame)
