"""The sliding window: never more than the limit in any window, wherever it begins.

Time is cut into buckets of a 59th of the window, rounded up, and a ring remembers what each of the
newest 60 admitted. A window that ends in bucket k begins in bucket k-59 or later, so the sum of the
60 is at least what the window holds: the oldest is counted in full although part of it may already
have left. A window of 60 s has buckets of 1,016,950 microseconds; what is consumed at 0 s leaves at
61.017 s, what is consumed at 1.016 s leaves at the same moment, 60.001 s later. That is the price:
room comes back up to a 59th of the window late, never early.

A clock that steps back is taken to stand still until it has caught up, for one window at most.
After a longer step the ring's own clock was wrong, and what it holds begins to age at once.

When a limit's window has changed, what was consumed is put where it leaves last: at the end of its
old bucket, or now. Who asks with two windows in turn makes it look younger each time, never older.

These functions are the rule. `lua/sliding_window.lua` does the same inside Redis with a running
sum; the sum is taken anew here, so that the tests hold one against the other. All times are
microseconds since 1970.
"""

from dataclasses import dataclass, replace
from itertools import dropwhile

from services.ratelimit.policy import MAX_QUOTA, Limit
from services.ratelimit.verdict import Verdict

BUCKETS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """What one subject consumed of one limit lately; written when that changes only.

    Attributes:
        window: Whose buckets these are.
        newest: Index of the newest bucket, counted from 1970 in bucket widths.
        counters: What each bucket holds, the newest first; at most 60, and the first is not zero.

    """

    window: int
    newest: int
    counters: tuple[int, ...]


def bucket_width(window: int) -> int:
    """Return the width of a bucket of this window."""
    return -(-window // (BUCKETS - 1))


def decide(
    ring: Ring | None, *, now: int, limit: Limit, cost: int, consume: bool
) -> tuple[Ring | None, Verdict]:
    """Decide, consume when admitted and asked to, and return the ring to keep."""
    kept, live = _read(ring, now, limit.window)
    verdict = _verdict(live, now, limit, cost)
    if not (verdict.admits and consume):
        return kept, verdict
    consumed = _consume(live, now, limit.window, cost)
    return consumed, _afterwards(verdict, consumed)


def charge(ring: Ring | None, *, now: int, limit: Limit, cost: int) -> tuple[Ring | None, Verdict]:
    """Consume whatever the limit says; what goes beyond 2^32-1 in all is not counted."""
    kept, live = _read(ring, now, limit.window)
    verdict = _verdict(live, now, limit, cost)
    countable = min(cost, MAX_QUOTA - verdict.used)
    if countable == 0:
        return kept, verdict
    consumed = _consume(live, now, limit.window, countable)
    return consumed, _afterwards(verdict, consumed)


def refund(
    ring: Ring | None, *, now: int, limit: Limit, cost: int, admitted_at: int | None
) -> tuple[Ring | None, int, Verdict]:
    """Give back; returns the ring to keep, how much came back, and the state afterwards.

    It comes out of the bucket of its moment, or else of the oldest first. Out of any younger one
    room would come back before what was consumed has left.
    """
    kept, live = _read(ring, now, limit.window)
    if live is None:
        return kept, 0, _verdict(live, now, limit, cost)
    if admitted_at is None:
        counters = _without_oldest(live.counters, cost)
    else:
        age = live.newest - admitted_at // bucket_width(limit.window)
        counters = _without_at(live.counters, age, cost)
    amount = sum(live.counters) - sum(counters)
    if amount:
        kept = live = _trimmed(replace(live, counters=counters))
    return kept, amount, _verdict(live, now, limit, cost)


def holding(used: int, *, now: int, limit: Limit) -> Ring | None:
    """Return a ring in which this much has just been consumed."""
    return _consume(None, now, limit.window, min(used, MAX_QUOTA)) if used else None


def used_at(ring: Ring, now: int) -> int:
    """Return what another algorithm must take over: all that may not have left."""
    live = _live(ring, now // bucket_width(ring.window))
    return sum(ring.counters) if live else 0


def _read(ring: Ring | None, now: int, window: int) -> tuple[Ring | None, Ring | None]:
    """Return the ring to keep when nothing changes, and what of it counts."""
    if ring is None:
        return None, None
    fitting = ring if ring.window == window else _rebucketed(ring, now, window)
    bucket = now // bucket_width(window)
    if fitting.newest > bucket + BUCKETS:
        # From so far ahead that waiting for the clock is no answer.
        ring = fitting = replace(fitting, newest=bucket)
    return ring, _live(fitting, bucket)


def _rebucketed(ring: Ring, now: int, window: int) -> Ring:
    """Put what is in the buckets of one window into those of another."""
    old, new = bucket_width(ring.window), bucket_width(window)
    moved: dict[int, int] = {}
    for age, counter in enumerate(ring.counters):
        begin = (ring.newest - age) * old
        last = begin + old - 1
        index = (last if begin > now else min(last, now)) // new
        moved[index] = moved.get(index, 0) + counter
    newest = max(moved)
    counters = tuple(moved.get(newest - age, 0) for age in range(BUCKETS))
    return Ring(window=window, newest=newest, counters=counters)


def _live(ring: Ring, bucket: int) -> Ring | None:
    """Return what of the ring still counts, None when nothing does."""
    if bucket - ring.newest >= BUCKETS:
        return None
    return replace(ring, counters=ring.counters[: BUCKETS - max(bucket - ring.newest, 0)])


def _consume(ring: Ring | None, now: int, window: int, cost: int) -> Ring:
    bucket = now // bucket_width(window)
    if ring is None:
        return Ring(window=window, newest=bucket, counters=(cost,))
    passed = bucket - ring.newest
    if passed <= 0:  # the same bucket, or a clock that stepped back
        return replace(ring, counters=(ring.counters[0] + cost, *ring.counters[1:]))
    return replace(ring, newest=bucket, counters=(cost, *(0,) * (passed - 1), *ring.counters))


def _without_oldest(counters: tuple[int, ...], amount: int) -> tuple[int, ...]:
    left = list(counters)
    for age in reversed(range(len(left))):
        taken = min(left[age], amount)
        left[age] -= taken
        amount -= taken
    return tuple(left)


def _without_at(counters: tuple[int, ...], age: int, amount: int) -> tuple[int, ...]:
    if not 0 <= age < len(counters):
        return counters
    left = counters[age] - min(counters[age], amount)
    return (*counters[:age], left, *counters[age + 1 :])


def _trimmed(ring: Ring) -> Ring | None:
    """Let the ring begin with what is not empty; None when all of it is."""
    counters = tuple(dropwhile(lambda counter: counter == 0, ring.counters))
    if not counters:
        return None
    empty = len(ring.counters) - len(counters)
    return replace(ring, newest=ring.newest - empty, counters=counters)


def _verdict(live: Ring | None, now: int, limit: Limit, cost: int) -> Verdict:
    used = sum(live.counters) if live else 0
    admits = used + cost <= limit.quota
    return Verdict(
        admits=admits,
        now=now,
        used=used,
        reset_at=_reset_at(live) if live else now,
        retry_at=None if admits or live is None else _retry_at(live, limit.quota, cost),
    )


def _afterwards(verdict: Verdict, ring: Ring) -> Verdict:
    return verdict._replace(used=sum(ring.counters), reset_at=_reset_at(ring))


def _reset_at(ring: Ring) -> int:
    return (ring.newest + BUCKETS) * bucket_width(ring.window)


def _retry_at(ring: Ring, quota: int, cost: int) -> int | None:
    """Let the oldest buckets leave one by one until the cost fits."""
    used = sum(ring.counters)
    for age in reversed(range(len(ring.counters))):
        used -= ring.counters[age]
        if used + cost <= quota:
            return (ring.newest - age + BUCKETS) * bucket_width(ring.window)
    return None
