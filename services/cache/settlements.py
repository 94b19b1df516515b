"""What has to come off the books, collected for a moment and written together.

Who replaces or removes an entry must not wait for bookkeeping. What is lost on the way (a process
that was killed, a Redis that was gone, a buffer that was full) leaves the books too high, never too
low: an entry with an end until that end, a permanent one until it is the least recently used.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import structlog

from mainstay.errors import CacheError
from services.cache.entry import Entry, Kind
from services.cache.frame import Header
from services.cache.keys import EntryName, tenant_key
from services.cache.permanent_books import class_key, member, permanent_classes
from services.cache.ports import Policies
from services.cache.quota import bucket_end, identity
from services.cache.store_errors import FAILURES, cache_error
from services.cache.usage_metrics import settlements_dropped
from shared.redis.client import Redis, Script
from shared.redis.wire import Argument

INTERVAL = 0.1
"""Seconds after which what was collected is written."""

MAX_PENDING = 10_000
"""Corrections that wait at most, over all tenants; buckets count once, whatever their entries."""

# What one run of a script gets: it must not hold up others.
_BUCKETS_AT_ONCE = 16
_NAMES_AT_ONCE = 16
# And the connection: it carries other calls too.
_TENANTS_AT_ONCE = 100
# More rounds than a tenant has buckets, at 64 a round.
_ROLLS = 10

_SETTLE = Script.load("services.cache", "lua/settle.lua")
_SETTLE_PERMANENT = Script.load("services.cache", "lua/settle_permanent.lua")
_ROLL = Script.load("services.cache", "lua/roll.lua")

log = structlog.get_logger()


class Correction(NamedTuple):
    """One change to the books of permanent entries, as settle_permanent.lua takes it."""

    member: bytes
    identity: bytes
    what: str
    amount: int = 0
    ttl_class: str = ""
    used_ms: int = 0


class _Pending:
    """What waits for one tenant."""

    def __init__(self) -> None:
        self.buckets: dict[int, tuple[int, int]] = {}
        self.corrections: list[Correction] = []
        self.due = False

    def __len__(self) -> int:
        return len(self.buckets) + len(self.corrections)


class Settlements:
    """Collects corrections and writes them; `clock` replaces Redis's in tests, in seconds."""

    def __init__(
        self,
        redis: Redis,
        policies: Policies,
        *,
        max_pending: int = MAX_PENDING,
        clock: Argument = b"",
    ) -> None:
        self._redis = redis
        self._policies = policies
        self._max_pending = max_pending
        self.clock = clock
        self._pending: dict[str, _Pending] = {}
        self._count = 0

    def gone(self, name: EntryName, entry: Header | Entry) -> None:
        """Take an entry off the books that was replaced, removed or not written after all."""
        if entry.kind is Kind.TOMBSTONE:
            return
        if entry.expiry_ms is None:
            self.correct(name.tenant, Correction(member(name), identity(entry), "gone"))
        else:
            end = bucket_end(entry.create_ms, entry.expiry_ms)
            self._take_out(name.tenant, end, 1, entry.charged)

    def shrunk(self, name: EntryName, entry: Entry, by: int) -> None:
        """Take `by` bytes off what is booked for an entry that goes on."""
        if by <= 0:
            return
        if entry.expiry_ms is None:
            self.correct(name.tenant, Correction(member(name), identity(entry), "bytes", by))
        else:
            self._take_out(name.tenant, bucket_end(entry.create_ms, entry.expiry_ms), 0, by)

    def correct(self, tenant: str, correction: Correction) -> None:
        """Change what is booked for a permanent entry."""
        if self._has_room():
            self._of(tenant).corrections.append(correction)
            self._count += 1

    def rolls(self, tenant: str) -> None:
        """Take the buckets that have ended off a tenant's totals."""
        if self._count < self._max_pending:
            self._of(tenant).due = True

    async def flush_once(self) -> None:
        """Write what waits for every tenant; raises CacheError when some of it was lost."""
        pending, self._pending, self._count = self._pending, {}, 0
        lost = None
        for part in _parts([*pending.items()], _TENANTS_AT_ONCE):
            writes = (self._write(tenant, of_one) for tenant, of_one in part)
            for result in await asyncio.gather(*writes, return_exceptions=True):
                if isinstance(result, BaseException):
                    lost = result
        if lost is not None:
            raise lost

    async def flush(self, tenant: str) -> None:
        """Write what waits for one tenant, and take what has ended off its totals.

        Raises CacheError.
        """
        of_one = self._pending.pop(tenant, None) or _Pending()
        self._count -= len(of_one)
        of_one.due = True
        await self._write(tenant, of_one)

    async def apply(self, tenant: str, corrections: Sequence[Correction]) -> None:
        """Write corrections now; raises CacheError."""
        of_one = _Pending()
        of_one.corrections.extend(corrections)
        await self._write(tenant, of_one)

    async def run(self) -> None:
        """Write again and again; once more at the end. For a background task."""
        try:
            while True:
                await asyncio.sleep(INTERVAL)
                await self._flush_or_say()
        finally:
            await self._flush_or_say()

    async def _flush_or_say(self) -> None:
        # What came up while Redis is away waits for it.
        if self._pending and self._redis.connected:
            try:
                await self.flush_once()
            except CacheError as error:
                log.warning("settlements_lost", error=error.message)

    def _take_out(self, tenant: str, end: int, entries: int, charged: int) -> None:
        waiting = self._pending.get(tenant)
        if waiting is None or end not in waiting.buckets:
            if not self._has_room():
                return
            waiting = self._of(tenant)
            waiting.buckets[end] = (0, 0)
            self._count += 1
        before = waiting.buckets[end]
        waiting.buckets[end] = (before[0] + entries, before[1] + charged)

    def _has_room(self) -> bool:
        if self._count < self._max_pending:
            return True
        settlements_dropped.inc()
        return False

    def _of(self, tenant: str) -> _Pending:
        return self._pending.setdefault(tenant, _Pending())

    async def _write(self, tenant: str, pending: _Pending) -> None:
        try:
            await self._write_buckets(tenant, pending.buckets)
            await self._write_corrections(tenant, pending.corrections)
            if pending.due:
                await self._roll(tenant)
        except FAILURES as error:
            # Not again: what Redis may have done already would be taken off twice.
            settlements_dropped.inc(len(pending))
            raise cache_error(error) from error

    async def _write_buckets(self, tenant: str, buckets: dict[int, tuple[int, int]]) -> None:
        keys = (tenant_key(tenant, "usage"),)
        triples = [(end, *amounts) for end, amounts in buckets.items()]
        calls = [(keys, _flat(part)) for part in _parts(triples, _BUCKETS_AT_ONCE)]
        _raise_first(await self._redis.run_script_many(_SETTLE, calls))

    async def _write_corrections(self, tenant: str, corrections: Sequence[Correction]) -> None:
        classes = permanent_classes(self._policies.current)
        keys = (
            tenant_key(tenant, "usage"),
            tenant_key(tenant, "held"),
            *(class_key(tenant, ttl_class) for ttl_class in classes),
        )
        calls = [
            (keys, (len(classes), *classes, *_flat(part)))
            for part in _parts(corrections, _NAMES_AT_ONCE)
        ]
        _raise_first(await self._redis.run_script_many(_SETTLE_PERMANENT, calls))

    async def _roll(self, tenant: str) -> None:
        keys = (tenant_key(tenant, "usage"), tenant_key(tenant, "ends"))
        for _ in range(_ROLLS):
            if not await self._redis.run_script(_ROLL, keys, (self.clock,)):
                return


def _parts(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _flat(rows: Sequence[Sequence[Argument]]) -> list[Argument]:
    return [value for row in rows for value in row]


def _raise_first(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
