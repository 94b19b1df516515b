"""Who is let in: a ceiling on calls at once, and below it as much as can be served soon.

    soundings ──delay of a call as callers see it──► Allowance ──calls a tenant may have──► enter

A fixed number of slots says nothing of how fast they come free. What callers feel is how long
their calls wait before anything is done for them. That is measured (`shared.rpc.sounding`), and the
number of calls that are let in follows it: fewer by a fifth, or by half, as long as the delay stays
above its target, more by a little as soon as it does not. That is additive increase and
multiplicative decrease, driven by queueing delay as in Cho et al., "Overload Control for µs-scale
RPCs with Breakwater", OSDI 2020. Who is left out is decided by max-min fairness: tenants that ask
for little get all of it, and those that ask for most share what is left.
"""

from math import inf

from mainstay.errors import UnavailableError
from shared.rpc.call import Tenant
from shared.telemetry import metrics

OVERLOADED = "OVERLOADED"
RETRY_AFTER = 0.2
TARGET = 0.025
"""Delay of a call in seconds that is still no sign of a queue."""

DECREASE = 0.8
LONG = 4 * TARGET
"""Delay in seconds from which on half as many calls are let in, not four fifths."""

HALF = 0.5
INCREASE = 1.05
LEAST = 50
"""Calls between two soundings that are let in however long the queue is: a process with a core for
itself serves as many, and where it has not, a burst after a moment's stop is no overload."""

SUSTAINED = 3
"""Looks in a row that find a queue before anybody is shed: the first may be a hiccup."""

MOST_TENANTS = 1_000
"""Tenants told apart between two soundings; the others count as one."""

_OTHERS = Tenant("")


class Rate:
    """Lets the first few things of every second through."""

    __slots__ = ("_count", "_most", "_second")

    def __init__(self, most: int) -> None:
        self._most = most
        self._second = self._count = 0

    def admits(self, now: float) -> bool:
        """Return whether one more may be; `now` is in seconds."""
        if int(now) != self._second:
            self._second, self._count = int(now), 0
        self._count += 1
        return self._count <= self._most


class Allowance:
    """How many calls of each tenant are let in until the next sounding; it knows no clock."""

    __slots__ = ("_asked", "_late", "_level", "_limit")

    def __init__(self) -> None:
        self._limit = inf
        self._level = inf
        self._late = 0
        self._asked: dict[Tenant, int] = {}

    @property
    def asked(self) -> int:
        """Return how many calls have come since the last sounding."""
        return sum(self._asked.values())

    @property
    def limited(self) -> bool:
        """Return whether calls may be shed."""
        return self._limit < inf

    @property
    def limit(self) -> float:
        """Return how many calls are let in between two soundings; infinite while none is shed."""
        return self._limit

    def take(self, tenant: Tenant) -> bool:
        """Count a call and return whether it is let in."""
        asked = self._asked
        number = asked.get(tenant, 0)
        if number == 0 and len(asked) >= MOST_TENANTS:
            tenant, number = _OTHERS, asked.get(_OTHERS, 0)
        asked[tenant] = number + 1
        return number < self._level

    def sound(self, delay: float) -> None:
        """Take notice of the delay of a call since the last sounding, and begin anew."""
        asked = list(self._asked.values())
        wanted, let_in = sum(asked), sum(min(each, self._level) for each in asked)
        self._late = self._late + 1 if delay > TARGET else 0
        if self._late >= SUSTAINED or (self._late and self.limited):
            decrease = DECREASE if delay < LONG else HALF
            self._limit = max(LEAST, min(self._limit, let_in) * decrease)
        elif self.limited:
            self._limit = self._limit * INCREASE + 1
            if self._limit > wanted:
                self._limit = inf
        self._level = fair_level(asked, self._limit)
        self._asked.clear()


def fair_level(wanted: list[int], limit: float) -> float:
    """Return what each may have so that all together have `limit`; infinite if that is enough.

    With 10, 2 and 9 wanted and a limit of 12 it is 5: who wants 2 has 2, the others 5 each.
    """
    if sum(wanted) <= limit:
        return limit
    left = limit
    for rank, want in enumerate(sorted(wanted)):
        share = left / (len(wanted) - rank)
        if want > share:
            return max(1.0, share)
        left -= want
    raise AssertionError("what is wanted is more than the limit")


class Admission:
    """Counts calls in flight; those that last, as streams do, have slots of their own."""

    def __init__(self, *, max_calls: int, max_streams: int) -> None:
        self._free = {False: max_calls, True: max_streams}
        self.allowance = Allowance()

    def enter(self, *, lasting: bool, tenant: Tenant = _OTHERS) -> None:
        """Take a slot or raise."""
        if self._free[lasting] <= 0:
            kind = "streams and long polls" if lasting else "calls"
            raise _overloaded(f"too many {kind} at once")
        if not lasting and not self.allowance.take(tenant):
            metrics.calls.shed += 1
            raise _overloaded("more calls come than can be served, and this tenant has its share")
        self._free[lasting] -= 1
        metrics.calls.in_flight += 1

    def leave(self, *, lasting: bool) -> None:
        """Give the slot back."""
        self._free[lasting] += 1
        metrics.calls.in_flight -= 1


def _overloaded(why: str) -> UnavailableError:
    return UnavailableError(
        f"{why}; try again after {RETRY_AFTER:g} s or on another replica",
        reason=OVERLOADED,
        retry_after=RETRY_AFTER,
    )
