"""`mainstay.ratelimit.v1.RateLimitService`: its methods by what they are about."""

from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc
from services.ratelimit import (
    serving_ai_usage,
    serving_checks,
    serving_evidence,
    serving_leases,
    serving_overrides,
    serving_plans,
    serving_policies,
    serving_reservations,
)
from services.ratelimit.ai_usage import AiBudgets
from services.ratelimit.ai_usage_summary import AiUsageSummary
from services.ratelimit.analytics import Analytics
from services.ratelimit.explaining import Explaining
from services.ratelimit.leasing import Leasing
from services.ratelimit.limiter import Limiter
from services.ratelimit.listing import Listing
from services.ratelimit.overriding import Overriding
from services.ratelimit.plans import Plans
from services.ratelimit.policy_versions import PolicyVersions
from services.ratelimit.previewing import Previewing
from services.ratelimit.reserving import Reserving
from services.ratelimit.resetting import Resetting

METHODS = {
    **serving_checks.METHODS,
    **serving_plans.METHODS,
    **serving_overrides.METHODS,
    **serving_policies.METHODS,
    **serving_leases.METHODS,
    **serving_reservations.METHODS,
    **serving_ai_usage.METHODS,
    **serving_evidence.METHODS,
}


class RateLimitServicer(
    serving_checks.CheckMethods,
    serving_plans.PlanMethods,
    serving_overrides.OverrideMethods,
    serving_policies.PolicyMethods,
    serving_leases.LeaseMethods,
    serving_reservations.ReservationMethods,
    serving_ai_usage.AiUsageMethods,
    serving_evidence.EvidenceMethods,
    pb_grpc.RateLimitServiceServicer,
):
    def __init__(
        self,
        *,
        limiter: Limiter,
        explaining: Explaining,
        resetting: Resetting,
        plans: Plans,
        overriding: Overriding,
        listing: Listing,
        policy_versions: PolicyVersions,
        previewing: Previewing,
        leasing: Leasing,
        reserving: Reserving,
        ai_budgets: AiBudgets,
        ai_summary: AiUsageSummary,
        analytics: Analytics,
    ) -> None:
        self.limiter = limiter
        self.explaining = explaining
        self.resetting = resetting
        self.plans = plans
        self.overriding = overriding
        self.listing = listing
        self.policy_versions = policy_versions
        self.previewing = previewing
        self.leasing = leasing
        self.reserving = reserving
        self.ai_budgets = ai_budgets
        self.ai_summary = ai_summary
        self.analytics = analytics
