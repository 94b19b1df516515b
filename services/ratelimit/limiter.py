"""The use case: whether a subject may act now."""

from collections.abc import Sequence
from typing import NamedTuple

from services.ratelimit.act import Act
from services.ratelimit.decision import Decision, LimitState, PlanSource, decided, limit_state
from services.ratelimit.policy import Match, Policy
from services.ratelimit.ports import (
    Charge,
    CounterStore,
    DecisionObserver,
    NowUs,
    Policies,
    Refunded,
)
from services.ratelimit.resolving import Resolver, Standing
from services.ratelimit.verdict import Verdict
from shared.rpc.call import Tenant


class Question(NamedTuple):
    """An act, the limits that hold for it, and where its subject's plan comes from."""

    act: Act
    match: Match
    source: PlanSource


class Limiter:
    """Finds the limits that hold for acts and asks the store."""

    def __init__(
        self,
        *,
        policies: Policies,
        resolver: Resolver,
        store: CounterStore,
        observer: DecisionObserver,
        now_us: NowUs,
    ) -> None:
        self._policies = policies
        self._resolver = resolver
        self._store = store
        self._observer = observer
        self._now_us = now_us

    async def check(self, tenant: Tenant, acts: Sequence[Act]) -> Decision:
        """Decide several acts as one, and consume for all of them when allowed."""
        policy = self._policies.current
        questions = await self._questions(policy, tenant, acts)
        return await self.check_matched(policy, tenant, questions)

    async def check_matched(
        self, policy: Policy, tenant: Tenant, questions: Sequence[Question]
    ) -> Decision:
        """Decide as `check` does, where the limits were found already."""
        charges, decision = await self._decide(policy, tenant, questions, consume=True)
        self._observe(tenant, questions, charges, decision)
        return decision

    async def peek(self, tenant: Tenant, acts: Sequence[Act]) -> Decision:
        """Decide several acts as one and consume nothing."""
        policy = self._policies.current
        questions = await self._questions(policy, tenant, acts)
        return await self.peek_matched(policy, tenant, questions)

    async def peek_matched(
        self, policy: Policy, tenant: Tenant, questions: Sequence[Question]
    ) -> Decision:
        """Decide as `peek` does, where the limits were found already."""
        _, decision = await self._decide(policy, tenant, questions, consume=False)
        return decision

    async def check_each(self, tenant: Tenant, acts: Sequence[Act]) -> Sequence[Decision]:
        """Decide acts that do not depend on each other, and consume for those that are allowed."""
        policy = self._policies.current
        questions = await self._questions(policy, tenant, acts)
        charges = [charges_of(tenant, question) for question in questions]
        asked = [each for each in charges if each]
        answers = iter(await self._store.decide_each(asked, consume=True) if asked else ())
        version, record = policy.version, self._observer.record
        decisions = []
        for question, each in zip(questions, charges, strict=True):
            verdicts = next(answers) if each else ()
            decision = self._decision(version, question, each, verdicts)
            record(tenant, question.act, decision)
            decisions.append(decision)
        return decisions

    async def refund(
        self, tenant: Tenant, act: Act, *, admitted_at: int | None, once: str
    ) -> tuple[Sequence[LimitState], Refunded]:
        """Give back what an act consumed; returns its limits and what came back to each."""
        policy = self._policies.current
        (question,) = await self._questions(policy, tenant, (act,))
        charges = charges_of(tenant, question)
        if not charges:
            return (), Refunded((), ())
        refunded = await self._store.refund(charges, admitted_at=admitted_at, once=once)
        return states_of(charges, refunded.verdicts), refunded

    async def _questions(
        self, policy: Policy, tenant: Tenant, acts: Sequence[Act]
    ) -> list[Question]:
        resolver, questions = self._resolver, []
        for act in acts:
            # Nearly always at hand; a coroutine for each act would cost more than the rest of this.
            standing = resolver.standing_at_hand(policy, tenant, act.subject, act.plan)
            if standing is None:
                standing = await resolver.standing(policy, tenant, act.subject, act.plan)
            questions.append(self._question(policy, tenant, act, standing))
        return questions

    def _question(self, policy: Policy, tenant: Tenant, act: Act, standing: Standing) -> Question:
        match = policy.match(tenant, act.endpoint, standing.plan)
        match = self._resolver.overridden(match, tenant, act.subject)
        return Question(act, match, standing.source)

    async def _decide(
        self, policy: Policy, tenant: Tenant, questions: Sequence[Question], *, consume: bool
    ) -> tuple[Sequence[Charge], Decision]:
        if len(questions) == 1:
            charges: Sequence[Charge] = charges_of(tenant, questions[0])
        else:
            charges = merged(
                [charge for question in questions for charge in charges_of(tenant, question)]
            )
        verdicts = await self._store.decide(charges, consume=consume) if charges else ()
        decision = self._decision(policy.version, questions[0], charges, verdicts)
        if len(questions) > 1:
            number = _deciding(questions, charges, decision)
            _, match, source = questions[number]
            decision = decision._replace(plan=match.plan, plan_source=source, act=number)
        return charges, decision

    def _decision(
        self,
        version: int,
        question: Question,
        charges: Sequence[Charge],
        verdicts: Sequence[Verdict],
    ) -> Decision:
        match = question.match
        return decided(
            match.rule.name,
            match.plan,
            question.source,
            states_of(charges, verdicts),
            decided_at=verdicts[0].now if verdicts else self._now_us(),
            policy_version=version,
        )

    def _observe(
        self,
        tenant: Tenant,
        questions: Sequence[Question],
        charges: Sequence[Charge],
        decision: Decision,
    ) -> None:
        """Tell of each act that went ahead, or of the one that kept all from it."""
        if len(questions) == 1:
            self._observer.record(tenant, questions[0].act, decision)
            return
        for question in questions if decision.allowed else (questions[decision.act],):
            own = tuple(
                state
                for charge, state in zip(charges, decision.states, strict=True)
                if _is_of(question, charge)
            )
            alone = decided(
                question.match.rule.name,
                question.match.plan,
                question.source,
                own,
                decided_at=decision.decided_at,
                policy_version=decision.policy_version,
            )
            self._observer.record(tenant, question.act, alone)


def _deciding(questions: Sequence[Question], charges: Sequence[Charge], decision: Decision) -> int:
    """Return the number of the act whose limit decided; of the first where all are unlimited."""
    for charge, state in zip(charges, decision.states, strict=True):
        if state is decision.state:
            return next(
                number
                for number, question in enumerate(questions)
                if _is_of(question, charge) and charge.limit in question.match.limits
            )
    return 0


def _is_of(question: Question, charge: Charge) -> bool:
    same_rule = question.match.rule.name == charge.rule.name
    return same_rule and question.act.subject == charge.subject


def states_of(charges: Sequence[Charge], verdicts: Sequence[Verdict]) -> tuple[LimitState, ...]:
    """Return the states of the limits that were charged."""
    if len(charges) == 1:
        charge = charges[0]
        return (limit_state(charge.rule, charge.limit, charge.cost, verdicts[0]),)
    return tuple(
        limit_state(charge.rule, charge.limit, charge.cost, verdict)
        for charge, verdict in zip(charges, verdicts, strict=True)
    )


def charges_of(tenant: Tenant, question: Question) -> tuple[Charge, ...]:
    """Return what an act costs on each of its limits; nothing when unlimited."""
    act, match, _ = question
    rule, limits = match.rule, match.limits
    if len(limits) == 1:
        return (Charge(tenant, rule, 0, act.subject, limits[0], act.cost),)
    return tuple(
        Charge(tenant, rule, position, act.subject, limit, act.cost)
        for position, limit in enumerate(limits)
    )


def merged(charges: Sequence[Charge]) -> Sequence[Charge]:
    """Return charges of which no two are on one counter: their costs are added.

    Where two plans of one subject were named, the smaller limit holds.
    """
    by_counter: dict[tuple[str, int, str], Charge] = {}
    for charge in charges:
        counter = (charge.rule.name, charge.position, charge.subject)
        known = by_counter.get(counter)
        if known is None:
            by_counter[counter] = charge
        else:
            smaller = min(known.limit, charge.limit, key=lambda limit: limit.quota)
            by_counter[counter] = known._replace(limit=smaller, cost=known.cost + charge.cost)
    return list(by_counter.values())
