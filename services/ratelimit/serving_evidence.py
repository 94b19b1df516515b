"""ListViolations and GetAnalytics: parse, call, format."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from services.ratelimit.analytics import (
    DEFAULT_TOP,
    DEFAULT_WINDOW,
    Analytics,
    Report,
    violation_page,
)
from services.ratelimit.formatting import DENIAL_REASONS, timestamp
from services.ratelimit.parsing import microseconds
from services.ratelimit.tallies import Tally
from services.ratelimit.violations import Violation
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "ListViolations": MethodPolicy(wildcard_tenant=True),
    "GetAnalytics": MethodPolicy(wildcard_tenant=True),
}


class EvidenceMethods:
    """The methods for those who want to know what was decided."""

    analytics: Analytics

    async def ListViolations(
        self, request: pb.ListViolationsRequest, context: object
    ) -> pb.ListViolationsResponse:
        page = await self.analytics.violations(
            current_call().tenant,
            subject=request.subject,
            rule=request.rule,
            start=_given(request.start_time, "start_time", request.HasField("start_time")),
            end=_given(request.end_time, "end_time", request.HasField("end_time")),
            page=violation_page(request.page_size, request.page_token),
        )
        return pb.ListViolationsResponse(
            violations=map(_violation, page.violations), next_page_token=page.next_token
        )

    async def GetAnalytics(
        self, request: pb.GetAnalyticsRequest, context: object
    ) -> pb.GetAnalyticsResponse:
        window = _given(request.window, "window", request.HasField("window"))
        report = await self.analytics.report(
            current_call().tenant,
            window=DEFAULT_WINDOW if window is None else window,
            rule=request.rule,
            plan=request.plan,
            top=request.top if request.HasField("top") else DEFAULT_TOP,
        )
        return _report(report)


def _given(message: Duration | Timestamp, field: str, there: bool) -> int | None:  # noqa: FBT001
    return microseconds(message, field) if there else None


def _violation(violation: Violation) -> pb.Violation:
    offence = violation.offence
    return pb.Violation(
        tenant=offence.tenant,
        subject=offence.subject,
        rule=offence.rule,
        endpoint=offence.endpoint,
        plan=offence.plan,
        reason=DENIAL_REASONS[offence.reason],
        shadow=offence.shadow,
        count=violation.count,
        start_time=timestamp(violation.first_at),
        end_time=timestamp(violation.last_at),
        request_id=violation.request_id,
        limit=violation.limit,
    )


def _report(report: Report) -> pb.GetAnalyticsResponse:
    return pb.GetAnalyticsResponse(
        groups=(
            pb.AnalyticsGroup(
                tenant=group.tenant, rule=group.rule, plan=group.plan, counts=_counts(tally)
            )
            for group, tally in report.groups
        ),
        total=_counts(report.total),
        top_subjects=(
            pb.LimitedSubject(
                tenant=subject.tenant,
                subject=subject.subject,
                rule=subject.rule,
                denied=count.most,
                overcount=count.error,
            )
            for subject, count in report.top
        ),
        incomplete=report.incomplete,
    )


def _counts(tally: Tally) -> pb.AnalyticsCounts:
    return pb.AnalyticsCounts(
        allowed=tally.allowed,
        denied=tally.denied,
        shadow_denied=tally.shadow_denied,
        degraded=tally.degraded,
    )
