"""The use case: what was decided, who was denied, and who most.

All times are microseconds since 1970, by the store's clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from mainstay.errors import MainstayError, RateLimitStoreError
from services.ratelimit.act import mistake_in
from services.ratelimit.checks import MAX_NAME, range_fault, refuse, text_fault
from services.ratelimit.paging import Page, page_of, token_after
from services.ratelimit.policy import DAY, SECOND
from services.ratelimit.ports import NowUs
from services.ratelimit.tallies import Counted, Tally
from services.ratelimit.top_subjects import Count, Subject, Summary
from services.ratelimit.violations import Place, Violation, ViolationQuery
from shared.rpc.call import Tenant

DEFAULT_WINDOW = 3_600 * SECOND
LONGEST_WINDOW = 90 * DAY
MAX_GROUPS = 1_000
DEFAULT_TOP = 10
MAX_TOP = 100

_MINUTE, _HOUR = 60 * SECOND, 3_600 * SECOND
_LONGEST_TOP_WINDOW = DAY
_PLACE = (int, int)

log = structlog.get_logger()


CLOCKS_DIFFER = 60 * SECOND
"""By how much a denial may seem to come from the future: this replica knows the store's clock only
to some milliseconds, more on a busy machine."""


class ViolationsLog(Protocol):
    """Where violations are read from."""

    async def find(
        self, tenant: Tenant, query: ViolationQuery, *, after: Place | None, size: int
    ) -> Sequence[tuple[Place, Violation]]:
        """Return the newest that come after a place."""
        ...


class Figures(Protocol):
    """Where sums are read from."""

    async def sums(
        self, tenant: Tenant, *, since: int, rule: str, plan: str, at_most: int
    ) -> tuple[Tally, Sequence[Counted]]:
        """Return the sum of what was decided since a minute, and the groups with most denials."""
        ...


class MostLimited(Protocol):
    """Where those who were limited are read from."""

    async def most_limited(self, tenant: Tenant, window: int) -> Summary:
        """Return what is known of the last `window` microseconds."""
        ...


class Recent(Protocol):
    """What this process has not written yet."""

    async def write_out(self) -> None:
        """Write it; raises MainstayError when that is impossible."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationPage:
    """Violations, the newest first; the token is empty on the last page."""

    violations: Sequence[Violation]
    next_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was decided.

    Attributes:
        groups: By tenant, rule and plan.
        total: Their sum, and of those that are left out because there are too many.
        top: Who was limited most.
        incomplete: Whether something was not recorded.

    """

    groups: Sequence[Counted]
    total: Tally
    top: Sequence[tuple[Subject, Count]]
    incomplete: bool


class Analytics:
    """Answers what is asked of the evidence."""

    def __init__(
        self,
        *,
        violations: ViolationsLog,
        figures: Figures,
        top: MostLimited,
        recent: Recent,
        now_us: NowUs,
    ) -> None:
        self._violations = violations
        self._figures = figures
        self._top = top
        self._recent = recent
        self._now_us = now_us

    async def violations(
        self,
        tenant: Tenant,
        *,
        subject: str,
        rule: str,
        start: int | None,
        end: int | None,
        page: Page,
    ) -> ViolationPage:
        """Return a page of violations; raises ValidationError and what the log raises."""
        end = self._now_us() + CLOCKS_DIFFER if end is None else end
        start = end - DAY if start is None else start
        refuse(
            {
                "subject": mistake_in(subject) if subject else None,
                "rule": text_fault(rule, MAX_NAME, required=False),
                "start_time": None if start < end else "is not before end_time; give an earlier",
            }
        )
        await self._bring_up_to_date()
        found = await self._violations.find(
            tenant,
            ViolationQuery(subject, rule, start, end),
            after=None if page.after is None else _place(page.after),
            size=page.size + 1,
        )
        shown = found[: page.size]
        return ViolationPage(
            violations=[violation for _, violation in shown],
            next_token=token_after(*shown[-1][0]) if len(found) > page.size else "",
        )

    async def report(
        self, tenant: Tenant, *, window: int, rule: str, plan: str, top: int
    ) -> Report:
        """Return what was decided within the last `window`; raises as `violations` does."""
        refuse(
            {
                "window": _window_fault(window),
                "rule": text_fault(rule, MAX_NAME, required=False),
                "plan": text_fault(plan, MAX_NAME, required=False),
                "top": range_fault(top, 0, MAX_TOP),
            }
        )
        await self._bring_up_to_date()
        since = _begin(self._now_us() - window, window)
        total, groups = await self._figures.sums(
            tenant, since=since, rule=rule, plan=plan, at_most=MAX_GROUPS
        )
        limited, known = await self._limited(tenant, window, rule, plan, top)
        return Report(
            groups=groups,
            total=total,
            top=limited,
            incomplete=total.dropped > 0 or not known,
        )

    async def _bring_up_to_date(self) -> None:
        """Let the answer contain what this replica saw a moment ago."""
        try:
            await self._recent.write_out()
        except MainstayError as error:
            # Whatever keeps it from being written keeps nobody from reading what was.
            log.debug("evidence_kept", error=error.message)

    async def _limited(
        self, tenant: Tenant, window: int, rule: str, plan: str, top: int
    ) -> tuple[Sequence[tuple[Subject, Count]], bool]:
        """Return who was limited most, and whether that is known."""
        if not top:
            return [], True
        try:
            summary = await self._top.most_limited(tenant, min(window, _LONGEST_TOP_WINDOW))
        except RateLimitStoreError:
            return [], False
        found = (
            (subject, count)
            for subject, count in summary.counts.items()
            if rule in ("", subject.rule) and plan in ("", subject.plan)
        )
        return sorted(found, key=lambda item: (-item[1].most, item[0]))[:top], True


def _begin(moment: int, window: int) -> int:
    """Return when a window begins: with a minute, one of more than a day with an hour."""
    step = _HOUR if window > DAY else _MINUTE
    return moment // step * step


def _window_fault(window: int) -> str | None:
    if window % _MINUTE == 0 and _MINUTE <= window <= LONGEST_WINDOW:
        return None
    return f"is {window / SECOND:,.10g} s; give whole minutes, from 1 minute to 90 days"


def violation_page(size: int, token: str) -> Page:
    """Return the page of a request; raises ValidationError."""
    return page_of(size, token, *_PLACE)


def _place(key: Sequence[str | int]) -> Place:
    start, number = key
    return Place(int(start), int(number))
