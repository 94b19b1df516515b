"""The methods of the client for the usage of AI providers and its budgets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from mainstay.context import new_request_id
from mainstay.ratelimit import conversions
from mainstay.ratelimit.calls import ONCE, REPEATABLE, Calls
from mainstay.ratelimit.messages import build
from mainstay.ratelimit.results import Decision, LimitState
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class AiReserved:
    """What the budgets of a subject say of an AI call.

    Attributes:
        decision: What they decided, all or nothing.
        reservation: Names the estimate for `record_ai_usage`; empty when denied, when no budget
            applies, or when the counters could not be reached.
        estimated_cost_micros: What the call costs at most, in millionths of a US dollar; None for
            a model without a price.

    """

    decision: Decision
    reservation: str
    estimated_cost_micros: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AiRecorded:
    """A recorded AI call.

    Attributes:
        cost_micros: What it cost, in millionths of a US dollar; None for a model without a price.
        budgets: The budgets afterwards.
        repeated: Whether this request id was recorded before: nothing was charged now.
        degraded: Whether the budgets could not be reached: the charge is made up for later.

    """

    cost_micros: int | None
    budgets: tuple[LimitState, ...]
    repeated: bool
    degraded: bool


class AiDimension(Enum):
    """What AI usage can be grouped by."""

    DAY = "day"
    """The day, in UTC."""
    PROVIDER = "provider"
    """The provider."""
    MODEL = "model"
    """The model."""
    SUBJECT = "subject"
    """The subject."""
    OPERATION = "operation"
    """The operation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AiUsageSum:
    """A sum of AI calls.

    Attributes:
        calls: Calls.
        failed_calls: Calls that failed.
        input_tokens: Tokens of prompts.
        output_tokens: Tokens of answers.
        cached_input_tokens: Tokens of prompts that providers had cached.
        cost_micros: What they cost, in millionths of a US dollar.
        unpriced_calls: Calls without a price, which are not in the cost.
        mean_latency: The mean time that providers took.

    """

    calls: int
    failed_calls: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cost_micros: int
    unpriced_calls: int
    mean_latency: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class AiUsageGroup:
    """The usage of one group: the value of each dimension, and the sum. A day is `2026-01-31`."""

    values: tuple[str, ...]
    sum: AiUsageSum


@dataclass(frozen=True, slots=True, kw_only=True)
class AiUsageSummary:
    """Sums of AI usage.

    Attributes:
        groups: The most expensive first; one page of them.
        total: The sum over all groups of all pages.
        next_page_token: For the next page; empty on the last.

    """

    groups: tuple[AiUsageGroup, ...]
    total: AiUsageSum
    next_page_token: str


class AiUsage(Calls):
    """Asks budgets before AI calls, records them afterwards, and sums them up."""

    async def reserve_ai_usage(
        self,
        subject: str,
        *,
        provider: str,
        model: str,
        input_tokens: int,
        max_output_tokens: int,
        plan: str | None = None,
        ttl: timedelta | None = None,
    ) -> AiReserved:
        """Ask the budgets of a subject for an estimate before the call to the provider.

        What is admitted is held until `record_ai_usage` settles it within `ttl` (1 s to 24 hours;
        15 minutes), and otherwise stays consumed. Never repeated after an error.
        """
        request = build(
            pb.ReserveAiUsageRequest,
            subject=subject,
            plan=plan or "",
            provider=provider,
            model=model,
            input_tokens=conversions.tokens(input_tokens, "input_tokens"),
            max_output_tokens=conversions.tokens(max_output_tokens, "max_output_tokens"),
            ttl=conversions.optional_duration(ttl),
        )
        response = await self._channel.unary(self._stub.ReserveAiUsage, request, **ONCE)
        priced = response.HasField("estimated_cost_micros")
        return AiReserved(
            decision=conversions.decision(response.decision),
            reservation=response.reservation,
            estimated_cost_micros=response.estimated_cost_micros if priced else None,
        )

    async def record_ai_usage(
        self,
        subject: str,
        *,
        provider: str,
        model: str,
        input_tokens: int,
        output_tokens: int,
        cached_input_tokens: int = 0,
        latency: timedelta | None = None,
        operation: str = "",
        error: str = "",
        cost_micros: int | None = None,
        plan: str | None = None,
        reservation: str = "",
        request_id: str | None = None,
    ) -> AiRecorded:
        """Record a call to a provider and charge the budgets of the subject, also beyond them.

        `cached_input_tokens` are part of `input_tokens`. `operation` (up to 64 characters) is what
        it was for, `error` (up to 500) why the provider failed, `cost_micros` what it charges when
        that is known better than by the price table. With a `reservation` only the difference is
        charged or given back. The call is repeated on transient errors, safely: it has a
        `request_id`, the caller's or one made here for this call.
        """
        request = build(
            pb.RecordAiUsageRequest,
            subject=subject,
            plan=plan or "",
            provider=provider,
            model=model,
            input_tokens=conversions.tokens(input_tokens, "input_tokens"),
            output_tokens=conversions.tokens(output_tokens, "output_tokens"),
            cached_input_tokens=conversions.tokens(cached_input_tokens, "cached_input_tokens"),
            latency=conversions.optional_duration(latency),
            operation=operation,
            error=error,
            cost_micros=cost_micros,
            reservation=reservation,
            request_id=request_id or new_request_id(),
        )
        response = await self._channel.unary(self._stub.RecordAiUsage, request, **REPEATABLE)
        return AiRecorded(
            cost_micros=response.cost_micros if response.HasField("cost_micros") else None,
            budgets=conversions.limit_states(response.budgets),
            repeated=response.repeated_request,
            degraded=response.degraded,
        )

    async def summarize_ai_usage(
        self,
        *,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        group_by: Sequence[AiDimension] = (),
        subject: str = "",
        provider: str = "",
        model: str = "",
        page_size: int = 0,
        page_token: str = "",
    ) -> AiUsageSummary:
        """Sum up what was recorded, of one subject, provider or model or of all.

        From `start_time` (30 days before the end, at most 90) until before `end_time` (now).
        Without `group_by` there is one sum. A page has up to `page_size` groups (1 to 500; 100).
        """
        request = build(
            pb.SummarizeAiUsageRequest,
            start_time=conversions.optional_moment(start_time, "start_time"),
            end_time=conversions.optional_moment(end_time, "end_time"),
            group_by=[
                pb.AiUsageDimension.Value(f"AI_USAGE_DIMENSION_{each.name}") for each in group_by
            ],
            subject=subject,
            provider=provider,
            model=model,
            page_size=page_size,
            page_token=page_token,
        )
        response = await self._channel.unary(self._stub.SummarizeAiUsage, request, **REPEATABLE)
        return AiUsageSummary(
            groups=tuple(
                AiUsageGroup(values=tuple(group.values), sum=_sum(group.sum))
                for group in response.groups
            ),
            total=_sum(response.total),
            next_page_token=response.next_page_token,
        )


def _sum(message: pb.AiUsageSum) -> AiUsageSum:
    return AiUsageSum(
        calls=message.calls,
        failed_calls=message.failed_calls,
        input_tokens=message.input_tokens,
        output_tokens=message.output_tokens,
        cached_input_tokens=message.cached_input_tokens,
        cost_micros=message.cost_micros,
        unpriced_calls=message.unpriced_calls,
        mean_latency=conversions.length_of(message.mean_latency),
    )
