"""GCRA, the generic cell rate algorithm: an even rate, and a burst on top that has its own limit.

Every unit takes one emission interval (the window by the quota, whole microseconds, rounded up so
that the rate is never exceeded). What is consumed is a debt of time that the clock pays off; a cost
fits when the debt with it stays within `burst` intervals. So in t microseconds never more than
burst + t / interval are admitted, net of what was given back in them. The formula is that of ITU-T
I.371 (virtual scheduling).

A clock that steps back is taken to stand still until it has caught up, for as long as a full burst
takes to pay off. After a longer step the debt is kept and begins to shrink at once.

When the interval has changed, what was consumed keeps its number of units, rounded up.

These functions are the rule; `lua/gcra.lua` does the same inside Redis. All times are microseconds
since 1970.
"""

from dataclasses import dataclass

from services.ratelimit.policy import Limit
from services.ratelimit.verdict import Verdict

MAX_DEBT = 2**52
"""142 years: with it times stay exact in a Lua number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt:
    """What one subject consumed of one limit lately; written when that changes only.

    Attributes:
        interval: The emission interval it was consumed at.
        due: When all is paid off: the theoretical arrival time.
        written: The clock when it was written.

    """

    interval: int
    due: int
    written: int


def emission_interval(limit: Limit) -> int:
    """Return what one unit takes, in microseconds."""
    return -(-limit.window // limit.quota)


def burst(limit: Limit) -> int:
    """Return how much may come at once."""
    return limit.burst or limit.quota


def decide(
    debt: Debt | None, *, now: int, limit: Limit, cost: int, consume: bool
) -> tuple[Debt | None, Verdict]:
    """Decide, consume when admitted and asked to, and return the debt to keep."""
    kept, clock, owed = _read(debt, now, limit)
    verdict = _verdict(clock, owed, now, limit, cost)
    if not (verdict.admits and consume):
        return kept, verdict
    return _consume(verdict, clock, owed, limit, cost)


def charge(debt: Debt | None, *, now: int, limit: Limit, cost: int) -> tuple[Debt | None, Verdict]:
    """Consume whatever the limit says; what takes more than 142 years is not counted."""
    _, clock, owed = _read(debt, now, limit)
    verdict = _verdict(clock, owed, now, limit, cost)
    return _consume(verdict, clock, owed, limit, cost)


def refund(
    debt: Debt | None, *, now: int, limit: Limit, cost: int, admitted_at: int | None
) -> tuple[Debt | None, int, Verdict]:
    """Give back; returns the debt to keep, how much came back, and the state afterwards.

    What was admitted at a moment is paid off a full burst later at the latest, and what is paid off
    cannot be given back.
    """
    kept, clock, owed = _read(debt, now, limit)
    interval = emission_interval(limit)
    back = min(_span(cost, interval), owed)
    if admitted_at is not None:
        back = min(back, max(0, admitted_at + _span(burst(limit), interval) - clock))
    left = owed - back
    if back:
        kept = Debt(interval=interval, due=clock + left, written=clock) if left else None
    amount = _units(owed, interval) - _units(left, interval)
    return kept, amount, _verdict(clock, left, now, limit, cost)


def holding(used: int, *, now: int, limit: Limit) -> Debt | None:
    """Return the debt of what has just been consumed."""
    interval = emission_interval(limit)
    due = now + _span(used, interval)
    return Debt(interval=interval, due=due, written=now) if used else None


def used_at(debt: Debt, now: int) -> int:
    """Return what another algorithm must take over."""
    return _units(max(0, debt.due - now), debt.interval)


def _read(debt: Debt | None, now: int, limit: Limit) -> tuple[Debt | None, int, int]:
    """Return the debt to keep when nothing changes, the clock that counts, and what is owed."""
    if debt is None:
        return None, now, 0
    interval = emission_interval(limit)
    clock, kept = max(now, debt.written), debt
    owed = max(0, debt.due - clock)
    if debt.interval != interval:
        owed = _span(_units(owed, debt.interval), interval)
    if clock - now > _span(burst(limit), interval):
        clock, kept = now, Debt(interval=interval, due=now + owed, written=now)
    return kept, clock, owed


def _consume(
    verdict: Verdict, clock: int, owed: int, limit: Limit, cost: int
) -> tuple[Debt, Verdict]:
    interval = emission_interval(limit)
    owed = min(owed + _span(cost, interval), MAX_DEBT)
    debt = Debt(interval=interval, due=clock + owed, written=clock)
    return debt, verdict._replace(used=_units(owed, interval), reset_at=debt.due)


def _verdict(clock: int, owed: int, now: int, limit: Limit, cost: int) -> Verdict:
    interval, most = emission_interval(limit), burst(limit)
    excess = owed + _span(cost, interval) - _span(most, interval)
    admits = cost <= most and excess <= 0
    return Verdict(
        admits=admits,
        now=now,
        used=_units(owed, interval),
        reset_at=clock + owed if owed else now,
        retry_at=None if admits or cost > most else clock + excess,
    )


def _span(units: int, interval: int) -> int:
    return min(units * interval, MAX_DEBT)


def _units(owed: int, interval: int) -> int:
    return -(-owed // interval)
