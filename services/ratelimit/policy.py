"""The limits that operators wrote, and which of them applies to an act."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mainstay.errors import ValidationError

NO_PLAN = ""
CATCH_ALL = "*"
SECOND = 1_000_000

# The store counts in 32 bits, and holds its times exactly up to 2^53 microseconds.
MAX_QUOTA = 2**32 - 1
MAX_WINDOW = 366 * 86_400 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most `quota` in any `window` (microseconds)."""

    quota: int
    window: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What the policy says of some endpoints; a limit of None is unlimited.

    Attributes:
        name: Names the counters: a rule that is renamed begins anew.
        endpoints: Exact endpoints, and patterns that end in a star.
        default: The limit for callers without a plan.
        plans: The limit of each plan; empty when plans make no difference here.

    """

    name: str
    endpoints: tuple[str, ...]
    default: Limit | None
    plans: Mapping[str, Limit | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The rule that applies to an act, and its limit; `plan` is empty where the default applies."""

    rule: str
    plan: str
    limit: Limit | None


class Policy:
    """All rules, as one immutable snapshot. The pattern `*` must be among them."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.plans = frozenset(plan for rule in rules for plan in rule.plans)
        self._exact: dict[str, Mapping[str, Match]] = {}
        self._patterns: list[tuple[str, Mapping[str, Match]]] = []
        for rule in rules:
            matches = self._matches(rule)
            for endpoint in rule.endpoints:
                if endpoint.endswith("*"):
                    self._patterns.append((endpoint[:-1], matches))
                else:
                    self._exact[endpoint] = matches
        # The longest first, so that the first hit is the most specific.
        self._patterns.sort(key=lambda pattern: -len(pattern[0]))
        if not self._patterns or self._patterns[-1][0]:
            raise ValueError(f"no rule has the endpoint {CATCH_ALL}")

    def match(self, endpoint: str, plan: str) -> Match:
        """Return what applies: the exact endpoint, else the longest pattern.

        Raises ValidationError for a plan that no rule knows.
        """
        found = self._exact.get(endpoint) or self._longest_pattern(endpoint)
        match = found.get(plan)
        if match is None:
            known = ", ".join(sorted(self.plans)) or "none"
            raise ValidationError(
                f"the rate limit policy has no plan {plan!r}",
                fields={"plan": f"is not in the policy; known are {known}; or leave it out"},
            )
        return match

    def _longest_pattern(self, endpoint: str) -> Mapping[str, Match]:
        for prefix, found in self._patterns:
            if endpoint.startswith(prefix):
                return found
        raise AssertionError("the empty prefix matches")

    def _matches(self, rule: Rule) -> Mapping[str, Match]:
        """Return the answer for every plan there is, so that a check only looks it up."""
        default = Match(rule=rule.name, plan=NO_PLAN, limit=rule.default)
        matches = dict.fromkeys((NO_PLAN, *self.plans), default)
        for plan, limit in rule.plans.items():
            matches[plan] = Match(rule=rule.name, plan=plan, limit=limit)
        return matches
