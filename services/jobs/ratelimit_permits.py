"""Asks the rate limit service for permits."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping

import structlog

from mainstay.channel import Channel
from mainstay.context import request
from mainstay.credentials import Credentials
from mainstay.errors import NotFoundError, PreconditionError, ValidationError
from mainstay.ratelimit.client import RateLimitClient
from mainstay.ratelimit.results import Act, Decision, DenialReason
from services.jobs.caps import Rate
from services.jobs.permits import Grant

TIMEOUT = 2.0
MAX_AT_A_TIME = 16
WITHOUT_COUNTERS = 1.0
"""Wait where its counters cannot be reached and the rule denies, in seconds."""
NEVER = 30.0
"""Wait where waiting does not help; the policy may change."""
OVERTAKEN = 0.05
"""Wait where somebody else was faster."""

log = structlog.get_logger()


class RateLimitPermits:
    """Implements RateLimits; a resource that owns its connection.

    A whole number of permits is one check of that cost. So that a check for more than there is does
    not count as a denial, it is looked up before how many there are.
    """

    name = "rate limits"

    def __init__(self, target: str, credentials: Credentials | None = None) -> None:
        self._channel = Channel(target, timeout=TIMEOUT, credentials=credentials)
        self._limits = RateLimitClient(self._channel)
        self._places = asyncio.Semaphore(MAX_AT_A_TIME)

    async def start(self) -> None:
        """Connect when it is first asked: jobs without a rate do not depend on it."""

    async def close(self) -> None:
        """Close the connection."""
        await self._limits.close()
        await self._channel.close()

    async def ask(self, wanted: Mapping[Rate, int]) -> Mapping[Rate, Grant]:
        """Return up to so many permits of each; raises MainstayError when nobody answers."""
        tenants: dict[str, list[Rate]] = defaultdict(list)
        for rate in wanted:
            tenants[rate.tenant].append(rate)
        granted: dict[Rate, Grant] = {}
        for tenant, rates in tenants.items():
            with request(tenant=tenant):
                granted |= await self._ask({rate: wanted[rate] for rate in rates})
        return granted

    async def _ask(self, wanted: Mapping[Rate, int]) -> dict[Rate, Grant]:
        seen = await asyncio.gather(*(self._look(rate) for rate in wanted))
        there = {rate: _there(decision) for rate, decision in zip(wanted, seen, strict=True)}
        granted = {
            rate: Grant(permits=0, retry_after=_retry_after(decision))
            for rate, decision in zip(wanted, seen, strict=True)
        }
        costs = {rate: min(permits, there[rate]) for rate, permits in wanted.items() if there[rate]}
        if not costs:
            return granted
        decisions = await self._limits.check_many(_acts(costs))
        for (rate, cost), decision in zip(costs.items(), decisions, strict=True):
            granted[rate] = (
                Grant(permits=cost, retry_after=OVERTAKEN)
                if decision.allowed
                else Grant(permits=0, retry_after=OVERTAKEN)
            )
        return granted

    async def _look(self, rate: Rate) -> Decision | None:
        """Return what a check would be told; None for a rate that the service does not judge."""
        async with self._places:
            try:
                return await self._limits.peek(rate.subject, rate.endpoint)
            except (ValidationError, NotFoundError, PreconditionError) as error:
                # It must not hold up the others, which may be those of other tenants.
                log.warning("rate_refused", endpoint=rate.endpoint, error=error.message)
                return None

    async def give_back(self, rate: Rate, permits: int) -> None:
        """Take back permits that were not used; raises MainstayError."""
        with request(tenant=rate.tenant):
            await self._limits.refund(rate.subject, rate.endpoint, cost=permits)


def _acts(costs: Mapping[Rate, int]) -> Iterable[Act]:
    return [
        Act(subject=rate.subject, endpoint=rate.endpoint, cost=cost) for rate, cost in costs.items()
    ]


def _there(decision: Decision | None) -> int:
    """Return how many permits there are; any number where nothing limits them."""
    if decision is None or not decision.allowed:
        return 0
    return ANY if decision.remaining is None else max(decision.remaining, 1)


def _retry_after(decision: Decision | None) -> float:
    if decision is None:
        return NEVER
    if decision.retry_after is not None:
        return decision.retry_after
    return NEVER if decision.reason is DenialReason.COST_ABOVE_LIMIT else WITHOUT_COUNTERS


ANY = 1_000_000
"""The highest cost of a check."""
