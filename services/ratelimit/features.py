"""Whether a plan includes a feature, and which plan would."""

from dataclasses import dataclass

from mainstay.errors import NotFoundError
from services.ratelimit.decision import PlanSource
from services.ratelimit.policy import MAX_SHOWN, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCheck:
    """What was found of a feature.

    Attributes:
        included: Whether the plan includes it.
        plan: The plan that was asked; empty for none.
        plan_source: Where that plan comes from.
        plans: The plans that include it, from the smallest to the largest.
        upgrade_plan: The smallest larger plan that includes it; empty when included, or when none
            does.

    """

    included: bool
    plan: str
    plan_source: PlanSource
    plans: tuple[str, ...]
    upgrade_plan: str


def look_up(policy: Policy, feature: str, *, plan: str, source: PlanSource) -> FeatureCheck:
    """Return what the policy says; raises NotFoundError for a feature that no plan has."""
    order = [each.name for each in policy.plans]
    having = tuple(each.name for each in policy.plans if feature in each.features)
    if not having:
        raise NotFoundError(
            f"no plan of the rate limit policy has the feature {feature[:MAX_SHOWN]!r}; "
            "name it in `features` of a plan, or correct it here",
            reason="FEATURE_NOT_FOUND",
            resource_type="feature",
            resource_name=feature[:MAX_SHOWN],
        )
    included = plan in having
    # Whoever has no plan is below the smallest one.
    rank = order.index(plan) if plan in order else -1
    larger = [] if included else [name for name in having if order.index(name) > rank]
    return FeatureCheck(
        included=included,
        plan=plan,
        plan_source=source,
        plans=having,
        upgrade_plan=larger[0] if larger else "",
    )
