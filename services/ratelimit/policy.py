"""The limits that operators wrote, and which of them apply to an act.

All times are microseconds. A policy is an immutable snapshot: a change is another policy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from mainstay.errors import NotFoundError, ValidationError
from services.ratelimit.envoy_policy import EnvoyDomain
from services.ratelimit.prices import PriceTable
from shared.rpc.call import Tenant

NO_PLAN = ""
CATCH_ALL = "*"
SECOND = 1_000_000
DAY = 86_400 * SECOND

# Counters have 32 bits, and a ring stores its window in 24 bits of seconds. A fixed window is a
# single counter, which has as many as a Lua number holds exactly.
MAX_QUOTA = 2**32 - 1
MAX_FIXED_QUOTA = 2**53 - 1
MAX_WINDOW = 186 * DAY

_MOST_MATCHES = 8192

MAX_SHOWN = 100
"""Characters of an unknown name that an error repeats."""


class Algorithm(Enum):
    """How a limit counts; the value is its name in the policy."""

    SLIDING_WINDOW = "sliding_window"
    GCRA = "gcra"
    FIXED_WINDOW = "fixed_window"
    CONCURRENCY = "concurrency"


class Calendar(Enum):
    """What a fixed window follows instead of a length; the value is its unit in the policy."""

    DAY = "d"
    WEEK = "w"
    MONTH = "month"


class Kind(Enum):
    """What a rule is asked for: each kind has endpoints of its own."""

    RATE = auto()
    CONCURRENCY = auto()
    BUDGET = auto()


class Measure(Enum):
    """What a rule counts; the value is its name in the policy."""

    COST = "cost"
    TOKENS = "tokens"
    MONEY = "money"  # millionths of a US dollar


class FailureMode(Enum):
    """What decides while the counters cannot be reached; the value is its name in the policy."""

    OPEN = "open"
    CLOSED = "closed"
    LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most `quota` in any window.

    Attributes:
        quota: How much; places of a concurrency limit.
        window: How long, in microseconds. Zero for concurrency. Of a calendar's day, week or month
            its usual length, for messages; `fixed_window.bounds` knows the real one.
        algorithm: How it counts.
        burst: With gcra, how much may come at once; otherwise the quota.
        calendar: What a fixed window follows; None for one that is aligned to 1970.
        time_zone: The IANA name of the calendar's time zone.
        written: As the policy says it, such as `50/min`, for people.

    """

    quota: int
    window: int
    algorithm: Algorithm = Algorithm.SLIDING_WINDOW
    burst: int = 0
    calendar: Calendar | None = None
    time_zone: str = "UTC"
    written: str = ""


Limits = tuple[Limit, ...]
"""All of them hold; none means unlimited."""
UNLIMITED: Limits = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLimits:
    """What a rule says of one tenant; what it leaves out is as for everybody.

    Attributes:
        default: For callers without a plan; None where the rule's own holds.
        plans: The limits of plans.

    """

    default: Limits | None = None
    plans: Mapping[str, Limits] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What the policy says of some endpoints, or of the AI usage of everybody.

    Attributes:
        name: Names the counters, together with a limit's position: a rule that is renamed begins
            anew, one whose limits change keeps what was consumed.
        kind: What it is asked for.
        algorithm: How its limits count.
        measure: What they count.
        endpoints: Exact endpoints, and patterns that end in a star. None for budgets.
        default: The limits for callers without a plan.
        plans: The limits of each plan; empty when plans make no difference here.
        tenants: What is different for some tenants.
        on_failure: What decides while the counters cannot be reached.
        shadow: It watches and never denies.

    """

    name: str
    endpoints: tuple[str, ...]
    default: Limits
    plans: Mapping[str, Limits] = field(default_factory=dict)
    tenants: Mapping[str, TenantLimits] = field(default_factory=dict)
    kind: Kind = Kind.RATE
    algorithm: Algorithm = Algorithm.SLIDING_WINDOW
    measure: Measure = Measure.COST
    on_failure: FailureMode = FailureMode.LOCAL
    shadow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan and what it includes."""

    name: str
    features: frozenset[str] = frozenset()


class LimitSource(Enum):
    """Where a limit comes from."""

    DEFAULT = auto()
    PLAN = auto()
    TENANT = auto()
    TENANT_PLAN = auto()
    OVERRIDE = auto()


class Match(NamedTuple):
    """The rule that applies to an act, and its limits.

    Attributes:
        rule: The rule.
        plan: Whose limits of the rule apply; empty where those without a plan do.
        limits: The limits; none when unlimited.
        source: Where they come from.
        pattern: The endpoint of the rule that matched; empty for budgets.

    """

    rule: Rule
    plan: str
    limits: Limits
    source: LimitSource
    pattern: str


class Policy:
    """All that operators wrote, as one immutable snapshot.

    Among the rules for rates the pattern `*` must be, for what is left.

    Attributes:
        rules: Of every kind, in the order they were written.
        plans: From the smallest to the largest.
        prices: What AI models cost.
        envoy: The domains that Envoy asks for.
        version: Counts up with every change; 0 for a file that is not stored.

    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        plans: Sequence[Plan] = (),
        prices: PriceTable | None = None,
        envoy: Sequence[EnvoyDomain] = (),
        version: int = 0,
    ) -> None:
        self.rules = tuple(rules)
        self.plans = tuple(plans) or tuple(
            Plan(name=name) for name in dict.fromkeys(plan for rule in rules for plan in rule.plans)
        )
        self.prices = prices or PriceTable()
        self.envoy = {domain.name: domain for domain in envoy}
        self.version = version
        self.budgets = tuple(rule for rule in rules if rule.kind is Kind.BUDGET)
        self._plans = {plan.name: plan for plan in self.plans}
        self._by_name = {rule.name: rule for rule in rules}
        # What was asked before is found with one look: endpoints are few, as a rule.
        self._matches: dict[tuple[Tenant, str, str], Match] = {}
        self._endpoints = {kind: _Endpoints(self.rules, kind) for kind in Kind}
        if not self._endpoints[Kind.RATE].has_catch_all:
            raise ValueError(f"no rule has the endpoint {CATCH_ALL}")

    def plan(self, name: str) -> Plan:
        """Return a plan by its name; raises ValidationError for one that there is not."""
        plan = self._plans.get(name)
        if plan is None:
            known = ", ".join(self._plans) or "none"
            raise ValidationError(
                f"the rate limit policy has no plan {name[:MAX_SHOWN]!r}",
                fields={"plan": f"is not in the policy; known are {known}; or leave it out"},
            )
        return plan

    def knows_plan(self, name: str) -> bool:
        """Return whether there is such a plan."""
        return name in self._plans

    def rule(self, name: str) -> Rule:
        """Return a rule by its name; raises NotFoundError for one that there is not."""
        rule = self._by_name.get(name)
        if rule is None:
            raise NotFoundError(
                f"the rate limit policy has no rule {name[:MAX_SHOWN]!r}; ListLimits has them all",
                resource_type="rule",
                resource_name=name[:MAX_SHOWN],
                reason="RULE_NOT_FOUND",
            )
        return rule

    def match(self, tenant: Tenant, endpoint: str, plan: str) -> Match:
        """Return the rate that applies: of the exact endpoint, else of the longest pattern.

        Raises ValidationError for a plan that there is not.
        """
        asked = (tenant, endpoint, plan)
        match = self._matches.get(asked)
        if match is None:
            pattern, rule = self._endpoints[Kind.RATE].find(endpoint)
            assert rule is not None
            match = self.applied(rule, tenant, plan, pattern)
            if len(self._matches) >= _MOST_MATCHES:
                self._matches.clear()
            self._matches[asked] = match
        return match

    def match_concurrency(self, tenant: Tenant, endpoint: str, plan: str) -> Match | None:
        """Return the concurrency that applies, found as a rate is; None when nothing covers it."""
        pattern, rule = self._endpoints[Kind.CONCURRENCY].find(endpoint)
        return None if rule is None else self.applied(rule, tenant, plan, pattern)

    def also_matching(self, kind: Kind, endpoint: str) -> Sequence[str]:
        """Return the patterns that cover an endpoint and are less specific, the longest first."""
        return self._endpoints[kind].all(endpoint)[1:]

    def applied(self, rule: Rule, tenant: Tenant, plan: str, pattern: str = "") -> Match:
        """Return what a rule says of a plan in a tenant: the tenant's own words come first."""
        if plan and plan not in self._plans:
            self.plan(plan)  # says what is wrong
        own = rule.tenants.get(tenant)
        if own is not None:
            if plan in own.plans:
                return Match(rule, plan, own.plans[plan], LimitSource.TENANT_PLAN, pattern)
            if own.default is not None and plan not in rule.plans:
                return Match(rule, NO_PLAN, own.default, LimitSource.TENANT, pattern)
        if plan in rule.plans:
            return Match(rule, plan, rule.plans[plan], LimitSource.PLAN, pattern)
        return Match(rule, NO_PLAN, rule.default, LimitSource.DEFAULT, pattern)


class _Endpoints:
    """Finds the rule of one kind that covers an endpoint."""

    def __init__(self, rules: Sequence[Rule], kind: Kind) -> None:
        self._exact: dict[str, Rule] = {}
        self._patterns: list[tuple[str, Rule]] = []
        for rule in rules:
            for endpoint in rule.endpoints if rule.kind is kind else ():
                if endpoint.endswith("*"):
                    self._patterns.append((endpoint[:-1], rule))
                else:
                    self._exact[endpoint] = rule
        # The longest first, so that the first hit is the most specific.
        self._patterns.sort(key=lambda pattern: -len(pattern[0]))
        self.has_catch_all = any(not prefix for prefix, _ in self._patterns)

    def find(self, endpoint: str) -> tuple[str, Rule | None]:
        rule = self._exact.get(endpoint)
        if rule is not None:
            return endpoint, rule
        for prefix, rule in self._patterns:
            if endpoint.startswith(prefix):
                return f"{prefix}*", rule
        return "", None

    def all(self, endpoint: str) -> list[str]:
        exact = [endpoint] if endpoint in self._exact else []
        return exact + [f"{prefix}*" for prefix, _ in self._patterns if endpoint.startswith(prefix)]
