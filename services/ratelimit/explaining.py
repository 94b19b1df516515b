"""The use case: why a limit holds for a subject, and what remains of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.ratelimit.act import Act
from services.ratelimit.decision import LimitState, limit_state
from services.ratelimit.limiter import Question, charges_of, states_of
from services.ratelimit.overrides import Override
from services.ratelimit.policy import Kind, Match, Policy
from services.ratelimit.ports import Charge, CounterStore, Places, Policies
from services.ratelimit.resolving import Resolver, Standing
from shared.rpc.call import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleExplanation:
    """Why one rule applies, and what is left of its limits; none are left out but unlimited ones.

    Attributes:
        match: The rule, its limits, and where they come from.
        override: What was decided for this subject alone, if anything was.
        also_matching: Patterns that cover the endpoint too and are less specific.
        states: The limits.

    """

    match: Match
    override: Override | None
    also_matching: Sequence[str]
    states: Sequence[LimitState]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All that applies to a subject on an endpoint."""

    standing: Standing
    rules: Sequence[RuleExplanation]
    policy_version: int
    degraded: bool


class Explaining:
    """Asks what a check, a lease and an AI call would ask, and consumes nothing."""

    def __init__(
        self,
        *,
        policies: Policies,
        resolver: Resolver,
        store: CounterStore,
        places: Places,
    ) -> None:
        self._policies = policies
        self._resolver = resolver
        self._store = store
        self._places = places

    async def explain(self, tenant: Tenant, act: Act) -> Explanation:
        """Explain one act; raises ValidationError for a plan that the policy does not have."""
        policy = self._policies.current
        standing = await self._resolver.standing(policy, tenant, act.subject, act.plan)
        rules = [
            await self._rule(policy, tenant, act, standing, match)
            for match in _matches(policy, tenant, act.endpoint, standing.plan)
        ]
        return Explanation(
            standing=standing,
            rules=rules,
            policy_version=policy.version,
            degraded=any(state.degraded for rule in rules for state in rule.states),
        )

    async def _rule(
        self, policy: Policy, tenant: Tenant, act: Act, standing: Standing, match: Match
    ) -> RuleExplanation:
        override = self._resolver.override(tenant, match, act.subject)
        match = self._resolver.overridden(match, tenant, act.subject)
        kind = match.rule.kind
        return RuleExplanation(
            match=match,
            override=override,
            also_matching=() if kind is Kind.BUDGET else policy.also_matching(kind, act.endpoint),
            states=await self._states(tenant, Question(act, match, standing.source)),
        )

    async def _states(self, tenant: Tenant, question: Question) -> Sequence[LimitState]:
        charges = charges_of(tenant, question)
        if not charges:
            return ()
        if question.match.rule.kind is not Kind.CONCURRENCY:
            return states_of(charges, await self._store.decide(charges, consume=False))
        return [await self._place(charge) for charge in charges]

    async def _place(self, charge: Charge) -> LimitState:
        verdict = await self._places.look(charge)
        return limit_state(charge.rule, charge.limit, charge.cost, verdict)


def _matches(policy: Policy, tenant: Tenant, endpoint: str, plan: str) -> Sequence[Match]:
    """Return what applies of each kind."""
    concurrency = policy.match_concurrency(tenant, endpoint, plan)
    return (
        policy.match(tenant, endpoint, plan),
        *(() if concurrency is None else (concurrency,)),
        *(policy.applied(budget, tenant, plan) for budget in policy.budgets),
    )
