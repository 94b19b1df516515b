"""The books of what tenants hold, in Redis.

An entry is booked before it is written, in one short script in its tenant's slot, and comes off the
books by itself when it ends (`quota.bucket_end`) or soon after it was replaced or removed
(`settlements`). What has no end is booked by name, so that it can make room for others: the store
itself evicts nothing.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from services.cache.entry import Entry
from services.cache.frame import Header
from services.cache.keys import EntryName, tenant_key
from services.cache.permanent_books import member, permanent_classes
from services.cache.permanent_usage import PermanentUsage, bound, standing_header
from services.cache.ports import EntryStore, KeyLog, Policies
from services.cache.quota import (
    BYTES,
    ENTRIES,
    Holding,
    bucket_end,
    exceeded,
    identity,
    of_class,
)
from services.cache.recency import Recency
from services.cache.settlements import Correction, Settlements
from services.cache.store_errors import FAILURES, cache_error
from services.cache.usage_metrics import refusals
from shared.redis.client import Redis, Script
from shared.rpc.call import Tenant

_ADMIT = Script.load("services.cache", "lua/admit.lua")
_BOOKED = 1


class _Refused(NamedTuple):
    quota: str
    used: int


class Usage:
    """The `Charge` of production and of the tests; `run` is its background task."""

    def __init__(
        self,
        redis: Redis,
        *,
        policies: Policies,
        store: EntryStore,
        key_log: KeyLog,
        settlements: Settlements,
        recency: Recency,
    ) -> None:
        self._redis = redis
        self._policies = policies
        self._settlements = settlements
        self._recency = recency
        self._permanent = PermanentUsage(
            redis, policies=policies, store=store, key_log=key_log, settlements=settlements
        )

    async def admit(self, name: EntryName, entry: Entry) -> None:
        """Book an entry that is about to be written; see `ports.Charge`."""
        if entry.expiry_ms is None:
            await self._permanent.book(name, entry)
        else:
            await self._book_or_refuse(name, entry, entries=1, size=entry.charged)

    async def grow(self, name: EntryName, entry: Entry, by: int) -> None:
        """Book `by` more bytes for an entry that is there; raises as `admit` does."""
        if entry.expiry_ms is None:
            await self._permanent.book(name, entry, more=by)
        else:
            await self._book_or_refuse(name, entry, entries=0, size=by)

    def settle(self, name: EntryName, gone: Header | Entry) -> None:
        """Take an entry off the books soon: it was replaced, removed or not written after all."""
        self._settlements.gone(name, gone)

    def shrink(self, name: EntryName, entry: Entry, by: int) -> None:
        """Take `by` bytes off what is booked for an entry that goes on, soon."""
        self._settlements.shrunk(name, entry, by)

    def used(self, name: EntryName, entry: Entry) -> None:
        """Note that an entry of a permanent class was read."""
        if entry.expiry_ms is None:
            self._recency.note(name, entry)

    def found(self, name: EntryName, entry: Entry) -> None:
        """Book a permanent entry that somebody came across, unless it is booked.

        Only a Redis that lost the books but not the entries needs this; whoever walks over entries
        anyway calls it.
        """
        if entry.expiry_ms is None:
            correction = Correction(
                member(name),
                identity(entry),
                "found",
                entry.charged,
                entry.ttl_class,
                entry.create_ms,
            )
            self._settlements.correct(name.tenant, correction)

    async def holdings(self, tenant: Tenant) -> Sequence[Holding]:
        """Return what a tenant holds and may hold; raises CacheError."""
        await self._settlements.flush(tenant)
        policy = self._policies.current
        classes = permanent_classes(policy)
        fields = (ENTRIES, BYTES, *(f"class:{ttl_class}" for ttl_class in classes))
        try:
            reply = await self._redis.execute("HMGET", tenant_key(tenant, "usage"), *fields)
        except FAILURES as error:
            raise cache_error(error) from error
        quota = policy.quota_of(tenant)
        names = (ENTRIES, BYTES, *map(of_class, classes))
        limits = (
            quota.max_entries,
            quota.max_bytes,
            *(policy.classes[ttl_class].max_bytes for ttl_class in classes),
        )
        return [
            Holding(quota=of, used=_number(used), limit=limit)
            for of, used, limit in zip(names, reply, limits, strict=True)
        ]

    async def flush_once(self) -> None:
        """Write all that was collected; raises CacheError when some of it was lost."""
        await self._settlements.flush_once()
        await self._recency.flush_once()

    async def run(self) -> None:
        """Write what is collected again and again; for a background task."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._settlements.run(), name="cache-settlements")
            tasks.create_task(self._recency.run(), name="cache-recency")

    async def _book_or_refuse(
        self, name: EntryName, entry: Entry, *, entries: int, size: int
    ) -> None:
        if await self._book(name, entry, entries, size) is None:
            return
        # Before saying no: what this process knows to be gone, what has ended, and what the entry
        # replaces. Nobody else pays for this.
        await self._settlements.flush(name.tenant)
        replaced = await standing_header(self._redis, name) if entries else None
        refused = await self._book(name, entry, entries, size, replaced)
        if refused is not None:
            limit = getattr(self._policies.current.quota_of(name.tenant), f"max_{refused.quota}")
            asked = entries if refused.quota == ENTRIES else size
            refusals.labels(quota=refused.quota).inc()
            raise exceeded(refused.quota, used=refused.used, limit=limit or 0, asked=asked)

    async def _book(
        self,
        name: EntryName,
        entry: Entry,
        entries: int,
        size: int,
        replaced: Header | None = None,
    ) -> _Refused | None:
        quota = self._policies.current.quota_of(name.tenant)
        assert entry.expiry_ms is not None, "permanent entries are booked by name"
        reply = await self._ask(
            (tenant_key(name.tenant, "usage"), tenant_key(name.tenant, "ends")),
            (
                self._settlements.clock,
                bound(quota.max_entries),
                bound(quota.max_bytes),
                entries,
                size,
                0 if replaced is None else 1,
                0 if replaced is None else replaced.charged,
                bucket_end(entry.create_ms, entry.expiry_ms),
            ),
        )
        if reply[1]:
            self._settlements.rolls(name.tenant)
        return None if reply[0] == _BOOKED else _Refused(reply[2].decode(), reply[3])

    async def _ask(self, keys: Sequence[bytes], args: Sequence[Any]) -> Any:
        try:
            return await self._redis.run_script(_ADMIT, keys, args)
        except FAILURES as error:
            raise cache_error(error) from error


def _number(found: bytes | None) -> int:
    # What is no number of ours is another program's, or was never booked.
    return int(found) if found and found.isdigit() else 0
