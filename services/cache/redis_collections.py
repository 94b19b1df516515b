"""Counters, lists and sets in Redis: the frame under the entry's key, the items beside it.

A counter's value is in its frame, in decimal, so that Get reads it like any other. Items lie in a
native list or set with the same expiry. Every change is one script over both.
"""

from collections.abc import Sequence
from typing import Any

from services.cache.channels import WAKE
from services.cache.collection import Changed, Target, Unchanged
from services.cache.entry import Kind
from services.cache.frame import FIXED, VERSION, Header, decode_header, encode
from services.cache.keys import EntryName, entry_key, items_key, lease_key
from services.cache.limits import MAX_LENGTH
from services.cache.lists import Part, Span
from services.cache.quota import LIST_ITEM_OVERHEAD, SET_MEMBER_OVERHEAD
from services.cache.sets import Scanned
from services.cache.store_errors import FAILURES, cache_error
from shared.redis.client import Redis, Script
from shared.redis.wire import Argument


def _script(*names: str) -> Script:
    parts = (f"lua/{name}.lua" for name in ("collection", *names))
    return Script.load("services.cache", *parts)


_INCREMENT = _script("increment")
_PUSH = _script("list", "push")
_TRIM = _script("list", "trim")
_ADD = _script("add")
_REMOVE = _script("remove")

_CHANGED = 1
_UNCHANGED = {0: Unchanged.REPLACED, 2: Unchanged.TOO_LARGE, 3: Unchanged.TOO_MANY}
# Where the times and the stamp lie in a frame, and where kind, class and tags begin.
_TIMES = slice(12, 44)
_KIND_AT = 52


class RedisCollections:
    """The stores of counters, lists and sets; `max_bytes` is what one of them may count for."""

    def __init__(self, redis: Redis, *, max_bytes: int) -> None:
        self._redis = redis
        self._max_bytes = max_bytes

    async def increment(self, target: Target, delta: int) -> Changed | Unchanged:
        """Add to a counter; see `CounterStore`."""
        state, *rest = await self._change(_INCREMENT, target, b"%d" % delta)
        if state != _CHANGED:
            return Unchanged.OVERFLOW if state else Unchanged.REPLACED
        value, replaced = rest
        charged = target.entry.charged
        before = 0 if target.living is None else charged
        return Changed(1, 0, before, charged, _paid(replaced), int(value))

    async def push(
        self, target: Target, items: Sequence[bytes], *, at_head: bool, max_length: int
    ) -> Changed | Unchanged:
        """Add items to one end of a list; see `ListStore`."""
        command = "LPUSH" if at_head else "RPUSH"
        return _result(
            await self._change(
                _PUSH, target, command, max_length, self._max_bytes, LIST_ITEM_OVERHEAD, *items
            )
        )

    async def trim(self, target: Target, span: Span) -> Changed | Unchanged:
        """Keep a part of a list; see `ListStore`."""
        return _result(await self._change(_TRIM, target, *span, LIST_ITEM_OVERHEAD))

    async def part(self, name: EntryName, span: Span) -> Part:
        """Return a part of what lies there; see `ListStore`."""
        items = items_key(entry_key(*name))
        part, length = await self._read(("LRANGE", items, *span), ("LLEN", items))
        return Part(part, length)

    async def add(self, target: Target, members: Sequence[bytes]) -> Changed | Unchanged:
        """Add members to a set; see `SetStore`."""
        return _result(
            await self._change(
                _ADD, target, MAX_LENGTH, self._max_bytes, SET_MEMBER_OVERHEAD, *members
            )
        )

    async def remove(self, target: Target, members: Sequence[bytes]) -> Changed | Unchanged:
        """Remove members from a set; see `SetStore`."""
        return _result(await self._change(_REMOVE, target, SET_MEMBER_OVERHEAD, *members))

    async def scan(self, name: EntryName, cursor: int, count: int) -> Scanned:
        """Return some members of what lies there; see `SetStore`."""
        items = items_key(entry_key(*name))
        (following, members), size = await self._read(
            ("SSCAN", items, cursor, "COUNT", count), ("SCARD", items)
        )
        return Scanned(members, int(following), size)

    async def contains(self, name: EntryName, members: Sequence[bytes]) -> Sequence[bool]:
        """Tell who is a member of what lies there; see `SetStore`."""
        items = items_key(entry_key(*name))
        (flags,) = await self._read(("SMISMEMBER", items, *members))
        return [bool(flag) for flag in flags]

    async def _change(self, script: Script, target: Target, *args: Argument) -> Any:
        where = entry_key(*target.name)
        living = b"" if target.living is None else encode(target.living._replace(value=b""))
        dead = target.dead_version
        begin: tuple[Argument, ...] = (
            living[_TIMES],
            living[_KIND_AT:],
            b"" if dead is None else VERSION.pack(dead),
            VERSION.pack(target.entry.version),
            encode(target.entry),
            b"" if target.ttl_ms is None else target.ttl_ms,
            WAKE,
        )
        keys = (where, lease_key(where), items_key(where))
        try:
            return await self._redis.run_script(script, keys, (*begin, *args))
        except FAILURES as error:
            raise cache_error(error) from error

    async def _read(self, *commands: tuple[Argument, ...]) -> list[Any]:
        replies = await self._redis.execute_many(commands)
        for reply in replies:
            if isinstance(reply, FAILURES):
                raise cache_error(reply) from reply
            if isinstance(reply, BaseException):
                raise reply
        return replies


def _result(reply: Sequence[Any]) -> Changed | Unchanged:
    if reply[0] != _CHANGED:
        return _UNCHANGED[reply[0]]
    _, size, count, before, after, *replaced = reply
    return Changed(size, count, before, after, _paid(replaced[0]) if replaced else None)


def _paid(start: bytes) -> Header | None:
    """Return the header of what was replaced, or None where nothing was that counts."""
    header = decode_header(start[: FIXED.size])
    return None if header is None or header.kind is Kind.TOMBSTONE else header
