"""The use case: the rules of the policy, as they hold for a tenant."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from services.ratelimit.checks import refuse
from services.ratelimit.limit_grammar import WITHOUT_LIMIT
from services.ratelimit.paging import Page
from services.ratelimit.policy import NO_PLAN, LimitSource, Plan, Policy, Rule
from services.ratelimit.ports import Policies
from shared.rpc.call import Tenant


class PlanLimits(NamedTuple):
    """What a rule says of one plan, as the policy writes it; the empty plan is of those without."""

    plan: str
    written: Sequence[str]
    of_tenant: bool


class ListedRule(NamedTuple):
    """A rule and its limits."""

    rule: Rule
    limits: Sequence[PlanLimits]


class Listed(NamedTuple):
    """Some rules in the order of the policy, and what else is to be known of it."""

    rules: Sequence[ListedRule]
    more: bool
    plans: Sequence[Plan]
    version: int


class Listing:
    """Lists rules."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    def page(self, tenant: Tenant, page: Page) -> Listed:
        """Return some rules; a page begins after the rule of its key."""
        policy = self._policies.current
        begin = 0
        if page.after is not None:
            names = [rule.name for rule in policy.rules]
            if page.after[0] not in names:
                refuse({"page_token": "is of a rule that is gone: the policy changed; begin anew"})
            begin = names.index(str(page.after[0])) + 1
        end = begin + page.size
        return Listed(
            [
                ListedRule(rule, [*_limits(policy, rule, tenant)])
                for rule in policy.rules[begin:end]
            ],
            end < len(policy.rules),
            policy.plans,
            policy.version,
        )


def _limits(policy: Policy, rule: Rule, tenant: Tenant) -> Iterator[PlanLimits]:
    for plan in (NO_PLAN, *(plan.name for plan in policy.plans)):
        match = policy.applied(rule, tenant, plan)
        if match.plan == plan:  # or the plan makes no difference here
            written = [limit.written for limit in match.limits] or [WITHOUT_LIMIT]
            of_tenant = match.source in {LimitSource.TENANT, LimitSource.TENANT_PLAN}
            yield PlanLimits(plan, written, of_tenant)
