"""Permits to start jobs whose function has a rate: asked for in advance, used, or given back."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from mainstay.errors import MainstayError, PreconditionError
from services.jobs import metrics
from services.jobs.caps import Rate
from services.jobs.wakeups import Change, Signal, Wakeups

KEEP = 10.0
"""Seconds after which permits that nobody used are given back."""
PAUSE_AFTER_ERROR = 1.0
SHORTEST_WAIT, LONGEST_WAIT = 0.05, 30.0
"""Seconds before a budget that was used up is asked again; in between, the service says how long.

Not for longer, since a policy can change and a budget can be reset.
"""
MAX_ASKED = 200
"""Budgets asked for at a time; the others are next."""
CONDITION = "rate_limits"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a budget gave; where that is less than was wanted, when to ask again, in seconds."""

    permits: int
    retry_after: float = 0.0


class RateLimits(Protocol):
    """Who keeps the budgets."""

    async def ask(self, wanted: Mapping[Rate, int]) -> Mapping[Rate, Grant]:
        """Return up to so many permits of each; raises MainstayError when nobody answers."""
        ...

    async def give_back(self, rate: Rate, permits: int) -> None:
        """Take back permits that were not used; raises MainstayError."""
        ...


@dataclass(slots=True)
class _Hand:
    permits: int
    until: float


class Permits:
    """The permits in hand of this replica.

    While nobody can be asked, what has a rate waits: it is asked for again every second.
    """

    def __init__(
        self,
        limits: RateLimits,
        wakeups: Wakeups,
        *,
        clock: Callable[[], float],
        report: Callable[[str, str | None], None] = lambda _name, _problem: None,
    ) -> None:
        self._limits = limits
        self._wakeups = wakeups
        self._clock = clock
        self._report = report
        self._signal = Signal()
        self._hands: dict[Rate, _Hand] = {}
        self._wanted: dict[Rate, int] = {}
        self._not_before: dict[Rate, float] = {}
        self._lent = False
        self._problem = ""

    def lend(self) -> dict[Rate, int]:
        """Return how many starts are permitted; until `note` or `forget` none is given back."""
        self._lent = True
        return self.in_hand()

    def in_hand(self) -> dict[Rate, int]:
        """Return how many starts are permitted."""
        return {rate: hand.permits for rate, hand in self._hands.items() if hand.permits > 0}

    def denied_for(self, rate: Rate) -> float | None:
        """Return in how many seconds a budget that is used up is asked again; None otherwise."""
        seconds = self._not_before.get(rate, 0.0) - self._clock()
        return seconds if seconds > 0 else None

    def note(self, *, spent: Mapping[Rate, int], wanting: Mapping[Rate, int]) -> None:
        """Note what a claim used and what it had too little of."""
        for rate, permits in spent.items():
            if rate in self._hands:
                self._hands[rate].permits -= permits
        self._wanted = dict(wanting)
        self._lent = False
        if wanting or self._hands:
            self._signal.set()

    def forget(self) -> None:
        """Count all permits as used: nobody knows whether those of the last claim are."""
        self._hands.clear()
        self._lent = False

    async def run(self) -> None:
        """Ask and give back for ever."""
        while True:
            await self._signal.wait(within=self._pause())
            await self.run_once()

    def _pause(self) -> float:
        times = [] if self._lent else [hand.until for hand in self._hands.values()]
        times += [self._not_before.get(rate, 0.0) for rate in self._wanted]
        return max(min(times, default=math.inf) - self._clock(), 0.0)

    async def run_once(self) -> None:
        """Ask for what is wanted and may be asked for now, and give back what was kept too long."""
        now = self._clock()
        self._not_before = {rate: at for rate, at in self._not_before.items() if at > now}
        due = [rate for rate in self._wanted if rate not in self._not_before][:MAX_ASKED]
        if due:
            await self._ask({rate: self._wanted.pop(rate) for rate in due})
        for rate, hand in list(self._hands.items()):
            # A claim may come in between, and use what it is lent.
            if not self._lent and (hand.permits <= 0 or hand.until <= now):
                del self._hands[rate]
                await self._give_back(rate, hand)

    async def _ask(self, wanted: Mapping[Rate, int]) -> None:
        try:
            granted = await self._limits.ask(wanted)
        except MainstayError as error:
            self._say(error.message)
            self._wait(wanted, PAUSE_AFTER_ERROR)
            return
        self._say("")
        for rate, permits in wanted.items():
            grant = granted[rate]
            if grant.permits:
                self._take(rate, grant)
            if grant.permits < permits:
                self._wait({rate: permits}, _between(grant.retry_after))
        if any(grant.permits for grant in granted.values()):
            self._wakeups.announce(Change(permits=True))

    def _take(self, rate: Rate, grant: Grant) -> None:
        before = self._hands.get(rate)
        self._hands[rate] = _Hand(
            permits=grant.permits + (before.permits if before else 0),
            until=self._clock() + KEEP,
        )

    def _wait(self, wanted: Mapping[Rate, int], seconds: float) -> None:
        """Ask again after a while, unless a claim says before that there is nothing to start."""
        at = self._clock() + seconds
        for rate, permits in wanted.items():
            self._not_before[rate] = at
            self._wanted.setdefault(rate, permits)

    async def _give_back(self, rate: Rate, hand: _Hand) -> None:
        if hand.permits <= 0:
            return
        try:
            await self._limits.give_back(rate, hand.permits)
        except MainstayError as error:
            # They count as used: fewer jobs may start for a while than could, never more.
            log.warning("permits_not_given_back", endpoint=rate.endpoint, error=error.message)

    def _say(self, problem: str) -> None:
        if problem == self._problem:
            return
        self._problem = problem
        metrics.rates_unreachable.set(bool(problem))
        self._report(CONDITION, problem or None)
        if problem:
            log.warning("rate_limits_not_reached", error=problem)
        else:
            log.info("rate_limits_reached")


def _between(seconds: float) -> float:
    return min(max(seconds, SHORTEST_WAIT), LONGEST_WAIT)


class NoRateLimits:
    """Stands for the rate limit service where none is named: what has a rate waits."""

    async def ask(self, wanted: Mapping[Rate, int]) -> Mapping[Rate, Grant]:
        """Raise PreconditionError, which says what to do about it."""
        raise PreconditionError(
            f"jobs wait for {len(wanted)} rate limits, and no rate limit service is named; set "
            "MAINSTAY_JOBS_RATELIMIT_ADDRESS to its host:port",
            reason="NO_RATE_LIMITS",
        )

    async def give_back(self, rate: Rate, permits: int) -> None:
        """Have nothing to take back."""
