"""How a target was: uptime, error budget, incidents, days."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.health.state import State

SPANS = (
    timedelta(hours=1),
    timedelta(hours=24),
    timedelta(days=7),
    timedelta(days=30),
    timedelta(days=90),
)
"""The spans that uptime is told over."""

OBJECTIVE = 0.999
BUDGET_SPAN = timedelta(days=30)
DAYS_KEPT = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Uptime:
    """The uptime over a span that ends now.

    Attributes:
        span: The span.
        ratio: The share of the known time, maintenance left out, that the target was healthy or
            degraded; None when nothing is known.
        coverage: The share of the span that is known, 0 to 1.

    """

    span: timedelta
    ratio: float | None
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBudget:
    """How much downtime the objective allows over `BUDGET_SPAN`, and how much of it is used.

    Attributes:
        allowed: The downtime that the objective allows.
        used: The downtime that there was.

    """

    allowed: timedelta
    used: timedelta

    @property
    def remaining_ratio(self) -> float:
        """Return what is left, 0 to 1; below 0 when the objective was missed."""
        return 1 - self.used / self.allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One time that a target was not well.

    Attributes:
        incident_id: Its id.
        target: The target's name, or `suite`.
        worst_state: Degraded or unhealthy.
        start_time: When the state changed, after damping.
        end_time: When it was well again, or None while it lasts.
        because: The targets that failed by themselves; the target itself when it was the one.
        message: What the probe said, for people.
        request_id: The request id of the probe that found it.

    """

    incident_id: str
    target: str
    worst_state: State
    start_time: datetime
    end_time: datetime | None
    because: tuple[str, ...]
    message: str
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """How a target was on one day (UTC).

    Attributes:
        start_time: Midnight at which it began.
        ratio: As of an uptime.
        downtime: How long it was unhealthy.
        degraded: Whether it was degraded for some time.

    """

    start_time: datetime
    ratio: float | None
    downtime: timedelta
    degraded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How a target was.

    Attributes:
        target: The target's name, or `suite`.
        uptimes: One for each of `SPANS`, in their order.
        error_budget: Of the last `BUDGET_SPAN`.
        days: One for each of the last `DAYS_KEPT` days that anything is known of, the oldest first.

    """

    target: str
    uptimes: tuple[Uptime, ...]
    error_budget: ErrorBudget
    days: tuple[Day, ...]
