"""The use case: whether a request may pass Envoy.

The descriptors of one call go ahead together or not at all, in one step of the store. Three kinds
take no part in that: those that only look are asked before, and keep the others from consuming when
they find no room; those whose policy says that they are always charged, and those that give back,
are about what has taken place, and are carried out whatever the others get.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from mainstay.errors import ValidationError
from services.ratelimit.act import Act
from services.ratelimit.decision import Decision, LimitState, decided
from services.ratelimit.envoy_call import EnvoyAnswer, EnvoyDescriptor, EnvoyLimit, EnvoyOutcome
from services.ratelimit.envoy_policy import EnvoyAim, EnvoyDomain
from services.ratelimit.limit_grammar import LimitGrammar
from services.ratelimit.limiter import Limiter, Question, charges_of, merged, states_of
from services.ratelimit.policy import Limits, LimitSource, Policy, Rule
from services.ratelimit.ports import CounterStore, DecisionObserver, Policies
from services.ratelimit.resolving import Resolver
from shared.rpc.call import Tenant

States = Sequence[LimitState]


class _Manner(Enum):
    """How a descriptor is carried out."""

    TAKE = auto()
    LOOK = auto()
    CHARGE = auto()
    GIVE_BACK = auto()
    REFUSE = auto()


@dataclass(slots=True, kw_only=True)
class _Asked:
    """One descriptor that a limit applies to, and, once they were asked, the states of its limits.

    Attributes:
        index: Its place in the call.

    """

    index: int
    manner: _Manner
    question: Question
    states: States = ()

    def decision(self, version: int, states: States | None = None) -> Decision:
        """Return what follows for it alone, or from all of the states given."""
        states = self.states if states is None else states
        match = self.question.match
        return decided(
            match.rule.name,
            match.plan,
            self.question.source,
            tuple(states),
            decided_at=states[0].now if states else 0,
            policy_version=version,
        )

    def outcome(self, version: int) -> EnvoyOutcome:
        match self.manner:
            case _Manner.REFUSE:
                return EnvoyOutcome(over_limit=True)
            case _Manner.CHARGE | _Manner.GIVE_BACK:
                return EnvoyOutcome(state=self.states[0] if self.states else None)
            case _Manner.TAKE | _Manner.LOOK:
                decision = self.decision(version)
                return EnvoyOutcome(not decision.allowed, decision.state)


class EnvoyLimiting:
    """Finds the limits that a domain's descriptors name, and asks for all of them."""

    def __init__(
        self,
        *,
        policies: Policies,
        resolver: Resolver,
        limiter: Limiter,
        store: CounterStore,
        observer: DecisionObserver,
    ) -> None:
        self._policies = policies
        self._resolver = resolver
        self._limiter = limiter
        self._store = store
        self._observer = observer

    async def ask(
        self, tenant: Tenant, domain: str, descriptors: Sequence[EnvoyDescriptor]
    ) -> EnvoyAnswer:
        """Decide for one request; `tenant` is asked for where the domain names none.

        Raises ValidationError for a limit of the request's own that cannot be counted.
        """
        policy = self._policies.current
        outcomes = [EnvoyOutcome()] * len(descriptors)
        found = policy.envoy.get(domain)
        if found is None:
            return EnvoyAnswer(outcomes)
        tenant = found.tenant or tenant
        asked = await self._asked(policy, tenant, found, descriptors)
        await self._decide(policy, tenant, asked)
        await self._settle(tenant, asked)
        for each in asked:
            outcomes[each.index] = each.outcome(policy.version)
        return EnvoyAnswer(outcomes, _overall(policy.version, asked))

    async def _asked(
        self,
        policy: Policy,
        tenant: Tenant,
        domain: EnvoyDomain,
        descriptors: Sequence[EnvoyDescriptor],
    ) -> Sequence[_Asked]:
        asked = []
        for index, descriptor in enumerate(descriptors):
            aim = domain.find(descriptor.entries)
            if aim is not None:
                question = await self._question(policy, tenant, aim, descriptor, index)
                manner = _manner(aim, descriptor)
                asked.append(_Asked(index=index, manner=manner, question=question))
        return asked

    async def _question(
        self,
        policy: Policy,
        tenant: Tenant,
        aim: EnvoyAim,
        descriptor: EnvoyDescriptor,
        index: int,
    ) -> Question:
        # What a client writes there may be anything: it is no plan until the policy knows it.
        plan = aim.plan if policy.knows_plan(aim.plan) else ""
        standing = await self._resolver.standing(policy, tenant, aim.subject, plan)
        if aim.rule:
            match = policy.applied(policy.rule(aim.rule), tenant, standing.plan)
        else:
            match = policy.match(tenant, aim.endpoint, standing.plan)
        match = self._resolver.overridden(match, tenant, aim.subject)
        if descriptor.limit is not None and descriptor.limit.quota:
            limits = _limits(match.rule, descriptor.limit, index)
            match = match._replace(limits=limits, source=LimitSource.OVERRIDE)
        act = Act(aim.subject, aim.endpoint, plan, descriptor.hits or 1)
        return Question(act, match, standing.source)

    async def _decide(self, policy: Policy, tenant: Tenant, asked: Sequence[_Asked]) -> None:
        """Look where only that is asked; take from the others if nothing is in the way."""
        room = all(each.manner is not _Manner.REFUSE for each in asked)
        looks = [each for each in asked if each.manner is _Manner.LOOK]
        if looks:
            decision = await _deal(policy, tenant, looks, self._limiter.peek_matched)
            room = room and decision.allowed
            self._record_denied(policy, tenant, looks)
        takes = [each for each in asked if each.manner is _Manner.TAKE]
        if takes:
            limiter = self._limiter
            ask = limiter.check_matched if room else limiter.peek_matched
            await _deal(policy, tenant, takes, ask)

    def _record_denied(self, policy: Policy, tenant: Tenant, looks: Sequence[_Asked]) -> None:
        """Keep evidence of those that keep a request out, though they consume nothing."""
        for each in looks:
            decision = each.decision(policy.version)
            if not decision.allowed:
                self._observer.record(tenant, each.question.act, decision)

    async def _settle(self, tenant: Tenant, asked: Sequence[_Asked]) -> None:
        """Charge and give back what has taken place."""
        for manner in (_Manner.CHARGE, _Manner.GIVE_BACK):
            places = [each for each in asked if each.manner is manner]
            charges = merged(
                [charge for each in places for charge in charges_of(tenant, each.question)]
            )
            if not charges:
                continue
            if manner is _Manner.CHARGE:
                verdicts = await self._store.charge(charges) or ()
            else:
                verdicts = (await self._store.refund(charges, admitted_at=None)).verdicts
            _hand_out(tenant, places, states_of(charges, verdicts))


def _manner(aim: EnvoyAim, descriptor: EnvoyDescriptor) -> _Manner:
    if descriptor.limit is not None and not descriptor.limit.quota:
        return _Manner.REFUSE
    if not descriptor.hits:
        return _Manner.LOOK
    if descriptor.gives_back:
        return _Manner.GIVE_BACK
    return _Manner.CHARGE if aim.always else _Manner.TAKE


def _limits(rule: Rule, limit: EnvoyLimit, index: int) -> Limits:
    try:
        return LimitGrammar.of(rule).read(f"{limit.quota}/{limit.window}")
    except ValueError as fault:
        raise ValidationError(
            f"the limit that the request brings for the rule {rule.name} cannot be counted",
            fields={f"descriptors[{index}].limit": str(fault)},
        ) from fault


async def _deal(
    policy: Policy,
    tenant: Tenant,
    asked: Sequence[_Asked],
    ask: Callable[[Policy, Tenant, Sequence[Question]], Awaitable[Decision]],
) -> Decision:
    """Have several descriptors decided as one, and give each the states of its own limits."""
    decision = await ask(policy, tenant, [each.question for each in asked])
    _hand_out(tenant, asked, decision.states)
    return decision


def _hand_out(tenant: Tenant, asked: Sequence[_Asked], states: States) -> None:
    """Give each descriptor its states; those on one counter were charged together and share one."""
    counters = [
        [(charge.rule.name, charge.position, charge.subject) for charge in charges_of(tenant, it)]
        for it in (each.question for each in asked)
    ]
    order = dict.fromkeys(counter for own in counters for counter in own)
    by_counter = dict(zip(order, states, strict=True))
    for each, own in zip(asked, counters, strict=True):
        each.states = [by_counter[counter] for counter in own]


def _overall(version: int, asked: Sequence[_Asked]) -> Decision | None:
    """Return what headers tell: of all limits that could keep the request out."""
    deciding = [each for each in asked if each.manner in {_Manner.TAKE, _Manner.LOOK}]
    # By identity, since those on one counter share a state.
    states = {id(state): state for each in deciding for state in each.states}
    return deciding[0].decision(version, tuple(states.values())) if states else None
