"""What all replicas have counted together, in Redis, for a day.

::

    {tenant:cache}:stats:<minute>      a hash of one minute, kept for 65
    {tenant:cache}:stats:10m:<number>  the same counts by ten minutes, kept for 24 hours and a half

    <namespace>/<class>/<counter>      a field: what was counted
    <namespace>/<class>/               a field: that the group is there
    #                                  a field: how many groups are there
    ~<replica>.<part>                  a field: the last batch that this replica has added

Two hashes for each count, because minutes kept for a day would be 1,500 hashes for a tenant that is
always busy; these are 210. The number of a batch is stored in the same step as what it adds, so a
batch whose answer was lost is sent again and still counted once.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import structlog

from mainstay.errors import UnavailableError
from services.cache.keys import tenant_key
from services.cache.ports import NowMs
from services.cache.statistics import (
    OTHER,
    Counted,
    Group,
    Tallies,
    Tally,
    counters,
    from_counters,
)
from services.cache.store_errors import FAILURES, cache_error
from shared.redis.client import Redis, Script
from shared.redis.link import RedisReplyError
from shared.rpc.call import Tenant

MAX_GROUPS = 200
"""Groups of one tenant that a hash holds; what comes later is added to one for all others."""
FINE_MINUTES = 60
"""The longest window that is answered from hashes of one minute."""

_MINUTE_MS = 60_000
_TEN_MINUTES_MS = 10 * _MINUTE_MS
_KEPT_MS = (65 * _MINUTE_MS, 24 * 60 * _MINUTE_MS + 3 * _TEN_MINUTES_MS)
# Few enough that what is sent at once holds Redis up for well below a millisecond.
_COUNTERS_PER_CALL = 12
_CALLS_AT_ONCE = 10
# Of a tenant with many groups each takes Redis half a millisecond, in which nothing else happens.
_READS_AT_ONCE = 4
_COUNT = Script.load("services.cache", "lua/count.lua")

log = structlog.get_logger()


class _Call(NamedTuple):
    """One run of the script: a part of what was counted for one tenant."""

    keys: tuple[bytes, bytes]
    args: tuple[bytes | str | int, ...]


class RedisStatistics:
    """Adds what this replica counted to what all have, and reads the sum.

    `replica` is a name that no other process has or had. What cannot be written is kept, and
    counted into the minute in which it can.
    """

    def __init__(self, redis: Redis, now_ms: NowMs, *, replica: str) -> None:
        self._redis = redis
        self._now_ms = now_ms
        self._replica = replica
        self._waiting = Tallies()
        self._unsent: list[_Call] = []
        self._number = 0
        self._flushing = asyncio.Lock()

    def add(self, counted: Sequence[Counted]) -> None:
        """Take what is to be written with the next flush."""
        self._waiting.add(counted)

    async def flush(self) -> None:
        """Write all there is; raises CacheError while Redis does not take it."""
        async with self._flushing:
            # First what is in doubt, exactly as it was: only so it can be counted once.
            await self._send()
            self._unsent = [*self._calls(self._waiting.drain())]
            await self._send()

    async def _send(self) -> None:
        while self._unsent:
            calls = self._unsent[:_CALLS_AT_ONCE]
            replies = await self._redis.run_script_many(_COUNT, calls)
            answered = [*zip(calls, replies, strict=True)]
            lost = [
                (call, reply) for call, reply in answered if isinstance(reply, UnavailableError)
            ]
            self._unsent = [call for call, _ in lost] + self._unsent[_CALLS_AT_ONCE:]
            for call, reply in answered:
                if isinstance(reply, RedisReplyError):
                    # Something foreign lies there; to try again would hold up all the others.
                    log.warning("statistics_refused", key=call.keys[0], error=str(reply))
            if lost:
                raise cache_error(lost[0][1]) from lost[0][1]

    def _calls(self, counted: Sequence[Counted]) -> Iterator[_Call]:
        self._number += 1
        now = self._now_ms()
        tenants: dict[str, list[Counted]] = defaultdict(list)
        for group, tally in counted:
            tenants[group.tenant].append((group, tally))
        for tenant, groups in tenants.items():
            keys = (
                _minute_key(tenant, now // _MINUTE_MS),
                _ten_key(tenant, now // _TEN_MINUTES_MS),
            )
            for part, fields in enumerate(_parts(groups)):
                writer = f"~{self._replica}.{part}"
                head = (writer, self._number, MAX_GROUPS, _group_name(OTHER, ""), *_KEPT_MS)
                yield _Call(keys, (*head, *fields))

    async def read(self, tenant: Tenant, minutes: int) -> dict[Group, Tally]:
        """Return what was flushed within the last `minutes`, begun ones included, by group.

        Windows of up to an hour begin with a minute, longer ones with ten: what was counted
        earlier within those is part of the answer. Raises CacheError.
        """
        sums: dict[bytes, int] = defaultdict(int)
        keys = _window(tenant, self._now_ms(), minutes)
        for start in range(0, len(keys), _READS_AT_ONCE):
            part = keys[start : start + _READS_AT_ONCE]
            for fields in await self._redis.execute_many(("HGETALL", key) for key in part):
                if isinstance(fields, FAILURES):
                    raise cache_error(fields) from fields
                for name, count in _pairs(fields):
                    if b"/" in name:
                        sums[name] += int(count)
        return _tallies(tenant, sums)


def _pairs(reply: Any) -> Iterable[tuple[bytes, bytes]]:
    """Return the fields of a hash, whichever version of the protocol the connection speaks."""
    if isinstance(reply, dict):
        return reply.items()
    return zip(reply[::2], reply[1::2], strict=True)


def _parts(groups: Sequence[Counted]) -> Iterator[list[str | int]]:
    """Yield the arguments of one script call after another."""
    part: list[str | int] = []
    size = 0
    for group, tally in groups:
        counted = [*counters(tally)]
        if size and size + len(counted) > _COUNTERS_PER_CALL:
            yield part
            part, size = [], 0
        size += len(counted)
        part += (_group_name(group.namespace, group.ttl_class), len(counted))
        for pair in counted:
            part += pair
    if part:
        yield part


def _window(tenant: str, now_ms: int, minutes: int) -> list[bytes]:
    begin = now_ms - minutes * _MINUTE_MS
    if minutes <= FINE_MINUTES:
        first, last = begin // _MINUTE_MS, now_ms // _MINUTE_MS
        return [_minute_key(tenant, minute) for minute in range(first, last + 1)]
    first, last = begin // _TEN_MINUTES_MS, now_ms // _TEN_MINUTES_MS
    return [_ten_key(tenant, ten) for ten in range(first, last + 1)]


def _minute_key(tenant: str, minute: int) -> bytes:
    return tenant_key(tenant, f"stats:{minute}")


def _ten_key(tenant: str, ten: int) -> bytes:
    return tenant_key(tenant, f"stats:10m:{ten}")


def _group_name(namespace: str, ttl_class: str) -> str:
    # Neither namespaces nor classes contain a slash.
    return f"{namespace}/{ttl_class}/"


def _tallies(tenant: str, sums: Mapping[bytes, int]) -> dict[Group, Tally]:
    numbers: dict[Group, dict[str, int]] = defaultdict(dict)
    for field, count in sums.items():
        namespace, ttl_class, counter = field.decode().split("/")
        if counter:
            numbers[Group(tenant, namespace, ttl_class)][counter] = count
    return {group: from_counters(found) for group, found in numbers.items()}
