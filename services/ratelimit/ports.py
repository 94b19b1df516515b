"""What the use cases need from outside."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from services.ratelimit.act import Act
from services.ratelimit.decision import Decision
from services.ratelimit.overrides import Override
from services.ratelimit.policy import Limit, Policy, Rule
from services.ratelimit.verdict import Verdict
from shared.rpc.call import Tenant


class NowUs(Protocol):
    """Tells the time by the store's clock."""

    def __call__(self) -> int:
        """Return microseconds since 1970."""
        ...


class Charge(NamedTuple):
    """What an act costs, and on which counter.

    Subjects of different tenants, rules or positions never share a counter. The limit is no part
    of its name: what was consumed stays consumed when a limit or a plan changes.

    Attributes:
        tenant: Whose counter.
        rule: The rule, which also says whether it only watches and what decides on a failure.
        position: Of the limit among those of the rule, from 0.
        subject: Whose counter within the tenant.
        limit: What is admitted.
        cost: How much to consume, 1 or more.

    """

    tenant: Tenant
    rule: Rule
    position: int
    subject: str
    limit: Limit
    cost: int


class Refunded(NamedTuple):
    """What came back to each of the limits, and how they are afterwards."""

    amounts: Sequence[int]
    verdicts: Sequence[Verdict]
    repeated: bool = False


class CounterStore(Protocol):
    """Keeps what subjects consumed, and decides by its own clock.

    Every method raises RateLimitStoreError within a bounded time when the counters cannot be
    reached; it is then not known whether they were changed. The charges of one call belong to one
    tenant. A charge whose rule is in shadow never keeps the others from being admitted.
    """

    async def decide(self, charges: Sequence[Charge], *, consume: bool) -> Sequence[Verdict]:
        """Decide in one atomic step; when all admit and `consume`, consume from all, else nothing.

        A rule in shadow consumes when the others admit and it admits itself.
        """
        ...

    async def decide_each(
        self, checks: Sequence[Sequence[Charge]], *, consume: bool
    ) -> Sequence[Sequence[Verdict]]:
        """Decide as `decide` does, for checks that do not depend on each other, in their order."""
        ...

    async def charge(
        self, charges: Sequence[Charge], *, once: str = ""
    ) -> Sequence[Verdict] | None:
        """Consume whatever the limits say: it has taken place.

        With `once`, a name within the tenant, a repetition within 24 hours changes nothing and
        returns None.
        """
        ...

    async def refund(
        self, charges: Sequence[Charge], *, admitted_at: int | None, once: str = ""
    ) -> Refunded:
        """Give back what was consumed at a moment, or the oldest; never more than is there.

        `once` is as for `charge`.
        """
        ...

    async def reset(self, tenant: Tenant, rules: Sequence[Rule], subject: str) -> Sequence[str]:
        """Forget what a subject consumed; returns the rules of which something was forgotten."""
        ...


class Places(Protocol):
    """Keeps who holds which places of concurrency rules."""

    async def look(self, charge: Charge) -> Verdict:
        """Tell how many places a subject holds, and whether it would get as many as the cost.

        Raises RateLimitStoreError within a bounded time when they cannot be reached.
        """
        ...


class Policies(Protocol):
    """The policy in force, which operators change while the service runs."""

    @property
    def current(self) -> Policy:
        """Return it; the next call may return another."""
        ...


class Overrides(Protocol):
    """The overrides in force, which are at hand: asking costs a look into a dictionary."""

    def find(self, tenant: Tenant, rule: str, subject: str) -> Override | None:
        """Return the override of a subject on a rule, if it has one that has not ended."""
        ...


class AssignedPlan(NamedTuple):
    """The plan that a subject was assigned; empty for none. `known` says whether that is sure."""

    plan: str
    known: bool = True


class PlanDirectory(Protocol):
    """Knows who is on which plan."""

    def at_hand(self, tenant: Tenant, subject: str) -> AssignedPlan | None:
        """Return the plan if that is known without asking anybody, else None."""
        ...

    async def find(self, tenant: Tenant, subject: str) -> AssignedPlan:
        """Look the plan up, within a bounded time; never raises because somebody is away."""
        ...


class DecisionObserver(Protocol):
    """Takes note of decisions; must be quick and must not fail."""

    def record(self, tenant: Tenant, act: Act, decision: Decision) -> None:
        """Take note of one act that was checked; peeks are not."""
        ...
