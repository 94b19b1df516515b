"""Who was limited most on all replicas, in Redis, for a day.

::

    rl:{tenant}:~top:m:<minute>   a sketch of one minute, kept for 65
    rl:{tenant}:~top:h:<hour>     a sketch of one hour, kept for 25 hours
    …:facts                       what belongs to it; see lua/top.lua

The tenant `*` has sketches of its own, of all tenants. The number of a part is stored in the same
step as what it adds, so one whose answer was lost is sent again and still counted once.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import structlog

from mainstay.errors import RateLimitStoreError, UnavailableError
from services.ratelimit.ports import NowUs
from services.ratelimit.store_errors import FAILURES, store_error
from services.ratelimit.top_subjects import CAPACITY, Count, Sketch, Subject, Summary, cut, merged
from shared.redis.client import Redis, Script
from shared.redis.errors import RedisReplyError
from shared.rpc.call import ALL_TENANTS, Tenant

INTERVAL = 2.0
MAX_TENANTS = 50
"""Tenants of which each has a sketch in this process, between two writes; `*` always has one."""
SENT = 200
"""Subjects of a tenant that are written at once; of the others it is known how few they were."""
SIZES = (100, 500)
"""Subjects that the sketch of a minute and of an hour hold."""

_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE
_FINE = 60 * _MINUTE
_KEPT_MS = (65 * 60_000, 25 * 3_600_000)
# Few enough that a part holds Redis up for well below a millisecond.
_PART = 40
_CALLS_AT_ONCE = 10
_READS_AT_ONCE = 2
_TOP = Script.load("services.ratelimit", "lua/top.lua")

log = structlog.get_logger()


class _Call(NamedTuple):
    """One run of the script: a part of what one tenant's sketch knows."""

    keys: tuple[str, ...]
    args: tuple[str | int, ...]


class RedisTop:
    """Counts who is limited, adds it to what all replicas know, and reads that.

    `replica` is a name that no other process has or had. What cannot be written is kept in the
    sketches, which are bounded, and counted into the minute in which it can.
    """

    def __init__(
        self,
        redis: Redis,
        now_us: NowUs,
        *,
        replica: str,
        capacity: int = CAPACITY,
        sizes: tuple[int, int] = SIZES,
    ) -> None:
        self._redis = redis
        self._now_us = now_us
        self._replica = replica
        self._capacity = capacity
        self._sizes = sizes
        self._sketches: dict[str, Sketch] = {}
        self._unsent: list[_Call] = []
        self._number = 0
        self._flushing = asyncio.Lock()

    def limited(self, subject: Subject) -> bool:
        """Count a denial; False when it counts for `*` alone, because of too many tenants."""
        sketches = self._sketches
        of_all = sketches.get(ALL_TENANTS)
        if of_all is None:
            of_all = sketches[ALL_TENANTS] = Sketch(self._capacity)
        of_all.add(subject)
        own = sketches.get(subject.tenant)
        if own is None:
            if len(sketches) > MAX_TENANTS:
                return False
            own = sketches[subject.tenant] = Sketch(self._capacity)
        own.add(subject)
        return True

    async def flush(self) -> None:
        """Write all there is; raises RateLimitStoreError while Redis does not take it."""
        async with self._flushing:
            # First what is in doubt, exactly as it was: only so it can be counted once.
            await self._send()
            sketches, self._sketches = self._sketches, {}
            self._number += 1
            self._unsent = [
                call
                for tenant, sketch in sketches.items()
                for call in self._calls(tenant, cut(sketch.summary(), SENT))
            ]
            await self._send()

    async def run(self) -> None:
        """Flush again and again; once more at the end. For a background task."""
        try:
            while True:
                await asyncio.sleep(INTERVAL)
                await self._flush_or_keep()
        finally:
            await self._flush_or_keep()

    async def most_limited(self, tenant: Tenant, window: int) -> Summary:
        """Return what all replicas know of the last `window` microseconds, up to 24 hours.

        Of this replica everything, of others what they have written. Windows of up to an hour begin
        with a minute, longer ones with an hour. Raises RateLimitStoreError.
        """
        await self.flush()
        keys = _window(tenant, self._now_us(), window)
        summaries: list[Summary] = []
        for start in range(0, len(keys), _READS_AT_ONCE):
            summaries += await self._read(keys[start : start + _READS_AT_ONCE])
        return merged(summaries)

    async def _flush_or_keep(self) -> None:
        try:
            await self.flush()
        except RateLimitStoreError as error:
            log.debug("limited_subjects_kept", error=error.message)

    async def _send(self) -> None:
        while self._unsent:
            calls = self._unsent[:_CALLS_AT_ONCE]
            replies = await self._redis.run_script_many(_TOP, calls)
            answered = [*zip(calls, replies, strict=True)]
            lost = [
                (call, reply) for call, reply in answered if isinstance(reply, UnavailableError)
            ]
            self._unsent = [call for call, _ in lost] + self._unsent[_CALLS_AT_ONCE:]
            for call, reply in answered:
                if isinstance(reply, RedisReplyError):
                    # Something foreign lies there; to try again would hold up all the others.
                    log.warning("limited_subjects_refused", key=call.keys[0], error=str(reply))
            if lost:
                raise store_error(lost[0][1]) from lost[0][1]

    def _calls(self, tenant: str, summary: Summary) -> Iterator[_Call]:
        now = self._now_us()
        sketches = (_minute_key(tenant, now // _MINUTE), _hour_key(tenant, now // _HOUR))
        keys = tuple(key for sketch in sketches for key in (sketch, _facts_key(sketch)))
        counts = list(summary.counts.items())
        for part, start in enumerate(range(0, len(counts), _PART)):
            some = counts[start : start + _PART]
            missing = 0 if part else summary.missing
            head = (f"~{self._replica}.{part}", self._number, missing, len(some))
            flat = [it for key, (most, error) in some for it in (":".join(key), most, error)]
            tail = (self._sizes[0], _KEPT_MS[0], self._sizes[1], _KEPT_MS[1])
            yield _Call(keys, (*head, *flat, *tail))

    async def _read(self, sketches: Sequence[str]) -> Iterator[Summary]:
        commands: list[tuple[str | int, ...]] = []
        for sketch in sketches:
            commands.append(("ZRANGE", sketch, 0, -1, "WITHSCORES"))
            commands.append(("HGETALL", _facts_key(sketch)))
        replies = await self._redis.execute_many(commands)
        for reply in replies:
            if isinstance(reply, FAILURES):
                raise store_error(reply) from reply
        return map(_summary, replies[::2], replies[1::2])


def _summary(counts: Any, facts: Any) -> Summary:
    """Return the sketch that one sorted set and one hash are."""
    known = dict(_pairs(facts))
    floor = int(known.get(b"F", 0))
    return Summary(
        {
            _subject(member): Count(int(float(score)) + floor, int(known.get(member, 0)) + floor)
            for member, score in _pairs(counts)
        },
        int(known.get(b"E", 0)) + floor,
    )


def _pairs(reply: Any) -> Iterator[tuple[bytes, Any]]:
    """Yield what comes in pairs, whichever version of the protocol the connection speaks."""
    if isinstance(reply, dict):
        yield from reply.items()
    elif reply and isinstance(reply[0], list):
        yield from ((member, score) for member, score in reply)
    else:
        yield from zip(reply[::2], reply[1::2], strict=True)


def _subject(member: bytes) -> Subject:
    # Only the last of the parts may have a colon.
    tenant, rule, plan, subject = member.decode().split(":", 3)
    return Subject(tenant, rule, plan, subject)


def _window(tenant: str, now: int, window: int) -> list[str]:
    begin = now - window
    if window <= _FINE:
        first, last = begin // _MINUTE, now // _MINUTE
        return [_minute_key(tenant, minute) for minute in range(first, last + 1)]
    first, last = begin // _HOUR, now // _HOUR
    return [_hour_key(tenant, hour) for hour in range(first, last + 1)]


def _minute_key(tenant: str, minute: int) -> str:
    return f"rl:{{{_escaped(tenant)}}}:~top:m:{minute}"


def _hour_key(tenant: str, hour: int) -> str:
    return f"rl:{{{_escaped(tenant)}}}:~top:h:{hour}"


def _facts_key(sketch: str) -> str:
    return f"{sketch}:facts"


def _escaped(tenant: str) -> str:
    return quote(tenant, safe="")
