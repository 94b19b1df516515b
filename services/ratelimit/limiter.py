"""The use case: whether a subject may act now."""

from services.ratelimit.act import Act
from services.ratelimit.decision import Decision, decided, unlimited
from services.ratelimit.policy import Policy
from services.ratelimit.ports import Charge, CounterStore, DecisionObserver
from shared.rpc.call import Tenant


class Limiter:
    """Finds the limit that applies to an act and asks the store."""

    def __init__(self, policy: Policy, store: CounterStore, observer: DecisionObserver) -> None:
        self._policy = policy
        self._store = store
        self._observer = observer

    async def check(self, tenant: Tenant, act: Act) -> Decision:
        """Decide, and consume when allowed."""
        decision = await self._decide(tenant, act, consume=True)
        self._observer.record(decision)
        return decision

    async def peek(self, tenant: Tenant, act: Act) -> Decision:
        """Decide and consume nothing."""
        return await self._decide(tenant, act, consume=False)

    async def _decide(self, tenant: Tenant, act: Act, *, consume: bool) -> Decision:
        match = self._policy.match(act.endpoint, act.plan)
        limit = match.limit
        if limit is None:
            return unlimited(match)
        charge = Charge(
            tenant=tenant, rule=match.rule, subject=act.subject, limit=limit, cost=act.cost
        )
        return decided(match, limit, await self._store.decide(charge, consume=consume))
