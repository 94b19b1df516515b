"""Fixed windows, one after the other: of one length since 1970, or a calendar's in a time zone.

Each admits the limit, so that around a boundary twice as much may pass within a moment: the price
of "this month". What is billed or protected by the moment wants a sliding window.

A clock that steps back is taken to stand still at the beginning of the window that was reached, for
one window at most. After a longer step what was consumed counts in the window that runs.

When a limit's window has changed, what was consumed counts in every new one that the old overlaps.

These functions are the rule; `lua/fixed_window.lua` does the same inside Redis, where a calendar's
bounds come from here. All times are microseconds since 1970.
"""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.ratelimit.policy import MAX_FIXED_QUOTA, Calendar, Limit
from services.ratelimit.verdict import Verdict

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Bounds(NamedTuple):
    """A window: from `begin` until just before `end`."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What one subject consumed in one window; written when that changes only."""

    bounds: Bounds
    used: int


def mistake_in_zone(name: str) -> str | None:
    """Return what is wrong with the name of a time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"{name!r} is no time zone; give an IANA name such as Europe/Berlin, or UTC"
    return None


def bounds(limit: Limit, now: int) -> Bounds:
    """Return the window that runs."""
    if limit.calendar is None:
        begin = now // limit.window * limit.window
        return Bounds(begin, begin + limit.window)
    zone = ZoneInfo(limit.time_zone)
    today = (_EPOCH + timedelta(microseconds=now)).astimezone(zone).date()
    first = _first_day(limit.calendar, today)
    return _calendar_bounds(limit.calendar, limit.time_zone, first)


def length(limit: Limit, now: int) -> int:
    """Return how long the window that runs is: 28 to 31 days for a calendar's month."""
    if limit.calendar is None:
        return limit.window
    begin, end = bounds(limit, now)
    return end - begin


def decide(
    count: Count | None, *, now: int, limit: Limit, cost: int, consume: bool
) -> tuple[Count | None, Verdict]:
    """Decide, consume when admitted and asked to, and return the count to keep."""
    kept, live = _read(count, now, limit)
    verdict = _verdict(live, now, limit, cost)
    if not (verdict.admits and consume):
        return kept, verdict
    return _consume(verdict, live, cost)


def charge(
    count: Count | None, *, now: int, limit: Limit, cost: int
) -> tuple[Count | None, Verdict]:
    """Consume whatever the limit says; what goes beyond 2^53-1 in all is not counted."""
    _, live = _read(count, now, limit)
    return _consume(_verdict(live, now, limit, cost), live, min(cost, MAX_FIXED_QUOTA - live.used))


def refund(
    count: Count | None, *, now: int, limit: Limit, cost: int, admitted_at: int | None
) -> tuple[Count | None, int, Verdict]:
    """Give back; returns the count to keep, how much came back, and the state afterwards.

    What was admitted in an earlier window has left with it.
    """
    kept, live = _read(count, now, limit)
    gone = admitted_at is not None and admitted_at < live.bounds.begin
    amount = 0 if gone else min(cost, live.used)
    if amount:
        live = replace(live, used=live.used - amount)
        kept = live if live.used else None
    return kept, amount, _verdict(live, now, limit, cost)


def holding(used: int, *, now: int, limit: Limit) -> Count | None:
    """Return the count of what has just been consumed."""
    return Count(bounds=bounds(limit, now), used=min(used, MAX_FIXED_QUOTA)) if used else None


def used_at(count: Count, now: int) -> int:
    """Return what another algorithm must take over."""
    return count.used if now < count.bounds.end else 0


def _read(count: Count | None, now: int, limit: Limit) -> tuple[Count | None, Count]:
    """Return the count to keep when nothing changes, and the one that is in force."""
    running = bounds(limit, now)
    if count is None or count.bounds.end <= running.begin:
        return count, Count(bounds=running, used=0)
    ahead = count.bounds.begin - now
    if ahead <= 0:
        return count, replace(count, bounds=running)
    if ahead <= running.end - running.begin:
        return count, count
    healed = replace(count, bounds=running)
    return healed, healed


def _consume(verdict: Verdict, live: Count, cost: int) -> tuple[Count, Verdict]:
    live = replace(live, used=live.used + cost)
    return live, verdict._replace(used=live.used, reset_at=live.bounds.end)


def _verdict(live: Count, now: int, limit: Limit, cost: int) -> Verdict:
    admits = live.used + cost <= limit.quota
    return Verdict(
        admits=admits,
        now=now,
        used=live.used,
        reset_at=live.bounds.end if live.used else now,
        retry_at=None if admits or cost > limit.quota else live.bounds.end,
    )


def _first_day(calendar: Calendar, day: date) -> date:
    match calendar:
        case Calendar.DAY:
            return day
        case Calendar.WEEK:
            return day - timedelta(days=day.weekday())
        case Calendar.MONTH:
            return day.replace(day=1)


def _next_first_day(calendar: Calendar, first: date) -> date:
    match calendar:
        case Calendar.DAY:
            return first + timedelta(days=1)
        case Calendar.WEEK:
            return first + timedelta(days=7)
        case Calendar.MONTH:
            return (first + timedelta(days=31)).replace(day=1)


@lru_cache(maxsize=256)
def _calendar_bounds(calendar: Calendar, zone: str, first: date) -> Bounds:
    after = _next_first_day(calendar, first)
    return Bounds(_midnight(first, zone), _midnight(after, zone))


def _midnight(day: date, zone: str) -> int:
    """Return when a day begins; where clocks skip midnight, the moment at which they do."""
    local = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    return (local.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
