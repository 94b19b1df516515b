"""The use case: sums of recorded AI calls.

Money is in millionths of a US dollar; times are microseconds since 1970.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from services.ratelimit.act import mistake_in
from services.ratelimit.ai_call import MAX_MODEL, provider_fault
from services.ratelimit.checks import refuse, text_fault
from services.ratelimit.paging import Page, page_of, token_after
from services.ratelimit.policy import DAY
from services.ratelimit.ports import NowUs
from shared.rpc.call import Tenant

DEFAULT_SPAN = 30 * DAY
LONGEST_SPAN = 90 * DAY

_PLACE = (int, str, int, int)


class Dimension(Enum):
    """What calls can be grouped by; the value is its name in queries."""

    DAY = "day"
    PROVIDER = "provider"
    MODEL = "model"
    SUBJECT = "subject"
    OPERATION = "operation"


class UsageQuery(NamedTuple):
    """Which calls, and how they are grouped; an empty text means all. `end` is exclusive."""

    start: int
    end: int
    group_by: Sequence[Dimension]
    subject: str
    provider: str
    model: str


class UsagePlace(NamedTuple):
    """Where a group stands among others: what it cost, and a short name for it."""

    cost: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSum:
    """A sum of calls.

    Attributes:
        calls: How many.
        failed_calls: Those that failed.
        input_tokens: Tokens of prompts, cached ones included.
        output_tokens: Tokens of answers.
        cached_input_tokens: Tokens of prompts that providers had.
        cost: What they cost.
        unpriced_calls: Those without a price, which are not in the cost.
        mean_latency: How long providers took, where that was told; None when it never was.

    """

    calls: int
    failed_calls: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cost: int
    unpriced_calls: int
    mean_latency: int | None


class UsageGroup(NamedTuple):
    """The sum of the calls that agree in each dimension of the question."""

    place: UsagePlace
    values: Sequence[str]
    sum: UsageSum


class UsageSums(Protocol):
    """Where sums are read from."""

    async def sums(
        self, tenant: Tenant, query: UsageQuery, *, after: UsagePlace | None, size: int
    ) -> tuple[UsageSum, Sequence[UsageGroup]]:
        """Return the sum of all, and the most expensive groups that come after a place."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UsagePage:
    """Groups, the most expensive first; the token is empty on the last page."""

    total: UsageSum
    groups: Sequence[UsageGroup]
    next_token: str


class AiUsageSummary:
    """Sums up what was recorded."""

    def __init__(self, usage: UsageSums, now_us: NowUs) -> None:
        self._usage = usage
        self._now_us = now_us

    async def summarize(
        self,
        tenant: Tenant,
        *,
        start: int | None,
        end: int | None,
        group_by: Sequence[Dimension],
        subject: str,
        provider: str,
        model: str,
        page: Page,
    ) -> UsagePage:
        """Return a page of sums.

        Raises ValidationError, DatabaseError, and PreconditionError without a database.
        """
        end = self._now_us() + 1 if end is None else end
        start = end - DEFAULT_SPAN if start is None else start
        after = None
        if page.after is not None:
            # What was asked for first: the end of the time moves on with the clock.
            after, start, end = _continued(page.after)
        refuse(
            {
                "start_time": _span_fault(start, end),
                "group_by": "names a dimension twice; name each once"
                if len(set(group_by)) < len(group_by)
                else None,
                "subject": mistake_in(subject) if subject else None,
                "provider": provider_fault(provider) if provider else None,
                "model": text_fault(model, MAX_MODEL, required=False),
            }
        )
        query = UsageQuery(start, end, group_by, subject, provider, model)
        total, groups = await self._usage.sums(tenant, query, after=after, size=page.size + 1)
        shown = groups[: page.size]
        more = len(groups) > page.size
        return UsagePage(
            total=total,
            groups=shown,
            next_token=token_after(*shown[-1].place, start, end) if more else "",
        )


def usage_page(size: int, token: str) -> Page:
    """Return the page of a request; raises ValidationError."""
    return page_of(size, token, *_PLACE)


def _continued(key: Sequence[str | int]) -> tuple[UsagePlace, int, int]:
    cost, name, start, end = key
    return UsagePlace(int(cost), str(name)), int(start), int(end)


def _span_fault(start: int, end: int) -> str | None:
    if start >= end:
        return "is not before end_time; give an earlier"
    if end - start > LONGEST_SPAN:
        return f"is {(end - start) // DAY} days before end_time; give at most 90"
    return None
