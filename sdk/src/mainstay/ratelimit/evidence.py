"""The methods of the client for what was denied, and to whom."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, timedelta

from mainstay.ratelimit import conversions
from mainstay.ratelimit.calls import REPEATABLE, Calls
from mainstay.ratelimit.messages import build
from mainstay.ratelimit.results import DenialReason
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Denials of one subject by one rule at nearly one time.

    Attributes:
        tenant: Whose data it is.
        subject: Who was denied.
        rule: By which rule.
        endpoint: On which endpoint.
        plan: On which plan; empty for none.
        reason: Why.
        shadow: Whether the rule only watched: the act went ahead.
        count: How many denials.
        start_time: The first of them, in UTC.
        end_time: The last of them, in UTC.
        request_id: The request of the first of them.
        limit: The limit that denied, as the policy writes it.

    """

    tenant: str
    subject: str
    rule: str
    endpoint: str
    plan: str
    reason: DenialReason
    shadow: bool
    count: int
    start_time: datetime
    end_time: datetime
    request_id: str
    limit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many checks were allowed, denied, denied in shadow only, or decided without counters."""

    allowed: int
    denied: int
    shadow_denied: int
    degraded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CountsGroup:
    """What was decided for one rule and plan; the plan is empty for none."""

    tenant: str
    rule: str
    plan: str
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedSubject:
    """Somebody who was limited often.

    Attributes:
        tenant: Whose data it is.
        subject: Who.
        rule: By which rule.
        denied: Denials, at most.
        overcount: By how much that may be too high.

    """

    tenant: str
    subject: str
    rule: str
    denied: int
    overcount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Analytics:
    """What was allowed and denied.

    Attributes:
        groups: By tenant, rule and plan; those with most denials first, at most 1,000.
        total: Their sum.
        top_subjects: The most limited subjects, at most of the last 24 hours.
        incomplete: Whether something was not recorded.

    """

    groups: tuple[CountsGroup, ...]
    total: Counts
    top_subjects: tuple[LimitedSubject, ...]
    incomplete: bool


class Evidence(Calls):
    """Tells what was denied. The tenant `*` covers all, for those who may."""

    async def violations(
        self,
        *,
        subject: str = "",
        rule: str = "",
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        page_size: int = 100,
    ) -> AsyncGenerator[Violation, None]:
        """Yield denials, the newest first, of one subject or rule or of all.

        From `start_time` (24 hours before the end) until before `end_time` (now). Pages of
        `page_size` (1 to 500) are read as they are wanted.
        """
        request = build(
            pb.ListViolationsRequest,
            subject=subject,
            rule=rule,
            start_time=conversions.optional_moment(start_time, "start_time"),
            end_time=conversions.optional_moment(end_time, "end_time"),
            page_size=page_size,
        )
        while True:
            response = await self._channel.unary(self._stub.ListViolations, request, **REPEATABLE)
            for violation in response.violations:
                yield _violation(violation)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def analytics(
        self,
        *,
        window: timedelta | None = None,
        rule: str = "",
        plan: str = "",
        top: int | None = None,
    ) -> Analytics:
        """Return what was allowed and denied, of one rule or plan or of all.

        `window` goes back from now in whole minutes, up to 90 days; without, 1 hour. `top` subjects
        (0 to 100; 10) are named. Lags by some seconds.
        """
        request = build(
            pb.GetAnalyticsRequest,
            window=conversions.optional_duration(window),
            rule=rule,
            plan=plan,
            top=top,
        )
        response = await self._channel.unary(self._stub.GetAnalytics, request, **REPEATABLE)
        return Analytics(
            groups=tuple(
                CountsGroup(
                    tenant=group.tenant,
                    rule=group.rule,
                    plan=group.plan,
                    counts=_counts(group.counts),
                )
                for group in response.groups
            ),
            total=_counts(response.total),
            top_subjects=tuple(_limited(each) for each in response.top_subjects),
            incomplete=response.incomplete,
        )


def _violation(message: pb.Violation) -> Violation:
    return Violation(
        tenant=message.tenant,
        subject=message.subject,
        rule=message.rule,
        endpoint=message.endpoint,
        plan=message.plan,
        reason=conversions.denial_reason(message.reason),
        shadow=message.shadow,
        count=message.count,
        start_time=conversions.utc(message.start_time),
        end_time=conversions.utc(message.end_time),
        request_id=message.request_id,
        limit=message.limit,
    )


def _counts(message: pb.AnalyticsCounts) -> Counts:
    return Counts(
        allowed=message.allowed,
        denied=message.denied,
        shadow_denied=message.shadow_denied,
        degraded=message.degraded,
    )


def _limited(message: pb.LimitedSubject) -> LimitedSubject:
    return LimitedSubject(
        tenant=message.tenant,
        subject=message.subject,
        rule=message.rule,
        denied=message.denied,
        overcount=message.overcount,
    )
