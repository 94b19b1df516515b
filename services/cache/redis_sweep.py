"""What the sweeper needs of Redis: to walk over all entries, and to remove what is dead."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from services.cache.entry import Entry
from services.cache.frame import VERSION, decode
from services.cache.keys import EntryName, entry_key, entry_name, items_key, tenant_key, tenant_of
from services.cache.log_format import BY_EVENT
from services.cache.store_errors import FAILURES, cache_error
from shared.redis.client import Redis, Script
from shared.redis.wire import Argument
from shared.rpc.call import Tenant

# Entries, and the marks of tenants; leases, items and books come along and are skipped.
_MATCH = b"{*:cache[:}]*"
_MARKS = "epochs"
_LOCK = b"mainstay:cache:sweeper"
# Where the header of a frame ends at the latest: 57 bytes, two names of 255, 16 tags of 129.
_HEADER_END = 4095
# What one command or script gets: it must not hold up others.
_READS_AT_ONCE = 100
_FIELDS_AT_ONCE = 200
_LONGEST_SEQUENCE = 16
_NO_FIELDS = {b"epoch", b"floor", b"retired", b"announced"}

_REAP = Script.load("services.cache", "lua/reap.lua")
_FORGET = Script.load("services.cache", "lua/forget.lua")
_HOLD = Script.load("services.cache", "lua/hold.lua")


class Page(NamedTuple):
    """Some keys: entries, and tenants who have a history."""

    names: Sequence[EntryName]
    tenants: Sequence[Tenant]


class Retirement(NamedTuple):
    """What was said not to be written any more, and at which sequence it was said."""

    retired: int
    announced: int


class RedisSweep:
    """All methods raise CacheError when the store is gone."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def hold(self, owner: str, milliseconds: int) -> bool:
        """Be the one who sweeps, for so long; False when another is."""
        return bool(await self._run(_HOLD, _LOCK, [owner, milliseconds]))

    async def now_us(self) -> int:
        """Return the time by the store's clock in microseconds, as sequences follow it."""
        seconds, micros = await self._execute("TIME")
        return int(seconds) * 1_000_000 + int(micros)

    async def pages(self, count: int) -> AsyncIterator[Page]:
        """Yield all there is in pages of about `count` keys looked at.

        What is there from beginning to end comes at least once, or CacheError is raised.
        """
        try:
            async for keys in self._redis.scan_pages(match=_MATCH, count=count):
                names = [name for key in keys if (name := entry_name(key)) is not None]
                tenants = [of for key in keys if (of := tenant_of(key, _MARKS)) is not None]
                yield Page(names, [Tenant(tenant) for tenant in tenants])
        except FAILURES as error:
            raise cache_error(error) from error

    async def entries(self, names: Sequence[EntryName]) -> Sequence[tuple[EntryName, Entry]]:
        """Return the entries that are there, without their values."""
        found = []
        for start in range(0, len(names), _READS_AT_ONCE):
            part = names[start : start + _READS_AT_ONCE]
            replies = await self._redis.execute_many(
                ("GETRANGE", entry_key(*name), 0, _HEADER_END) for name in part
            )
            for name, reply in zip(part, replies, strict=True):
                _raise_failure(reply)
                entry = decode(reply) if isinstance(reply, bytes) else None
                if entry is not None:
                    found.append((name, entry))
        return found

    async def reap(self, dead: Sequence[tuple[EntryName, Entry]]) -> Sequence[bool]:
        """Remove entries as they were judged; False for one that is another by now."""
        calls = []
        for name, entry in dead:
            where = entry_key(*name)
            judged = (VERSION.pack(entry.version), VERSION.pack(entry.stamp))
            calls.append(((where, items_key(where)), judged))
        replies = await self._redis.run_script_many(_REAP, calls)
        for reply in replies:
            _raise_failure(reply)
        return [reply == 1 for reply in replies]

    async def retirement(self, tenant: Tenant) -> Retirement:
        """Return what was announced last."""
        where = tenant_key(tenant, _MARKS)
        retired, announced = await self._execute("HMGET", where, "retired", "announced")
        return Retirement(_sequence(retired), _sequence(announced))

    async def forget(self, tenant: Tenant, up_to: int) -> None:
        """Drop marks up to a sequence."""
        where, cursor = tenant_key(tenant, _MARKS), b"0"
        while True:
            cursor, flat = await self._execute("HSCAN", where, cursor, "COUNT", _FIELDS_AT_ONCE)
            pairs = zip(flat[::2], flat[1::2], strict=True)
            old = [pair for pair in pairs if _is_old(*pair, up_to)]
            for start in range(0, len(old), _FIELDS_AT_ONCE):
                args = [text for pair in old[start : start + _FIELDS_AT_ONCE] for text in pair]
                await self._run(_FORGET, where, args)
            if cursor == b"0":
                return

    async def _run(self, script: Script, key: bytes, args: Sequence[Argument]) -> Any:
        try:
            return await self._redis.run_script(script, [key], args)
        except FAILURES as error:
            raise cache_error(error) from error

    async def _execute(self, *command: Argument) -> Any:
        try:
            return await self._redis.execute(*command)
        except FAILURES as error:
            raise cache_error(error) from error


def _raise_failure(reply: Any) -> None:
    """Raise what is no answer; that another program wrote something there is one."""
    if isinstance(reply, FAILURES) and not str(reply).startswith("WRONGTYPE"):
        raise cache_error(reply) from reply


def _is_old(field: bytes, value: bytes, up_to: int) -> bool:
    digits = value.removesuffix(BY_EVENT)
    return field not in _NO_FIELDS and 0 < _sequence(digits) <= up_to


def _sequence(value: bytes | None) -> int:
    # What is no number of ours was not announced.
    return int(value) if value and value.isdigit() and len(value) <= _LONGEST_SEQUENCE else 0
