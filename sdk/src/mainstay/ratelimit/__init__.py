"""Rate limits: may a subject act now, how many at once, what does it cost, and why not.

`RateLimitClient` does it all; the rest is what it takes and returns.
"""

from mainstay.ratelimit.ai_call import AiCall
from mainstay.ratelimit.ai_usage import (
    AiDimension,
    AiRecorded,
    AiReserved,
    AiUsageGroup,
    AiUsageSum,
    AiUsageSummary,
)
from mainstay.ratelimit.client import RateLimitClient
from mainstay.ratelimit.concurrency import Place
from mainstay.ratelimit.evidence import Analytics, Counts, CountsGroup, LimitedSubject, Violation
from mainstay.ratelimit.local_tokens import LocalTokens
from mainstay.ratelimit.overrides import Override
from mainstay.ratelimit.plans import AssignedPlan, FeatureCheck
from mainstay.ratelimit.policies import (
    PolicyText,
    PolicyVersion,
    Preview,
    RulePreview,
    SubjectPreview,
)
from mainstay.ratelimit.results import (
    Acquired,
    Act,
    Algorithm,
    Decision,
    DenialReason,
    FailureMode,
    Lease,
    LimitState,
    Measure,
    Refunded,
    Reserved,
    TokenReservation,
)
from mainstay.ratelimit.rules import (
    AppliedRule,
    Explanation,
    LimitSource,
    Plan,
    PlanLimits,
    PlanSource,
    Rule,
    Rules,
)

__all__ = [
    "Acquired",
    "Act",
    "AiCall",
    "AiDimension",
    "AiRecorded",
    "AiReserved",
    "AiUsageGroup",
    "AiUsageSum",
    "AiUsageSummary",
    "Algorithm",
    "Analytics",
    "AppliedRule",
    "AssignedPlan",
    "Counts",
    "CountsGroup",
    "Decision",
    "DenialReason",
    "Explanation",
    "FailureMode",
    "FeatureCheck",
    "Lease",
    "LimitSource",
    "LimitState",
    "LimitedSubject",
    "LocalTokens",
    "Measure",
    "Override",
    "Place",
    "Plan",
    "PlanLimits",
    "PlanSource",
    "PolicyText",
    "PolicyVersion",
    "Preview",
    "RateLimitClient",
    "Refunded",
    "Reserved",
    "Rule",
    "RulePreview",
    "Rules",
    "SubjectPreview",
    "TokenReservation",
    "Violation",
]
