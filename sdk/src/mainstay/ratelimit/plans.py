"""The methods of the client for plans and their features."""

from dataclasses import dataclass
from datetime import datetime

from mainstay.ratelimit import conversions
from mainstay.ratelimit.calls import REPEATABLE, Calls
from mainstay.ratelimit.messages import build
from mainstay.ratelimit.rules import PlanSource, plan_source
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedPlan:
    """Who is on which plan.

    Attributes:
        subject: Who.
        plan: The plan; empty for none.
        assign_time: Since when, in UTC; None when none was ever assigned.
        assigner: Who assigned it.
        features: What the plan includes; empty in the answer to an assignment.

    """

    subject: str
    plan: str
    assign_time: datetime | None
    assigner: str
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCheck:
    """Whether a feature is in a subject's plan.

    Attributes:
        included: Whether it is.
        plan: The plan that was asked; empty for none.
        plan_source: Where the plan comes from.
        plans: The plans that include the feature, from the smallest to the largest.
        upgrade_plan: The smallest of them that is larger than the subject's; empty when included.

    """

    included: bool
    plan: str
    plan_source: PlanSource
    plans: tuple[str, ...]
    upgrade_plan: str


class Plans(Calls):
    """Assigns plans and looks them up."""

    async def assign_plan(self, subject: str, plan: str, *, reason: str = "") -> AssignedPlan:
        """Put a subject on a plan, or with an empty one on none; in force within a second."""
        request = build(pb.AssignPlanRequest, subject=subject, plan=plan, reason=reason)
        response = await self._channel.unary(self._stub.AssignPlan, request, **REPEATABLE)
        return _assigned(response.assignment, ())

    async def get_plan(self, subject: str) -> AssignedPlan:
        """Return the plan of a subject and what it includes; empty for one without a plan."""
        request = build(pb.GetPlanRequest, subject=subject)
        response = await self._channel.unary(self._stub.GetPlan, request, **REPEATABLE)
        return _assigned(response.assignment, tuple(response.features))

    async def check_feature(
        self, subject: str, feature: str, *, plan: str | None = None
    ) -> FeatureCheck:
        """Tell whether a feature is in the subject's plan, and which plan would include it.

        Raises NotFoundError for a feature that no plan of the policy names.
        """
        request = build(pb.CheckFeatureRequest, subject=subject, feature=feature, plan=plan or "")
        response = await self._channel.unary(self._stub.CheckFeature, request, **REPEATABLE)
        return FeatureCheck(
            included=response.included,
            plan=response.plan,
            plan_source=plan_source(response.plan_source),
            plans=tuple(response.plans),
            upgrade_plan=response.upgrade_plan,
        )


def _assigned(message: pb.PlanAssignment, features: tuple[str, ...]) -> AssignedPlan:
    ever = message.HasField("assign_time")
    return AssignedPlan(
        subject=message.subject,
        plan=message.plan,
        assign_time=conversions.utc(message.assign_time) if ever else None,
        assigner=message.assigner,
        features=features,
    )
