"""ReserveAiUsage, RecordAiUsage and SummarizeAiUsage: parse, call, format."""

from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from services.ratelimit.ai_call import DEFAULT_TTL, AiCall, AiEstimate
from services.ratelimit.ai_usage import AiBudgets
from services.ratelimit.ai_usage_summary import (
    AiUsageSummary,
    Dimension,
    UsageSum,
    usage_page,
)
from services.ratelimit.checks import refuse
from services.ratelimit.formatting import decision_message, duration, limit_state_message
from services.ratelimit.parsing import microseconds
from services.ratelimit.prices import Tokens
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "ReserveAiUsage": MethodPolicy(default_deadline=2.0, max_deadline=10.0),
    "RecordAiUsage": MethodPolicy(default_deadline=5.0, max_deadline=30.0),
    "SummarizeAiUsage": MethodPolicy(),
}

_DIMENSIONS = {
    pb.AI_USAGE_DIMENSION_DAY: Dimension.DAY,
    pb.AI_USAGE_DIMENSION_PROVIDER: Dimension.PROVIDER,
    pb.AI_USAGE_DIMENSION_MODEL: Dimension.MODEL,
    pb.AI_USAGE_DIMENSION_SUBJECT: Dimension.SUBJECT,
    pb.AI_USAGE_DIMENSION_OPERATION: Dimension.OPERATION,
}


class AiUsageMethods:
    """The methods around calls to AI providers."""

    ai_budgets: AiBudgets
    ai_summary: AiUsageSummary

    async def ReserveAiUsage(
        self, request: pb.ReserveAiUsageRequest, context: object
    ) -> pb.ReserveAiUsageResponse:
        estimate = AiEstimate(
            subject=request.subject,
            plan=request.plan,
            provider=request.provider,
            model=request.model,
            tokens=Tokens(request.input_tokens, request.max_output_tokens),
            ttl=microseconds(request.ttl, "ttl") if request.HasField("ttl") else DEFAULT_TTL,
        )
        reserved = await self.ai_budgets.reserve(current_call().tenant, estimate)
        return pb.ReserveAiUsageResponse(
            decision=decision_message(reserved.decision),
            reservation=reserved.reservation,
            estimated_cost_micros=reserved.cost,
        )

    async def RecordAiUsage(
        self, request: pb.RecordAiUsageRequest, context: object
    ) -> pb.RecordAiUsageResponse:
        recorded = await self.ai_budgets.record(current_call().tenant, _call(request))
        return pb.RecordAiUsageResponse(
            cost_micros=recorded.cost,
            budgets=map(limit_state_message, recorded.budgets),
            repeated_request=recorded.repeated,
            degraded=recorded.degraded,
        )

    async def SummarizeAiUsage(
        self, request: pb.SummarizeAiUsageRequest, context: object
    ) -> pb.SummarizeAiUsageResponse:
        start, end = request.HasField("start_time"), request.HasField("end_time")
        page = await self.ai_summary.summarize(
            current_call().tenant,
            start=microseconds(request.start_time, "start_time") if start else None,
            end=microseconds(request.end_time, "end_time") if end else None,
            group_by=_dimensions(request),
            subject=request.subject,
            provider=request.provider,
            model=request.model,
            page=usage_page(request.page_size, request.page_token),
        )
        return pb.SummarizeAiUsageResponse(
            groups=(
                pb.AiUsageGroup(values=group.values, sum=_sum(group.sum)) for group in page.groups
            ),
            total=_sum(page.total),
            next_page_token=page.next_token,
        )


def _call(request: pb.RecordAiUsageRequest) -> AiCall:
    latency = request.HasField("latency")
    return AiCall(
        subject=request.subject,
        plan=request.plan,
        provider=request.provider,
        model=request.model,
        tokens=Tokens(request.input_tokens, request.output_tokens, request.cached_input_tokens),
        latency=microseconds(request.latency, "latency") if latency else None,
        operation=request.operation,
        error=request.error,
        cost=request.cost_micros if request.HasField("cost_micros") else None,
        reservation=request.reservation,
        request_id=request.request_id,
    )


def _dimensions(request: pb.SummarizeAiUsageRequest) -> list[Dimension]:
    refuse(
        {
            f"group_by[{number}]": "is not known; give day, provider, model, subject or operation"
            for number, value in enumerate(request.group_by[:10])
            if value not in _DIMENSIONS
        }
    )
    if len(request.group_by) > len(_DIMENSIONS):
        refuse({"group_by": "names a dimension twice; name each once"})
    return [_DIMENSIONS[value] for value in request.group_by]


def _sum(usage: UsageSum) -> pb.AiUsageSum:
    return pb.AiUsageSum(
        calls=usage.calls,
        failed_calls=usage.failed_calls,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cost_micros=usage.cost,
        unpriced_calls=usage.unpriced_calls,
        mean_latency=None if usage.mean_latency is None else duration(usage.mean_latency),
    )
