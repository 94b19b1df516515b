"""What one replica admits of a limit while the counters cannot be reached.

A rule that is `local` gives each replica its share, which is the limit divided by the replicas that
were last known: a part of the quota, at least 1. With `gcra` it is a part of the burst, at least 1,
and of the rate: of 60/min with a burst of 20, one of four replicas admits 5 at once and then one in
4 s. So all replicas together admit the limit, or one each where that is more.

These functions know no clock. All times are microseconds since 1970.
"""

from dataclasses import replace
from functools import lru_cache

from services.ratelimit import oracles
from services.ratelimit.decision import capacity
from services.ratelimit.oracles import State
from services.ratelimit.policy import SECOND, Algorithm, FailureMode, Limit
from services.ratelimit.ports import Charge
from services.ratelimit.verdict import Verdict

RETRY_AFTER = SECOND
"""When to ask again where the outage is what denies: it may be over by then."""


@lru_cache(maxsize=4096)
def share_of(limit: Limit, replicas: int) -> Limit:
    """Return what one of so many replicas admits of a limit."""
    if limit.algorithm is Algorithm.GCRA:
        part = max(1, capacity(limit) // replicas)
        return replace(limit, window=limit.window * replicas, burst=part)
    return replace(limit, quota=max(1, limit.quota // replicas))


def decide(
    state: State | None, charge: Charge, *, now: int, replicas: int, consume: bool
) -> tuple[State | None, Verdict]:
    """Decide by the rule's failure mode; consume when admitted and asked to."""
    match charge.rule.on_failure:
        case FailureMode.CLOSED:
            return state, _closed(charge, now)
        case FailureMode.OPEN:
            return _decide_open(state, charge, now, consume=consume)
        case FailureMode.LOCAL:
            share = share_of(charge.limit, replicas)
            state, found = oracles.decide(
                state, now=now, limit=share, cost=charge.cost, consume=consume
            )
            return state, _local(charge, share, found)


def charge(
    state: State | None, charge: Charge, *, now: int, replicas: int
) -> tuple[State | None, Verdict]:
    """Consume whatever the limit says, and tell how it is afterwards."""
    mode = charge.rule.on_failure
    limit = share_of(charge.limit, replicas) if mode is FailureMode.LOCAL else charge.limit
    state, found = oracles.charge(state, now=now, limit=limit, cost=charge.cost)
    if mode is FailureMode.LOCAL:
        return state, _local(charge, limit, found)
    return state, found._replace(degraded=mode)


def give_back(
    state: State, charge: Charge, *, admitted_at: int, now: int, replicas: int
) -> State | None:
    """Return what is left of a share when what was consumed at a moment comes back."""
    share = share_of(charge.limit, replicas)
    left, _, _ = oracles.refund(
        state, now=now, limit=share, cost=charge.cost, admitted_at=admitted_at
    )
    return left


def _decide_open(
    state: State | None, charge: Charge, now: int, *, consume: bool
) -> tuple[State | None, Verdict]:
    limit, cost = charge.limit, charge.cost
    if consume:
        state, found = oracles.charge(state, now=now, limit=limit, cost=cost)
    else:
        state, found = oracles.decide(state, now=now, limit=limit, cost=cost, consume=False)
    return state, found._replace(admits=True, retry_at=None, degraded=FailureMode.OPEN)


def _closed(charge: Charge, now: int) -> Verdict:
    again = now + RETRY_AFTER
    return Verdict(False, now, capacity(charge.limit), again, again, FailureMode.CLOSED)


def _local(charge: Charge, share: Limit, found: Verdict) -> Verdict:
    """Tell what is left of the share as what is left of the limit."""
    most, left = capacity(charge.limit), max(0, capacity(share) - found.used)
    retry_at = found.retry_at
    if retry_at is None and not found.admits and charge.cost <= most:
        retry_at = found.now + RETRY_AFTER  # it fits the limit, but no share of it
    return found._replace(used=most - left, retry_at=retry_at, degraded=FailureMode.LOCAL)
