"""What the limiter needs from outside: counters, and somebody who counts decisions."""

from dataclasses import dataclass
from typing import Protocol

from services.ratelimit.decision import Decision
from services.ratelimit.policy import Limit
from services.ratelimit.window import Verdict
from shared.rpc.call import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What an act costs, and on which counter.

    Subjects of different tenants, rules or windows never share a counter. The quota is no part of
    it: what was consumed stays consumed when a subject changes its plan.
    """

    tenant: Tenant
    rule: str
    subject: str
    limit: Limit
    cost: int


class CounterStore(Protocol):
    """Keeps what subjects consumed, and decides by its own clock in one atomic step."""

    async def decide(self, charge: Charge, *, consume: bool) -> Verdict:
        """Decide as `services.ratelimit.window.decide` does; consume only when admitted and asked.

        Raises RateLimitStoreError within a bounded time when the counters cannot be reached; it is
        then not known whether the cost was consumed.
        """
        ...


class DecisionObserver(Protocol):
    """Counts decisions."""

    def record(self, decision: Decision) -> None:
        """Count one check; peeks are not counted."""
        ...
