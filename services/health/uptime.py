"""Uptime, error budget and days, from sums of the time spent in each state; pure.

The ratio is (healthy + degraded) / (healthy + degraded + unhealthy). Time that is not known, or out
of service on purpose, is left out of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.health.history import (
    BUDGET_SPAN,
    DAYS_KEPT,
    OBJECTIVE,
    SPANS,
    Day,
    ErrorBudget,
    History,
    Uptime,
)

BY_MINUTE = tuple(span for span in SPANS if span <= timedelta(days=1))
BY_HOUR = tuple(span for span in SPANS if span > timedelta(days=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Seconds that a target spent in each state; what is missing is unknown."""

    healthy: float = 0.0
    degraded: float = 0.0
    unhealthy: float = 0.0
    maintenance: float = 0.0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            healthy=self.healthy + other.healthy,
            degraded=self.degraded + other.degraded,
            unhealthy=self.unhealthy + other.unhealthy,
            maintenance=self.maintenance + other.maintenance,
        )

    @property
    def known(self) -> float:
        """Return the time of which anything is known."""
        return self.healthy + self.degraded + self.unhealthy + self.maintenance

    @property
    def ratio(self) -> float | None:
        """Return the share of the judged time that it was up, 0 to 1, or None without any."""
        judged = self.healthy + self.degraded + self.unhealthy
        return (self.healthy + self.degraded) / judged if judged else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The sums of a time that begins at midnight, at a cutoff, or at both."""

    start_time: datetime
    sums: Sums


def minute_cutoffs(now: datetime) -> list[datetime]:
    """Return when the spans begin that are told from minutes, in ascending order."""
    whole = now.replace(second=0, microsecond=0)
    return sorted(whole - span for span in BY_MINUTE)


def hour_cutoffs(now: datetime) -> list[datetime]:
    """Return when the spans begin that are told from hours, in ascending order."""
    whole = now.replace(minute=0, second=0, microsecond=0)
    return sorted(whole - span for span in BY_HOUR)


def history(
    target: str, minutes: Sequence[Slice], hours: Sequence[Slice], now: datetime
) -> History:
    """Return how a target was, from slices that begin at the cutoffs and, of hours, at midnight."""
    starts = dict(zip(BY_MINUTE, reversed(minute_cutoffs(now)), strict=True))
    starts |= zip(BY_HOUR, reversed(hour_cutoffs(now)), strict=True)

    def since(span: timedelta) -> Sums:
        slices = minutes if span in BY_MINUTE else hours
        return total(each.sums for each in slices if each.start_time >= starts[span])

    return History(
        target=target,
        uptimes=tuple(uptime(span, since(span)) for span in SPANS),
        error_budget=error_budget(since(BUDGET_SPAN)),
        days=_days(hours, now),
    )


def uptime(span: timedelta, sums: Sums) -> Uptime:
    """Return the uptime over a span from what is known of it.

    Spans begin with a whole minute or hour, so that a little more than the span may be known.
    """
    coverage = min(1.0, sums.known / span.total_seconds())
    return Uptime(span=span, ratio=sums.ratio, coverage=coverage)


def error_budget(sums: Sums) -> ErrorBudget:
    """Return how much of the downtime that the objective allows is used."""
    return ErrorBudget(
        allowed=BUDGET_SPAN * (1 - OBJECTIVE), used=timedelta(seconds=sums.unhealthy)
    )


def total(sums: Iterable[Sums]) -> Sums:
    """Return the sum of all."""
    return sum(sums, Sums())


def _days(hours: Sequence[Slice], now: datetime) -> tuple[Day, ...]:
    first = _midnight(now) - timedelta(days=DAYS_KEPT - 1)
    days: dict[datetime, Sums] = {}
    for each in hours:
        midnight = _midnight(each.start_time)
        if midnight >= first and each.sums.known:
            days[midnight] = days.get(midnight, Sums()) + each.sums
    return tuple(
        Day(
            start_time=midnight,
            ratio=sums.ratio,
            downtime=timedelta(seconds=sums.unhealthy),
            degraded=sums.degraded > 0,
        )
        for midnight, sums in sorted(days.items())
    )


def _midnight(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
