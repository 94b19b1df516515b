"""Which permanent entries were read lately.

A hit must not cost a write. Reads are noted in memory, each entry once, and go to the indexes of
their classes together every second: what is evicted is right to about a second.
"""

import asyncio
from collections.abc import Iterator
from itertools import islice

import structlog

from mainstay.errors import CacheError
from services.cache.entry import Entry
from services.cache.keys import EntryName
from services.cache.permanent_books import class_key, member
from services.cache.ports import NowMs
from services.cache.store_errors import FAILURES, cache_error
from services.cache.usage_metrics import recency_dropped
from shared.redis.client import Redis
from shared.redis.wire import Argument

INTERVAL = 1.0
"""Seconds between two writes."""

MAX_NOTED = 20_000
"""Entries noted at most between two writes; reads of others are not counted then."""

_NAMES_AT_ONCE = 100

log = structlog.get_logger()


class Recency:
    """Notes reads and writes them to the indexes."""

    def __init__(self, redis: Redis, now_ms: NowMs, *, max_noted: int = MAX_NOTED) -> None:
        self._redis = redis
        self._now_ms = now_ms
        self._max_noted = max_noted
        self._noted: dict[tuple[str, EntryName], int] = {}

    def note(self, name: EntryName, entry: Entry) -> None:
        """Note that an entry was read now."""
        noted = (entry.ttl_class, name)
        if len(self._noted) < self._max_noted or noted in self._noted:
            self._noted[noted] = self._now_ms()
        else:
            recency_dropped.inc()

    async def flush_once(self) -> None:
        """Write what was noted; raises CacheError when some of it was lost."""
        noted, self._noted = self._noted, {}
        by_index: dict[bytes, list[Argument]] = {}
        for (ttl_class, name), at in noted.items():
            of_index = by_index.setdefault(class_key(name.tenant, ttl_class), [])
            of_index += (at, member(name))
        replies = await self._redis.execute_many(_commands(by_index))
        for reply in replies:
            if isinstance(reply, FAILURES):
                raise cache_error(reply) from reply
            if isinstance(reply, BaseException):
                raise reply

    async def run(self) -> None:
        """Write again and again; for a background task."""
        while True:
            await asyncio.sleep(INTERVAL)
            if self._noted and self._redis.connected:
                try:
                    await self.flush_once()
                except CacheError as error:
                    log.warning("recency_lost", error=error.message)


def _commands(by_index: dict[bytes, list[Argument]]) -> Iterator[tuple[Argument, ...]]:
    for index, pairs in by_index.items():
        rest = iter(pairs)
        while part := tuple(islice(rest, 2 * _NAMES_AT_ONCE)):
            # XX: what was removed meanwhile must not come back. GT: time must not go back.
            yield ("ZADD", index, "XX", "GT", *part)
