"""The use case: taking a share of a limit at once, to be spent without asking."""

from collections.abc import Sequence
from typing import NamedTuple

from services.ratelimit.act import Act
from services.ratelimit.checks import range_fault, refuse
from services.ratelimit.decision import Decision, capacity, decided
from services.ratelimit.lending_ports import LendingStore, Reservations
from services.ratelimit.limiter import Question, charges_of, states_of
from services.ratelimit.policy import MAX_WINDOW, NO_PLAN, SECOND, Limits, Policy
from services.ratelimit.ports import Charge, DecisionObserver, NowUs, Policies
from services.ratelimit.reservation import Held, Share, held, read_share_token, share_token
from services.ratelimit.resolving import Resolver
from services.ratelimit.verdict import Verdict
from shared.rpc.call import Tenant

MIN_TTL = SECOND
TIME_TO_RETURN = 600 * SECOND
"""How long after its end a share can still be given back."""

ATTEMPTS = 4
"""How often a part is asked for while others consume the rest of it, the least in the end."""


class Reserved(NamedTuple):
    """What was decided, and the share; none when denied, or where nobody counts."""

    decision: Decision
    share: Share | None


class _Taken(NamedTuple):
    """What was asked last, with the answers to it."""

    act: Act
    charges: Sequence[Charge]
    verdicts: Sequence[Verdict]


class Reserving:
    """Lends shares of limits, and takes back what was not spent."""

    def __init__(
        self,
        *,
        policies: Policies,
        resolver: Resolver,
        store: LendingStore,
        reservations: Reservations,
        observer: DecisionObserver,
        now_us: NowUs,
    ) -> None:
        self._policies = policies
        self._resolver = resolver
        self._store = store
        self._reservations = reservations
        self._observer = observer
        self._now_us = now_us

    async def reserve(
        self, tenant: Tenant, act: Act, *, least: int, ttl: int | None = None
    ) -> Reserved:
        """Consume the cost of an act, or as much of it as is left, but `least` at least.

        The share may be spent for `ttl` microseconds, a tenth of the shortest window if None.
        Raises ValidationError, and RateLimitStoreError when what was consumed cannot be noted; it
        then stays consumed.
        """
        policy = self._policies.current
        question = await self._question(policy, tenant, act)
        limits = question.match.limits
        refuse(
            {
                "min_amount": range_fault(least, 1, act.cost),
                "ttl": None if ttl is None else ttl_fault(ttl, limits),
            }
        )
        taken = await self._take(tenant, question, least)
        decision = self._decision(policy, question, taken)
        self._observer.record(tenant, taken.act, decision)
        if not decision.allowed or decision.degraded is not None or not limits:
            return Reserved(decision, None)
        return Reserved(decision, await self._share(tenant, taken, ttl or default_ttl(limits)))

    async def give_back(self, tenant: Tenant, token: str, unused: int) -> int:
        """Give back what of a share was not spent; returns what came back to the limit.

        Whoever comes second gives nothing back, and so does a repetition of a return that failed:
        what was reserved then stays consumed. Raises ValidationError and RateLimitStoreError.
        """
        reservation, amount = read_share_token(token)
        refuse({"unused": range_fault(unused, 0, amount)})
        holding = await self._reservations.settle(tenant, reservation)
        if holding is None or not unused:
            return 0
        charges = await self._charges(tenant, holding, unused)
        if not charges:
            return 0
        refunded = await self._store.refund(charges, admitted_at=holding.consumed_at)
        return max(refunded.amounts)

    async def _question(self, policy: Policy, tenant: Tenant, act: Act) -> Question:
        standing = await self._resolver.standing(policy, tenant, act.subject, act.plan)
        match = policy.match(tenant, act.endpoint, standing.plan)
        return Question(act, self._resolver.overridden(match, tenant, act.subject), standing.source)

    async def _take(self, tenant: Tenant, question: Question, least: int) -> _Taken:
        """Ask for all, then for what is left.

        Each time in one step: whoever comes in between makes the share smaller, and never the limit
        exceeded. Only what was asked last was consumed, if it was admitted.
        """
        for left in reversed(range(ATTEMPTS)):
            charges = charges_of(tenant, question)
            verdicts = await self._store.lend(charges, least=least) if charges else ()
            wanted = question.act.cost
            room = _room(charges, verdicts)
            if room is None or wanted == least:
                break
            smaller = max(least, min(room, wanted - 1)) if left > 1 else least
            question = question._replace(act=question.act._replace(cost=smaller))
        return _Taken(question.act, charges, verdicts)

    def _decision(self, policy: Policy, question: Question, taken: _Taken) -> Decision:
        match = question.match
        return decided(
            match.rule.name,
            match.plan,
            question.source,
            states_of(taken.charges, taken.verdicts),
            decided_at=taken.verdicts[0].now if taken.verdicts else self._now_us(),
            policy_version=policy.version,
        )

    async def _share(self, tenant: Tenant, taken: _Taken, ttl: int) -> Share | None:
        holding = held(
            subject=taken.act.subject,
            plan=taken.act.plan,
            charges=taken.charges,
            verdicts=taken.verdicts,
        )
        if not holding.amounts:
            return None  # the rule only watches, and was full
        reservation = await self._reservations.hold(tenant, holding, ttl + TIME_TO_RETURN)
        amount = taken.act.cost
        return Share(
            token=share_token(reservation, amount),
            amount=amount,
            expires_at=holding.consumed_at + ttl,
            ttl=ttl,
        )

    async def _charges(self, tenant: Tenant, holding: Held, unused: int) -> Sequence[Charge]:
        """Return what is to be given back, on the limits as they are now."""
        policy = self._policies.current
        subject = holding.subject
        plan = holding.plan if policy.knows_plan(holding.plan) else NO_PLAN
        standing = await self._resolver.standing(policy, tenant, subject, plan)
        names, charges = {name for name, _ in holding.amounts}, []
        for rule in (rule for rule in policy.rules if rule.name in names):
            match = policy.applied(rule, tenant, standing.plan)
            limits = self._resolver.overridden(match, tenant, subject).limits
            for position, limit in enumerate(limits):
                amount = min(unused, holding.amounts.get((rule.name, position), 0))
                if amount:
                    charges.append(Charge(tenant, rule, position, subject, limit, amount))
        return charges


def default_ttl(limits: Limits) -> int:
    """Return for how long a share may be spent when nothing is said."""
    return max(MIN_TTL, _shortest(limits) // 10)


def ttl_fault(ttl: int, limits: Limits) -> str | None:
    """Return what is wrong with how long a share is to be spent."""
    longest = _shortest(limits)
    if MIN_TTL <= ttl <= longest:
        return None
    return (
        f"is {ttl / SECOND:g} s; give 1 s to {longest / SECOND:g} s, which is the shortest window "
        "of the rule"
    )


def _shortest(limits: Limits) -> int:
    return min((limit.window for limit in limits), default=MAX_WINDOW)


def _room(charges: Sequence[Charge], verdicts: Sequence[Verdict]) -> int | None:
    """Return what the tightest of the limits that deny has left; None if none denies."""
    return min(
        (
            max(0, capacity(charge.limit) - verdict.used)
            for charge, verdict in zip(charges, verdicts, strict=True)
            if not verdict.admits and not charge.rule.shadow
        ),
        default=None,
    )
