"""The methods of the client that tell what the limits are, and why."""

from dataclasses import dataclass
from enum import Enum

from mainstay.ratelimit import conversions
from mainstay.ratelimit.calls import REPEATABLE, Calls
from mainstay.ratelimit.messages import build
from mainstay.ratelimit.overrides import Override, parse_override
from mainstay.ratelimit.results import Algorithm, FailureMode, LimitState, Measure
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb


class PlanSource(Enum):
    """Where a subject's plan comes from."""

    CALL = "call"
    """The call named it."""
    ASSIGNED = "assigned"
    """It was assigned to the subject."""
    NONE = "none"
    """There is none."""
    UNKNOWN = "unknown"
    """It could not be looked up: the plan last known applies, or the limits without a plan."""
    REMOVED = "removed"
    """One was assigned that the policy no longer has: the limits without a plan apply."""


class LimitSource(Enum):
    """Where a limit comes from."""

    DEFAULT = "default"
    """The rule's default."""
    PLAN = "plan"
    """The rule's limit for the plan."""
    TENANT = "tenant"
    """The tenant's default."""
    TENANT_PLAN = "tenant_plan"
    """The tenant's limit for the plan."""
    OVERRIDE = "override"
    """An override of the subject."""
    UNKNOWN = "unknown"
    """A place that only a newer version of this package knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLimits:
    """What a rule says of one plan.

    Attributes:
        plan: The plan; empty for callers without one.
        limits: As the policy writes them, such as `50/min`, or `unlimited`.
        tenant_specific: Whether they are this tenant's own.

    """

    plan: str
    limits: tuple[str, ...]
    tenant_specific: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of the policy, as it holds for the tenant.

    Attributes:
        name: Names it.
        algorithm: How it counts.
        measure: What it counts.
        endpoints: Endpoints and patterns that end in a star; none for AI budgets.
        plan_limits: The limits of each plan.
        on_failure: What decides while the counters cannot be reached.
        shadow: Whether it only watches.
        burst: How much may come at once (gcra); 0 where that is the limit itself.
        time_zone: Whose days, weeks and months its windows follow; empty where they follow no
            calendar.

    """

    name: str
    algorithm: Algorithm
    measure: Measure
    endpoints: tuple[str, ...]
    plan_limits: tuple[PlanLimits, ...]
    on_failure: FailureMode
    shadow: bool
    burst: int = 0
    time_zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan of the policy and the features it includes."""

    name: str
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The policy in force, as it holds for the tenant.

    Attributes:
        rules: In the order of the policy.
        plans: From the smallest to the largest.
        policy_version: The version; 0 for a file that is not stored.

    """

    rules: tuple[Rule, ...]
    plans: tuple[Plan, ...]
    policy_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedRule:
    """Why one rule applies to a subject.

    Attributes:
        rule: The rule.
        matched: The endpoint or pattern that matched; empty for AI budgets.
        also_matching: Patterns that match too and are less specific, the longest first.
        limit_source: Where the limits come from.
        override: The override, when they come from one.
        limits: The limits and what remains; none when unlimited.
        on_failure: What decides while the counters cannot be reached.

    """

    rule: str
    matched: str
    also_matching: tuple[str, ...]
    limit_source: LimitSource
    override: Override | None
    limits: tuple[LimitState, ...]
    on_failure: FailureMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What applies to a subject on an endpoint.

    Attributes:
        plan: The subject's plan; empty for none.
        plan_source: Where it comes from.
        rules: What applies of each kind: rate, concurrency and AI budgets.
        policy_version: The version in force; 0 for a file that is not stored.
        degraded: Whether the counters could not be reached: what is left is then what one
            replica would allow by the failure mode.

    """

    plan: str
    plan_source: PlanSource
    rules: tuple[AppliedRule, ...]
    policy_version: int
    degraded: bool


_PLAN_SOURCES = conversions.by_number("PLAN_SOURCE_", PlanSource)
_LIMIT_SOURCES = conversions.by_number("LIMIT_SOURCE_", LimitSource)


class Rulebook(Calls):
    """Tells what the limits are."""

    async def list_limits(self) -> Rules:
        """Return all rules of the policy in force."""
        request = pb.ListLimitsRequest(page_size=500)
        rules: list[Rule] = []
        while True:
            response = await self._channel.unary(self._stub.ListLimits, request, **REPEATABLE)
            rules.extend(_rule(message) for message in response.rules)
            if not response.next_page_token:
                break
            request.page_token = response.next_page_token
        return Rules(
            rules=tuple(rules),
            plans=tuple(
                Plan(name=plan.name, features=tuple(plan.features)) for plan in response.plans
            ),
            policy_version=response.policy_version,
        )

    async def explain(self, subject: str, endpoint: str, *, plan: str | None = None) -> Explanation:
        """Tell which rules apply, where each limit comes from and what remains; changes nothing."""
        request = build(pb.ExplainRequest, subject=subject, endpoint=endpoint, plan=plan or "")
        response = await self._channel.unary(self._stub.Explain, request, **REPEATABLE)
        return Explanation(
            plan=response.plan,
            plan_source=plan_source(response.plan_source),
            rules=tuple(_applied(message) for message in response.rules),
            policy_version=response.policy_version,
            degraded=response.degraded,
        )


def plan_source(number: int) -> PlanSource:
    """Return the source behind a number of the wire."""
    return _PLAN_SOURCES.get(number, PlanSource.UNKNOWN)


def _rule(message: pb.Rule) -> Rule:
    return Rule(
        name=message.name,
        algorithm=conversions.algorithm(message.algorithm),
        measure=conversions.measure(message.measure),
        endpoints=tuple(message.endpoints),
        plan_limits=tuple(
            PlanLimits(
                plan=each.plan, limits=tuple(each.limits), tenant_specific=each.tenant_specific
            )
            for each in message.plan_limits
        ),
        on_failure=conversions.failure_mode(message.on_failure),
        shadow=message.shadow,
        burst=message.burst,
        time_zone=message.time_zone,
    )


def _applied(message: pb.RuleExplanation) -> AppliedRule:
    return AppliedRule(
        rule=message.rule,
        matched=message.matched,
        also_matching=tuple(message.also_matching),
        limit_source=_LIMIT_SOURCES.get(message.limit_source, LimitSource.UNKNOWN),
        override=parse_override(message.override) if message.HasField("override") else None,
        limits=conversions.limit_states(message.limits),
        on_failure=conversions.failure_mode(message.on_failure),
    )
