"""What the health service tells: reports, explanations, histories."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class State(StrEnum):
    """How well something is."""

    HEALTHY = "healthy"
    """It works."""
    DEGRADED = "degraded"
    """It works in part: something optional, or a dependency that others share, failed."""
    UNHEALTHY = "unhealthy"
    """It does not work."""
    UNKNOWN = "unknown"
    """Not known yet, not known any more, or a state newer than this client."""
    MAINTENANCE = "maintenance"
    """It is out of service on purpose."""


class Mode(StrEnum):
    """How something is out of service on purpose."""

    DRAIN = "drain"
    """It takes no new traffic and finishes what it has."""
    MAINTENANCE = "maintenance"
    """It takes no traffic at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """Something out of service on purpose.

    Attributes:
        mode: How.
        start_time: When it began, in UTC.
        end_time: When it ends by itself, in UTC.
        reason: Why, for people.

    """

    mode: Mode
    start_time: datetime
    end_time: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What is known of one replica of a service.

    Attributes:
        name: `service/host:port`.
        state: Its state, after damping.
        latency: How long the last probe took, in seconds; None before the first one ended.
        check_time: When the last probe ended, in UTC; None before the first one ended.
        message: Why it is not healthy, for people; empty when it is.
        request_id: The id of the last probe.
        maintenance: Set while it is out of service on purpose.

    """

    name: str
    state: State
    latency: float | None
    check_time: datetime | None
    message: str
    request_id: str
    maintenance: Maintenance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What is known of one target.

    Attributes:
        name: The target, such as `cache` or `database`.
        state: Its state, after damping, with what it needs taken into account.
        critical: Whether its failure makes the whole unhealthy instead of degraded.
        latency: How long the last probe took, in seconds; None before the first one ended.
        check_time: When the last probe ended, in UTC; None before the first one ended.
        message: Why the target is not healthy, for people; empty when it is.
        request_id: The id of the probe that found what is wrong, or of the last one when all is
            well, to be found in the logs of the probed service; empty before the first one ended.
        own_state: Its state by itself, whatever it needs.
        because: The targets that failed by themselves and that make this one worse than it is.
        since: When the state began, in UTC; None while nothing is known.
        needs: The targets it cannot do without.
        uses: The targets it uses and can do without.
        replicas: Of a service, each of them, ordered by name.
        maintenance: Set while it is out of service on purpose.

    """

    name: str
    state: State
    critical: bool
    latency: float | None
    check_time: datetime | None
    message: str
    request_id: str
    own_state: State = State.UNKNOWN
    because: tuple[str, ...] = ()
    since: datetime | None = None
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    replicas: tuple[Replica, ...] = ()
    maintenance: Maintenance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How the suite is.

    Attributes:
        state: The state of the whole.
        snapshot_time: When the newest knowledge in the report was gained, in UTC.
        checks: One for each target, ordered by name.
        maintenance: Set while the whole is out of service on purpose.

    """

    state: State
    snapshot_time: datetime
    checks: tuple[Check, ...]
    maintenance: Maintenance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a target is as it is, and who else is hit.

    Attributes:
        summary: Why, in one sentence.
        check: What is known of the target.
        root_causes: The targets that failed by themselves and that it needs; itself, when it did.
        blast_radius: The targets that need it, directly or through others, ordered by name.

    """

    summary: str
    check: Check
    root_causes: tuple[Check, ...]
    blast_radius: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uptime:
    """The uptime over a span that ends now.

    Attributes:
        span: The span.
        ratio: The share of the known time, maintenance left out, that the target was healthy or
            degraded, 0 to 1; None when nothing is known.
        coverage: The share of the span that is known, 0 to 1.

    """

    span: timedelta
    ratio: float | None
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBudget:
    """How much downtime the objective allows, and how much of it is used.

    Attributes:
        objective: Such as 0.999.
        span: What it is for.
        allowed: The downtime that the objective allows over the span.
        used: The downtime that there was.
        remaining_ratio: What is left, 0 to 1; below 0 when the objective was missed.

    """

    objective: float
    span: timedelta
    allowed: timedelta
    used: timedelta
    remaining_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One time that a target was not well.

    Attributes:
        incident_id: Its id.
        target: The target, or `suite`.
        worst_state: Degraded or unhealthy.
        start_time: When the state changed, in UTC.
        end_time: When it was well again, in UTC; None while it lasts.
        because: The targets that it was down to.
        message: What the probe said, for people.
        request_id: The id of the probe that found it.

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
        target: The target, or `suite`.
        uptimes: Over 1 hour, 24 hours, 7, 30 and 90 days.
        error_budget: Of the last 30 days.
        incidents: A page of those of the last 90 days, the newest first.
        next_page_token: For the next page of incidents; empty when there is none.
        days: The last 90 days that anything is known of, the oldest first.

    """

    target: str
    uptimes: tuple[Uptime, ...]
    error_budget: ErrorBudget
    incidents: tuple[Incident, ...]
    next_page_token: str
    days: tuple[Day, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Traffic is welcome.

    Attributes:
        degraded: It works in part; prefer others where there are any.
        failing_open: It looks sick, but so do most of its kind: the fault is likely not its own.
        message: Why, for people; empty when all is well.

    """

    degraded: bool
    failing_open: bool
    message: str
