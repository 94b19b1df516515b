"""Changes entries in Redis, each in one step; ended by Redis's own expiry.

Redis alone judges whether an entry has ended, so that a replica with a wrong clock can neither
stretch nor cut its life. Commands of concurrent calls leave in one pipeline (`shared.redis`).
"""

from collections.abc import Sequence
from typing import Any

from mainstay.errors import CacheError
from services.cache.channels import WAKE
from services.cache.entry import Entry, Kind, MissReason
from services.cache.frame import VERSION, Header, decode_header, encode
from services.cache.keys import EntryName, entry_key, items_key, lease_key
from services.cache.ports import Condition, Dropped, Existence, NewVersion, NowMs, Put, PutState
from services.cache.store_errors import FAILURES, cache_error
from shared.redis.client import Redis, Script

LONGEST_TOMBSTONE_MS = 3_600_000
"""How long it is remembered that an entry was removed; never longer than it would have lived."""

EVICTED_TOMBSTONE_MS = 60_000
"""The same for one that made room: its note must not take that room for long."""

_PUT = Script.load("services.cache", "lua/put.lua")
_DROP = Script.load("services.cache", "lua/drop.lua")
_TOUCH = Script.load("services.cache", "lua/touch.lua")
_STATES = (PutState.STORED, PutState.LEASE_LOST, PutState.CONDITION_UNMET)


class RedisEntryStore:
    """The `EntryStore` of production and of the tests: there is no other."""

    def __init__(self, redis: Redis, *, now_ms: NowMs, new_version: NewVersion) -> None:
        self._redis = redis
        self._now_ms = now_ms
        self._new_version = new_version

    async def put(
        self,
        name: EntryName,
        entry: Entry,
        ttl_ms: int | None,
        *,
        condition: Condition = None,
        dead_version: int | None = None,
        lease_token: bytes | None = None,
    ) -> Put:
        state, old = await self._run(
            _PUT,
            _keys(name),
            (
                encode(entry),
                _or_empty(ttl_ms),
                _condition(condition),
                b"" if dead_version is None else VERSION.pack(dead_version),
                lease_token or b"",
                WAKE,
            ),
        )
        return Put(state=_STATES[state], replaced=_living(decode_header(old)))

    async def drop(
        self, name: EntryName, reason: MissReason, *, version: int | None = None
    ) -> Dropped:
        wanted = b"" if version is None else VERSION.pack(version)
        evicted = reason is MissReason.EVICTED
        longest = EVICTED_TOMBSTONE_MS if evicted else LONGEST_TOMBSTONE_MS
        args = (self._tombstone(reason), longest, WAKE, wanted)
        return _dropped(await self._run(_DROP, _keys(name), args))

    async def drop_many(
        self, names: Sequence[EntryName], reason: MissReason
    ) -> Sequence[Dropped | CacheError]:
        args = (self._tombstone(reason), LONGEST_TOMBSTONE_MS, WAKE, b"")
        calls = [(_keys(name), args) for name in names]
        replies = await self._redis.run_script_many(_DROP, calls)
        return [_dropped_or_failed(reply) for reply in replies]

    async def touch(self, name: EntryName, entry: Entry, ttl_ms: int | None) -> Header | None:
        where = entry_key(*name)
        times = VERSION.pack(entry.soft_expiry_ms or 0) + VERSION.pack(entry.expiry_ms or 0)
        judged = VERSION.pack(entry.version) + VERSION.pack(entry.create_ms)
        keys = (where, items_key(where))
        return decode_header(await self._run(_TOUCH, keys, (judged, times, _or_empty(ttl_ms))))

    def _tombstone(self, reason: MissReason) -> bytes:
        now = self._now_ms()
        return encode(
            Entry(
                value=b"",
                content_type="",
                version=self._new_version(),
                create_ms=now,
                soft_expiry_ms=None,
                expiry_ms=now + LONGEST_TOMBSTONE_MS,
                stamp=0,
                kind=Kind.TOMBSTONE,
                last_miss=reason,
            )
        )

    async def _run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes | int]) -> Any:
        try:
            return await self._redis.run_script(script, keys, args)
        except FAILURES as error:
            raise cache_error(error) from error


def _dropped_or_failed(reply: Any) -> Dropped | CacheError:
    if isinstance(reply, FAILURES):
        return cache_error(reply)
    if isinstance(reply, BaseException):
        raise reply
    return _dropped(reply)


def _dropped(reply: Sequence[Any]) -> Dropped:
    existed, old = reply
    return Dropped(existed=bool(existed), header=_living(decode_header(old)))


def _keys(name: EntryName) -> tuple[bytes, bytes, bytes]:
    where = entry_key(*name)
    return where, lease_key(where), items_key(where)


def _or_empty(ttl_ms: int | None) -> bytes | int:
    return b"" if ttl_ms is None else ttl_ms


def _condition(condition: Condition) -> bytes:
    match condition:
        case None:
            return b""
        case Existence():
            return condition.value.encode()
        case version:
            return VERSION.pack(version)


def _living(header: Header | None) -> Header | None:
    """Return a header, or None for a tombstone's: nobody pays for those."""
    return None if header is None or header.kind is Kind.TOMBSTONE else header
