"""From the domain to the messages of the contract."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.health.v1 import health_service_pb2 as pb
from services.health.causes import Explanation
from services.health.history import (
    BUDGET_SPAN,
    OBJECTIVE,
    Day,
    ErrorBudget,
    History,
    Incident,
    Uptime,
)
from services.health.maintenance import Maintenance, Mode
from services.health.rollup import Check, Report
from services.health.state import State
from services.health.target import SUITE
from services.health.verdict import Verdict

STATES = {
    State.HEALTHY: pb.STATE_HEALTHY,
    State.DEGRADED: pb.STATE_DEGRADED,
    State.UNHEALTHY: pb.STATE_UNHEALTHY,
    State.UNKNOWN: pb.STATE_UNKNOWN,
    State.MAINTENANCE: pb.STATE_MAINTENANCE,
}
MODES = {
    Mode.DRAIN: pb.MODE_DRAIN,
    Mode.MAINTENANCE: pb.MODE_MAINTENANCE,
}


def report_message(report: Report) -> pb.GetReportResponse:
    """Return a report as the wire has it."""
    return pb.GetReportResponse(
        state=STATES[report.state],
        snapshot_time=timestamp(report.time),
        checks=[check_message(check) for check in report.checks],
        maintenance=maintenance_message(report.maintenance),
    )


def check_message(check: Check) -> pb.Check:
    """Return what is known of a target, replicas included."""
    target = check.target
    message = pb.Check(
        name=target.name,
        state=STATES[check.state],
        critical=target.critical,
        message=check.message,
        request_id=check.found_by,
        own_state=STATES[check.own],
        because=check.because,
        needs=target.needs,
        uses=target.uses,
        replicas=[_replica_message(each) for each in check.replicas],
        maintenance=maintenance_message(check.maintenance),
    )
    if check.last is not None:
        message.latency.CopyFrom(duration(timedelta(seconds=check.last.latency)))
        message.check_time.CopyFrom(timestamp(check.last.time))
    if check.since is not None:
        message.state_time.CopyFrom(timestamp(check.since))
    return message


def _replica_message(check: Check) -> pb.Replica:
    message = pb.Replica(
        name=check.target.name,
        state=STATES[check.own],
        message=check.message,
        request_id=check.found_by,
        maintenance=maintenance_message(check.maintenance),
    )
    if check.last is not None:
        message.latency.CopyFrom(duration(timedelta(seconds=check.last.latency)))
        message.check_time.CopyFrom(timestamp(check.last.time))
    return message


def maintenance_message(maintenance: Maintenance | None) -> pb.Maintenance | None:
    """Return what is out of service on purpose, or None."""
    if maintenance is None:
        return None
    return pb.Maintenance(
        mode=MODES[maintenance.mode],
        start_time=timestamp(maintenance.start_time),
        end_time=timestamp(maintenance.end_time),
        reason=maintenance.reason,
    )


def explanation_message(explanation: Explanation, report: Report) -> pb.ExplainResponse:
    """Return why a target, or the whole, is as it is."""
    if explanation.check is not None:
        check = check_message(explanation.check)
    else:
        check = pb.Check(
            name=SUITE,
            state=STATES[report.state],
            own_state=STATES[report.state],
            because=[root.target.name for root in explanation.root_causes],
            maintenance=maintenance_message(report.maintenance),
        )
    return pb.ExplainResponse(
        check=check,
        summary=explanation.summary,
        root_causes=[check_message(root) for root in explanation.root_causes],
        blast_radius=explanation.blast_radius,
    )


def history_message(
    history: History, incidents: Iterable[Incident], next_page_token: str
) -> pb.GetHistoryResponse:
    """Return how a target was."""
    return pb.GetHistoryResponse(
        target=history.target,
        uptimes=[_uptime_message(uptime) for uptime in history.uptimes],
        error_budget=_budget_message(history.error_budget),
        incidents=[_incident_message(incident) for incident in incidents],
        next_page_token=next_page_token,
        days=[_day_message(day) for day in history.days],
    )


def _uptime_message(uptime: Uptime) -> pb.Uptime:
    return pb.Uptime(span=duration(uptime.span), ratio=uptime.ratio, coverage=uptime.coverage)


def _budget_message(budget: ErrorBudget) -> pb.ErrorBudget:
    return pb.ErrorBudget(
        objective=OBJECTIVE,
        span=duration(BUDGET_SPAN),
        allowed=duration(budget.allowed),
        used=duration(budget.used),
        remaining_ratio=budget.remaining_ratio,
    )


def _incident_message(incident: Incident) -> pb.Incident:
    return pb.Incident(
        incident_id=incident.incident_id,
        target=incident.target,
        worst_state=STATES[incident.worst_state],
        start_time=timestamp(incident.start_time),
        end_time=timestamp(incident.end_time) if incident.end_time else None,
        because=incident.because,
        message=incident.message,
        request_id=incident.request_id,
    )


def _day_message(day: Day) -> pb.Day:
    return pb.Day(
        start_time=timestamp(day.start_time),
        ratio=day.ratio,
        downtime=duration(day.downtime),
        degraded=day.degraded,
    )


def ready_message(verdict: Verdict) -> pb.ReadyResponse:
    """Return a verdict that is: send traffic."""
    return pb.ReadyResponse(
        degraded=verdict.degraded, failing_open=verdict.open, message=verdict.message
    )


def duration(span: timedelta) -> Duration:
    """Return a span of time as the wire has it."""
    message = Duration()
    message.FromTimedelta(span)
    return message


def timestamp(moment: datetime) -> Timestamp:
    """Return a time as the wire has it."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message
