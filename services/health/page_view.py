"""What the status page says, before it is HTML; pure.

Words, moments and figures are ready to be read here; the templates only place them. What is hidden
from the public (replicas, request ids) is left out here too, so that no template can show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.health import page_words as words
from services.health.causes import explain
from services.health.history import Incident
from services.health.maintenance import Maintenance, Mode
from services.health.outages import Outage, outages
from services.health.page_graph import Graph, draw
from services.health.page_words import Moment
from services.health.rollup import Check, Report, roll_up
from services.health.state import State
from services.health.target import SUITE, Kind

INCIDENTS_SHOWN = 20

_HEADLINES = {
    State.HEALTHY: "All systems are healthy",
    State.DEGRADED: "Degraded",
    State.UNHEALTHY: "Unhealthy",
    State.UNKNOWN: "State unknown",
    State.MAINTENANCE: "In maintenance",
}
_WORDS = {state: state.value.capitalize() for state in State}
_KINDS = {Kind.REDIS: "Redis", Kind.POSTGRES: "PostgreSQL"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge:
    """A state: its symbol and colour by `state`, and its word."""

    state: State
    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica of a service, for those who may see it."""

    name: str
    badge: Badge
    message: str
    latency: str
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One target, now."""

    name: str
    kind: str
    critical: bool
    badge: Badge
    message: str
    since: Moment | None
    until: Moment | None
    request_id: str
    replicas: tuple[Replica, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something out of service on purpose."""

    name: str
    draining: bool
    until: Moment
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One incident."""

    name: str
    badge: Badge
    start: Moment
    ongoing: bool
    lasted: str
    because: tuple[str, ...]
    hit: tuple[str, ...]
    message: str
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overall:
    """The whole, now."""

    badge: Badge
    headline: str
    summary: str
    since: Moment | None
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """In words what the picture shows of one target."""

    name: str
    needs: tuple[str, ...]
    uses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What the page says of the present; `as_of` is when its newest knowledge was gained."""

    overall: Overall
    rows: tuple[Row, ...]
    services: int
    graph: Graph
    needs: tuple[Needs, ...]
    as_of: Moment


def see(report: Report, now: datetime, *, details: bool) -> Now:
    """Return what the page says of a report; services come first."""
    checks = sorted(report.checks, key=lambda check: check.target.kind is not Kind.SERVICE)
    return Now(
        overall=_overall(report, now, details=details),
        rows=tuple(_row(check, now, details=details) for check in checks),
        services=sum(check.target.kind is Kind.SERVICE for check in checks),
        graph=draw(report.checks),
        needs=tuple(_needs(check) for check in checks if check.target.needs or check.target.uses),
        as_of=words.clock(report.time),
    )


def occurrences(
    incidents: Sequence[Incident], report: Report, now: datetime, *, details: bool
) -> tuple[Occurrence, ...]:
    """Return the newest outages; of what is gone, only with the details."""
    public = {check.target.name for check in report.checks} | {SUITE}
    shown = outages([each for each in incidents if details or each.target in public])
    return tuple(_occurrence(each, now, details=details) for each in shown[:INCIDENTS_SHOWN])


def _overall(report: Report, now: datetime, *, details: bool) -> Overall:
    since = _since(report)
    troubled = report.state not in {State.HEALTHY, State.MAINTENANCE}
    return Overall(
        badge=Badge(state=report.state, word=_WORDS[report.state]),
        headline=_HEADLINES[report.state],
        summary=_summary(report, details=details) if troubled else "",
        since=words.moment(since, now) if since else None,
        notices=_notices(report, now, details=details),
    )


def _summary(report: Report, *, details: bool) -> str:
    explanation = explain(report, SUITE)
    if explanation is None or details:
        return explanation.summary if explanation else ""
    names = ", ".join(root.target.name for root in explanation.root_causes)
    return f"The suite is {report.state.value} because of {names}." if names else ""


def _since(report: Report) -> datetime | None:
    """Return since when the whole is as it is, as far as its checks tell."""
    if report.maintenance:
        return report.maintenance.start_time
    if report.state is State.HEALTHY:
        return max((check.since for check in report.checks if check.since), default=None)
    blamed = [check for check in report.checks if roll_up((check,)) is report.state]
    return min((check.since for check in blamed if check.since), default=None)


def _notices(report: Report, now: datetime, *, details: bool) -> tuple[Notice, ...]:
    if report.maintenance:
        return (_notice(report.maintenance, now),)
    found: list[Maintenance] = []
    for check in report.checks:
        inner = check.replicas if details else ()
        found.extend(each.maintenance for each in (check, *inner) if each.maintenance)
    unique = {each.target: each for each in found}
    return tuple(_notice(each, now) for each in unique.values())


def _notice(maintenance: Maintenance, now: datetime) -> Notice:
    return Notice(
        name=_called(maintenance.target),
        draining=maintenance.mode is Mode.DRAIN,
        until=words.moment(maintenance.end_time, now),
        reason=maintenance.reason,
    )


def _row(check: Check, now: datetime, *, details: bool) -> Row:
    target = check.target
    return Row(
        name=target.name,
        kind=_KINDS.get(target.kind, target.kind.value),
        critical=target.critical,
        badge=_badge(check),
        message=_message(check, details=details),
        since=words.moment(check.since, now) if check.since else None,
        until=words.moment(check.maintenance.end_time, now) if check.maintenance else None,
        request_id=check.found_by if details and check.state is not State.HEALTHY else "",
        replicas=tuple(_replica(each) for each in check.replicas) if details else (),
    )


def _message(check: Check, *, details: bool) -> str:
    if check.maintenance is None and not details:
        return f"Because of {', '.join(check.because)}." if check.because else ""
    if not check.because:
        return check.message
    if check.own is State.HEALTHY:
        return f"Because of {check.message}"
    return f"{check.message} It also needs {', '.join(check.because)}, which failed too."


def _replica(check: Check) -> Replica:
    return Replica(
        name=check.target.name.removeprefix(f"{check.target.service}/"),
        badge=_badge(check),
        message=check.message,
        latency=words.latency(check.last.latency) if check.last else "",
        request_id=check.found_by,
    )


def _called(target: str) -> str:
    return "The suite" if target == SUITE else target


def _badge(check: Check) -> Badge:
    drains = check.maintenance is not None and check.maintenance.mode is Mode.DRAIN
    return Badge(state=check.state, word="Draining" if drains else _WORDS[check.state])


def _needs(check: Check) -> Needs:
    return Needs(name=check.target.name, needs=check.target.needs, uses=check.target.uses)


def _occurrence(outage: Outage, now: datetime, *, details: bool) -> Occurrence:
    incident = outage.incident
    others = tuple(name for name in incident.because if name != incident.target)
    lasted = (incident.end_time or now) - incident.start_time
    if incident.end_time is None:
        # To the minute, or the page would change every second.
        lasted -= lasted % timedelta(minutes=1)
    return Occurrence(
        name=_called(incident.target),
        badge=Badge(state=incident.worst_state, word=_WORDS[incident.worst_state]),
        start=words.moment(incident.start_time, now),
        ongoing=incident.end_time is None,
        lasted=words.duration(lasted) if lasted else "less than a minute",
        because=others,
        hit=tuple(map(_called, outage.hit)),
        message=incident.message if details else "",
        request_id=incident.request_id if details else "",
    )
