"""Places that are taken and given back, and that come back by themselves.

A subject has a number of places. Each is taken by a lease, which is over when its holder gives it
back or at its end, whichever comes first; a holder that lives on renews it before. What a crashed
holder held is free again at its lease's end, so nothing has to watch holders.

At no moment are more leases alive than there are places, but where the number of places was made
smaller meanwhile, or where leases were kept beyond it because they were granted without asking.

A clock that steps back makes leases last longer by the step. No lease can be longer than an hour,
so one that ends later than that was written by a clock that was wrong: it gets an hour from now.

These functions are the rule. The scripts `lua/acquire.lua`, `renew.lua`, `release.lua` and
`adopt.lua` do the same inside Redis. All times are microseconds since 1970.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from services.ratelimit.policy import SECOND
from services.ratelimit.verdict import Verdict

MIN_TTL = SECOND
MAX_TTL = 3_600 * SECOND
DEFAULT_TTL = 60 * SECOND

CLEARED = 100
"""Leases that are over which an acquisition clears away at most; it adds only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """Who holds the places of one subject.

    Attributes:
        ends: When each lease ends. Some are over and wait to be cleared away.

    """

    ends: Mapping[bytes, int] = field(default_factory=dict)

    def alive(self, now: int) -> int:
        """Return how many leases are not over."""
        return sum(end > now for end in self.ends.values())


def look(holders: Holders, *, now: int, places: int, cost: int = 1) -> tuple[Holders, Verdict]:
    """Tell whether so many places are free, and return the holders to keep."""
    holders = _heal(holders, now)
    used = holders.alive(now)
    return holders, Verdict(
        admits=used + cost <= places,
        now=now,
        used=used,
        reset_at=max((now, *holders.ends.values())),
        retry_at=_retry_at(holders, now, places, cost),
    )


def acquire(
    holders: Holders, *, now: int, places: int, lease: bytes, ttl: int
) -> tuple[Holders, Verdict, int | None]:
    """Take a place if one is free; whoever holds the lease already keeps it as it is.

    Returns the holders to keep, the verdict, and when the lease ends.
    """
    holders, verdict = look(holders, now=now, places=places)
    held_until = holders.ends.get(lease, 0)
    if held_until > now:
        return holders, verdict._replace(admits=True, retry_at=None), held_until
    if not verdict.admits:
        return holders, verdict, None
    end = now + ttl
    holders = _with(_cleared(holders, now), lease, end)
    used, reset_at = verdict.used + 1, max(verdict.reset_at, end)
    return holders, verdict._replace(used=used, reset_at=reset_at), end


def renew(holders: Holders, *, now: int, lease: bytes, ttl: int) -> tuple[Holders, int | None]:
    """Let a lease end `ttl` from now; None if it is over."""
    if holders.ends.get(lease, 0) <= now:
        return holders, None
    return _with(holders, lease, now + ttl), now + ttl


def release(holders: Holders, *, now: int, lease: bytes) -> tuple[Holders, bool]:
    """Give a place back, and tell whether it was held."""
    ends = dict(holders.ends)
    return replace(holders, ends=ends), ends.pop(lease, 0) > now


def adopt(holders: Holders, *, now: int, leases: Mapping[bytes, int]) -> Holders:
    """Keep leases that were granted elsewhere, however many places there are."""
    for lease, end in leases.items():
        if end > max(now, holders.ends.get(lease, 0)):
            holders = _with(holders, lease, end)
    return holders


def _heal(holders: Holders, now: int) -> Holders:
    latest = now + MAX_TTL
    if all(end <= latest for end in holders.ends.values()):
        return holders
    return replace(holders, ends={lease: min(end, latest) for lease, end in holders.ends.items()})


def _retry_at(holders: Holders, now: int, places: int, cost: int) -> int | None:
    """Let the leases end one by one until so many places are free."""
    ends = sorted(end for end in holders.ends.values() if end > now)
    excess = len(ends) + cost - places
    return ends[excess - 1] if 0 < excess <= len(ends) else None


def _cleared(holders: Holders, now: int) -> Holders:
    over = sorted((end, lease) for lease, end in holders.ends.items() if end <= now)[:CLEARED]
    gone = {lease for _, lease in over}
    kept = {lease: end for lease, end in holders.ends.items() if lease not in gone}
    return replace(holders, ends=kept)


def _with(holders: Holders, lease: bytes, end: int) -> Holders:
    return replace(holders, ends={**holders.ends, lease: end})
