"""AssignPlan, GetPlan and CheckFeature: parse, call, format."""

from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from services.ratelimit import parsing
from services.ratelimit.formatting import PLAN_SOURCES, timestamp
from services.ratelimit.plan_ports import PlanAssignment, PlanWish
from services.ratelimit.plans import Plans
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "AssignPlan": MethodPolicy(default_deadline=5.0, max_deadline=30.0),
    "GetPlan": MethodPolicy(default_deadline=2.0, max_deadline=10.0),
    "CheckFeature": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
}


class PlanMethods:
    """The methods about plans."""

    plans: Plans

    async def AssignPlan(
        self, request: pb.AssignPlanRequest, context: object
    ) -> pb.AssignPlanResponse:
        call = current_call()
        wish = PlanWish(subject=request.subject, plan=request.plan, reason=request.reason)
        assignment = await self.plans.assign(call.tenant, wish, parsing.actor(call))
        return pb.AssignPlanResponse(assignment=_assignment(assignment))

    async def GetPlan(self, request: pb.GetPlanRequest, context: object) -> pb.GetPlanResponse:
        membership = await self.plans.get(current_call().tenant, request.subject)
        return pb.GetPlanResponse(
            assignment=_assignment(membership.assignment), features=membership.features
        )

    async def CheckFeature(
        self, request: pb.CheckFeatureRequest, context: object
    ) -> pb.CheckFeatureResponse:
        check = await self.plans.check_feature(
            current_call().tenant, request.subject, request.feature, plan=request.plan
        )
        return pb.CheckFeatureResponse(
            included=check.included,
            plan=check.plan,
            plan_source=PLAN_SOURCES[check.plan_source],
            plans=check.plans,
            upgrade_plan=check.upgrade_plan,
        )


def _assignment(assignment: PlanAssignment) -> pb.PlanAssignment:
    message = pb.PlanAssignment(
        subject=assignment.subject, plan=assignment.plan, assigner=assignment.assigner
    )
    if assignment.assigned_at is not None:
        message.assign_time.CopyFrom(timestamp(assignment.assigned_at))
    return message
