"""Books permanent entries by name, and makes room for them by evicting others of their class.

Redis evicts nothing: its policy holds for all it keeps, and would take counters and leases to make
room for embeddings. Here a class with a budget gives up what was not used for longest, and nothing
else ever goes for it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from mainstay.errors import QuotaError
from services.cache.entry import Entry, MissReason
from services.cache.frame import FIXED, VERSION, Header, decode_header
from services.cache.keys import EntryName, entry_key, tenant_key
from services.cache.permanent_books import class_key, identities, member, name_of
from services.cache.ports import EntryStore, KeyLog, Policies
from services.cache.quota import (
    BYTES,
    ENTRIES,
    exceeded,
    identity,
    making_room,
    of_class,
    too_large,
)
from services.cache.settlements import Correction, Settlements
from services.cache.store_errors import FAILURES, cache_error
from services.cache.usage_metrics import evictions, refusals
from shared.redis.client import Redis, Script
from shared.redis.wire import Argument
from shared.rpc.call import Tenant

# Rounds of up to 16 victims that one write makes room by. A write that would need more fails, and
# the next finds the room it made.
_ROUNDS = 64

_ADMIT = Script.load("services.cache", "lua/admit_permanent.lua")
_BOOKED = 1
_MAKE_ROOM = 2
_CLASS = "class"


class _Wish(NamedTuple):
    """What is to be booked: the script's keys and arguments, and what errors tell of it."""

    tenant: str
    ttl_class: str
    keys: tuple[bytes, bytes, bytes]
    args: tuple[Argument, ...]
    limits: Mapping[str, int | None]
    asked: int


class PermanentUsage:
    """The part of `Usage` for entries without an end."""

    def __init__(
        self,
        redis: Redis,
        *,
        policies: Policies,
        store: EntryStore,
        key_log: KeyLog,
        settlements: Settlements,
    ) -> None:
        self._redis = redis
        self._policies = policies
        self._store = store
        self._key_log = key_log
        self._settlements = settlements
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def book(self, name: EntryName, entry: Entry, more: int | None = None) -> None:
        """Book an entry, or `more` bytes for one; see `ports.Charge.admit`."""
        wish = self._wish(name, entry, more)
        most = wish.limits[_CLASS]
        if most is not None and entry.charged + (more or 0) > most:
            refusals.labels(quota=_CLASS).inc()
            raise too_large(entry.ttl_class, limit=most, asked=entry.charged + (more or 0))
        reply = await self._ask(wish)
        if reply[0] != _BOOKED:
            # One at a time: what many evict at once for themselves, others would take.
            which = (name.tenant, entry.ttl_class)
            async with self._locks.setdefault(which, asyncio.Lock()):
                await self._make_room(wish)

    def _wish(self, name: EntryName, entry: Entry, more: int | None) -> _Wish:
        policy = self._policies.current
        quota = policy.quota_of(name.tenant)
        ttl_class = policy.classes.get(entry.ttl_class)
        most = None if ttl_class is None else ttl_class.max_bytes
        charged = entry.charged + (more or 0)
        return _Wish(
            tenant=name.tenant,
            ttl_class=entry.ttl_class,
            keys=(
                tenant_key(name.tenant, "usage"),
                tenant_key(name.tenant, "held"),
                class_key(name.tenant, entry.ttl_class),
            ),
            args=(
                b"",
                bound(quota.max_entries),
                bound(quota.max_bytes),
                entry.ttl_class,
                bound(most),
                member(name),
                identity(entry),
                charged,
                b"" if more is None else more,
            ),
            limits={ENTRIES: quota.max_entries, BYTES: quota.max_bytes, _CLASS: most},
            asked=charged if more is None else more,
        )

    async def _make_room(self, wish: _Wish) -> None:
        """Evict until there is room, and book."""
        # Before anything goes or is refused: what this process knows to be gone.
        await self._settlements.flush(wish.tenant)
        for _ in range(_ROUNDS):
            reply = await self._ask(wish)
            if reply[0] == _BOOKED:
                return
            if reply[0] != _MAKE_ROOM:
                raise _refused(wish, reply[1].decode(), reply[2])
            await self._evict(wish.tenant, wish.ttl_class, reply[1:])
        raise making_room(wish.ttl_class)

    async def _evict(self, tenant: str, ttl_class: str, victims: Sequence[bytes]) -> None:
        """Remove entries, given as names and what is booked under each, and settle them.

        In this order: what was removed but is still booked is a victim again, while nothing would
        ever find what was settled but is still there.
        """
        pairs = [*zip(victims[::2], victims[1::2], strict=True)]
        await asyncio.gather(*(self._drop(tenant, called, held) for called, held in pairs))
        evictions.labels(ttl_class=ttl_class).inc(len(pairs))
        gone = [
            Correction(called, who, "gone") for called, held in pairs for who in identities(held)
        ]
        await self._settlements.apply(tenant, gone)

    async def _drop(self, tenant: str, called: bytes, held: bytes) -> None:
        name = name_of(tenant, called)
        for who in identities(held):
            version = await self._version_of(name, who)
            if version is None:
                continue
            dropped = await self._store.drop(name, MissReason.EVICTED, version=version)
            if dropped.header is not None and dropped.header.near:
                await self._key_log.append_keys(Tenant(tenant), name.namespace, (name.key,))

    async def _version_of(self, name: EntryName, who: bytes) -> int | None:
        """Return the version that a booked entry has now; None if another stands there."""
        if who.startswith(b"v"):
            return int(VERSION.unpack(who[1:])[0])
        header = await standing_header(self._redis, name)
        return header.version if header is not None and identity(header) == who else None

    async def _ask(self, wish: _Wish) -> Any:
        try:
            return await self._redis.run_script(_ADMIT, wish.keys, wish.args)
        except FAILURES as error:
            raise cache_error(error) from error


async def standing_header(redis: Redis, name: EntryName) -> Header | None:
    """Return the header of what stands under a name and counts; raises CacheError."""
    try:
        start = await redis.execute("GETRANGE", entry_key(*name), 0, FIXED.size - 1)
    except FAILURES as error:
        raise cache_error(error) from error
    header = decode_header(start)
    return header if header is not None and header.charged else None


def bound(limit: int | None) -> int:
    """Return a limit as the scripts take it."""
    return -1 if limit is None else limit


def _refused(wish: _Wish, quota: str, used: int) -> QuotaError:
    refusals.labels(quota=quota).inc()
    called = of_class(wish.ttl_class) if quota == _CLASS else quota
    asked = 1 if quota == ENTRIES else wish.asked
    return exceeded(called, used=used, limit=wish.limits[quota] or 0, asked=asked)
