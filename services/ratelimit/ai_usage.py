"""The use case: budgets for AI calls, asked by an estimate before a call and charged after it.

An estimate is consumed when it is admitted, and held. To settle it, what the call really took is
charged first and the estimate given back then: a failure in between counts both for a while, and
never neither.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

import structlog

from mainstay.errors import RateLimitStoreError
from services.ratelimit import ai_metrics
from services.ratelimit.act import Act
from services.ratelimit.ai_call import AiCall, AiEstimate, AiUsage, model_name
from services.ratelimit.decision import Decision, LimitState, decided
from services.ratelimit.lending_ports import Reservations
from services.ratelimit.limiter import states_of
from services.ratelimit.policy import NO_PLAN, Match, Measure, Policy
from services.ratelimit.ports import Charge, CounterStore, DecisionObserver, NowUs, Policies
from services.ratelimit.prices import Tokens
from services.ratelimit.reservation import Held, held
from services.ratelimit.resolving import Resolver, Standing
from shared.rpc.call import Tenant

log = structlog.get_logger()


class AiUsageLog(Protocol):
    """Keeps calls."""

    async def keep(self, usage: AiUsage) -> bool:
        """Keep a call, now or as soon as that is possible; False if its request was kept before.

        Raises DatabaseError when so many wait already that this one cannot.
        """
        ...


class NewId(Protocol):
    """Makes names for calls."""

    def __call__(self) -> UUID:
        """Return a name that nothing else has."""
        ...


class AiReserved(NamedTuple):
    """What the budgets decided. The reservation is empty when there is nothing to settle."""

    decision: Decision
    reservation: str
    cost: int | None


class AiRecorded(NamedTuple):
    """What a call cost, and the budgets afterwards."""

    cost: int | None
    budgets: Sequence[LimitState]
    repeated: bool
    degraded: bool


class _Budgets(NamedTuple):
    """What holds for a subject, and its budgets."""

    policy: Policy
    standing: Standing
    matches: Sequence[Match]


class AiBudgets:
    """Asks and charges the budgets of subjects, and keeps what they used."""

    def __init__(
        self,
        *,
        policies: Policies,
        resolver: Resolver,
        store: CounterStore,
        reservations: Reservations,
        usage: AiUsageLog,
        observer: DecisionObserver,
        now_us: NowUs,
        new_id: NewId,
    ) -> None:
        self._policies = policies
        self._resolver = resolver
        self._store = store
        self._reservations = reservations
        self._usage = usage
        self._observer = observer
        self._now_us = now_us
        self._new_id = new_id

    async def reserve(self, tenant: Tenant, estimate: AiEstimate) -> AiReserved:
        """Ask all budgets for an estimate at once, and hold what they admit.

        Raises ValidationError, and RateLimitStoreError when what was admitted cannot be held; it
        then stays consumed.
        """
        estimate.check()
        subject, tokens = estimate.subject, estimate.tokens
        budgets = await self._budgets(tenant, subject, estimate.plan)
        price = budgets.policy.prices.price(estimate.provider, estimate.model)
        cost = None if price is None else price.highest_cost(tokens)
        charges = _charges(tenant, subject, budgets.matches, tokens, cost)
        verdicts = await self._store.decide(charges, consume=True) if charges else ()
        decision = self._decision(budgets, states_of(charges, verdicts))
        ai_metrics.note_estimate(decision)
        if charges:
            self._observe(tenant, estimate, budgets, decision)
        degraded = any(verdict.degraded for verdict in verdicts)
        if not (decision.allowed and charges) or degraded:
            return AiReserved(decision, "", cost)
        holding = held(charges, verdicts, subject=subject, plan=estimate.plan)
        if not holding.amounts:
            return AiReserved(decision, "", cost)  # the budgets only watch, and were used up
        reservation = await self._reservations.hold(tenant, holding, estimate.ttl)
        return AiReserved(decision, reservation, cost)

    async def record(self, tenant: Tenant, call: AiCall) -> AiRecorded:
        """Charge a call to the budgets whatever is left of them, settle its estimate, and keep it.

        A reservation that is gone, because its time is over or it was settled before, is charged in
        full. Raises ValidationError, and DatabaseError when the call cannot be kept even for later:
        with a request id it can then be recorded again.
        """
        call.check()
        budgets = await self._budgets(tenant, call.subject, call.plan)
        cost = call.cost
        if cost is None and (price := budgets.policy.prices.price(call.provider, call.model)):
            cost = price.cost(call.tokens)
        charges = _charges(tenant, call.subject, budgets.matches, call.tokens, cost)
        charged = await self._charge(charges, call) if charges else _Charged()
        settled = await self._settle(tenant, call.reservation) if call.reservation else True
        new = await self._usage.keep(
            AiUsage(
                usage_id=self._new_id(),
                tenant=tenant,
                plan=budgets.standing.plan,
                call=call,
                cost=cost,
                recorded_at=self._now_us(),
            )
        )
        repeated = charged.repeated if charges else not new
        if not repeated:
            ai_metrics.note_call(call, cost)
        states = await self._states(tenant, call.subject, budgets)
        return AiRecorded(
            cost=cost,
            budgets=states,
            repeated=repeated,
            degraded=charged.degraded or not settled or any(state.degraded for state in states),
        )

    async def _budgets(self, tenant: Tenant, subject: str, plan: str) -> _Budgets:
        policy = self._policies.current
        standing = await self._resolver.standing(policy, tenant, subject, plan)
        return _Budgets(policy, standing, self._matches(policy, tenant, subject, standing.plan))

    def _matches(self, policy: Policy, tenant: Tenant, subject: str, plan: str) -> Sequence[Match]:
        return [
            self._resolver.overridden(policy.applied(rule, tenant, plan), tenant, subject)
            for rule in policy.budgets
        ]

    def _decision(self, budgets: _Budgets, states: tuple[LimitState, ...]) -> Decision:
        policy, standing, matches = budgets
        decision = decided(
            "",
            NO_PLAN,
            standing.source,
            states,
            decided_at=states[0].now if states else self._now_us(),
            policy_version=policy.version,
        )
        plans = {match.rule.name: match.plan for match in matches}
        return decision._replace(plan=plans.get(decision.rule, NO_PLAN))

    def _observe(
        self, tenant: Tenant, estimate: AiEstimate, budgets: _Budgets, decision: Decision
    ) -> None:
        """Tell of each budget that admitted it, or of the one that kept all from it."""
        endpoint = model_name(estimate.provider, estimate.model)
        act = Act(estimate.subject, endpoint, estimate.plan, 1)
        if not decision.allowed:
            self._observer.record(tenant, act, decision)
            return
        for match in budgets.matches:
            own = tuple(state for state in decision.states if state.rule is match.rule)
            if own:
                self._observer.record(tenant, act, self._decision(budgets, own))

    async def _charge(self, charges: Sequence[Charge], call: AiCall) -> "_Charged":
        once = f"ai:{call.request_id}" if call.request_id else ""
        verdicts = await self._store.charge(charges, once=once)
        if verdicts is None:
            return _Charged(repeated=True)
        return _Charged(degraded=any(verdict.degraded for verdict in verdicts))

    async def _settle(self, tenant: Tenant, reservation: str) -> bool:
        """Give an estimate back, to the first who asks; False when that is impossible now."""
        try:
            holding = await self._reservations.settle(tenant, reservation)
            if holding is None:
                return True
            charges = await self._held_charges(tenant, holding)
            if charges:
                await self._store.refund(charges, admitted_at=holding.consumed_at)
        except RateLimitStoreError as error:
            # The estimate stays consumed, which is the safe side.
            log.info("ai_estimate_not_given_back", reservation=reservation, error=error.message)
            return False
        return True

    async def _held_charges(self, tenant: Tenant, holding: Held) -> Sequence[Charge]:
        """Return what is to be given back, on the budgets as they are now."""
        policy, subject = self._policies.current, holding.subject
        plan = holding.plan if policy.knows_plan(holding.plan) else NO_PLAN
        budgets = await self._budgets(tenant, subject, plan)
        return [
            charge._replace(cost=amount)
            for charge in _each_limit(tenant, subject, budgets.matches)
            if (amount := holding.amount(charge))
        ]

    async def _states(
        self, tenant: Tenant, subject: str, budgets: _Budgets
    ) -> Sequence[LimitState]:
        charges = _each_limit(tenant, subject, budgets.matches)
        if not charges:
            return ()
        try:
            verdicts = await self._store.decide(charges, consume=False)
        except RateLimitStoreError:
            return ()
        return states_of(charges, verdicts)


class _Charged(NamedTuple):
    """How it went."""

    repeated: bool = False
    degraded: bool = False


def _each_limit(tenant: Tenant, subject: str, matches: Sequence[Match]) -> list[Charge]:
    """Return the least charge on every limit."""
    return [
        Charge(tenant, match.rule, position, subject, limit, 1)
        for match in matches
        for position, limit in enumerate(match.limits)
    ]


def _charges(
    tenant: Tenant, subject: str, matches: Sequence[Match], tokens: Tokens, cost: int | None
) -> list[Charge]:
    """Return what a call takes from every budget; a model without a price takes no money."""
    amounts = {
        Measure.TOKENS: tokens.input + tokens.output,
        Measure.MONEY: cost or 0,
    }
    return [
        charge._replace(cost=amount)
        for charge in _each_limit(tenant, subject, matches)
        if (amount := amounts[charge.rule.measure])
    ]
