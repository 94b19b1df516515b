"""The sliding window: never more than the limit in any window, wherever it begins.

Time is cut into buckets of a 59th of the window, rounded up, and a ring remembers what each of the
newest 60 admitted. A window that ends in bucket k begins in bucket k-59 or later, so the sum of the
60 is at least what the window holds: the oldest is counted in full although part of it may already
have left. A window of 60 s has buckets of 1,016,950 microseconds; what is consumed at 0 s leaves at
61.017 s, what is consumed at 1.016 s leaves at the same moment, 60.001 s later. That is the price:
room comes back up to a 59th of the window late, never early.

A clock that steps back is taken to stand still until it has caught up, for one window at most.
After a longer step the ring's own clock was wrong, and what it holds begins to age at once.

These functions are the rule. `lua/sliding_window.lua` does the same inside Redis with a running
sum; the sum is taken anew here, so that the tests hold one against the other. All times are
microseconds since 1970.
"""

from dataclasses import dataclass, replace

BUCKETS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """What one subject consumed of one limit lately; written on admission only.

    Attributes:
        newest: Index of the newest bucket, counted from 1970 in bucket widths.
        counters: What each bucket admitted, the newest first; at most 60.

    """

    newest: int
    counters: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the store decided, and what it knew.

    Attributes:
        admitted: Whether the cost fits.
        now: The store's clock at the decision.
        used: What the window holds after the decision.
        reset_at: When all of that will have left; `now` when there is nothing.
        retry_at: When the same cost will fit if nobody else consumes. None when it fits already,
            or never will.

    """

    admitted: bool
    now: int
    used: int
    reset_at: int
    retry_at: int | None


def bucket_width(window: int) -> int:
    """Return the width of a bucket of this window."""
    return -(-window // (BUCKETS - 1))


def decide(
    ring: Ring | None, *, now: int, window: int, limit: int, cost: int, consume: bool
) -> tuple[Ring | None, Verdict]:
    """Decide, consume when admitted and asked to, and return the ring to keep."""
    width = bucket_width(window)
    bucket = now // width
    kept = _heal(ring, bucket)
    live = _live(kept, bucket)
    used = sum(live.counters) if live else 0
    admitted = used + cost <= limit
    if admitted and consume:
        kept = live = _consume(live, bucket, cost)
        used += cost
    return kept, Verdict(
        admitted=admitted,
        now=now,
        used=used,
        reset_at=(live.newest + BUCKETS) * width if live else now,
        retry_at=None if admitted or live is None else _retry_at(live, width, limit, cost),
    )


def _heal(ring: Ring | None, bucket: int) -> Ring | None:
    """Bring back a ring from so far ahead that waiting for the clock is no answer."""
    if ring is not None and ring.newest > bucket + BUCKETS:
        return replace(ring, newest=bucket)
    return ring


def _live(ring: Ring | None, bucket: int) -> Ring | None:
    """Return what of the ring still counts, None when nothing does."""
    if ring is None or bucket - ring.newest >= BUCKETS:
        return None
    return replace(ring, counters=ring.counters[: BUCKETS - max(bucket - ring.newest, 0)])


def _retry_at(ring: Ring, width: int, limit: int, cost: int) -> int | None:
    """Let the oldest buckets leave one by one until the cost fits."""
    used = sum(ring.counters)
    for age in reversed(range(len(ring.counters))):
        used -= ring.counters[age]
        if used + cost <= limit:
            return (ring.newest - age + BUCKETS) * width
    return None


def _consume(ring: Ring | None, bucket: int, cost: int) -> Ring:
    if ring is None:
        return Ring(newest=bucket, counters=(cost,))
    passed = bucket - ring.newest
    if passed <= 0:  # the same bucket, or a clock that stepped back
        return replace(ring, counters=(ring.counters[0] + cost, *ring.counters[1:]))
    return Ring(newest=bucket, counters=(cost, *(0,) * (passed - 1), *ring.counters))
