"""From the messages of the contract to what users read."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.health.report import (
    Check,
    Day,
    ErrorBudget,
    Explanation,
    History,
    Incident,
    Maintenance,
    Mode,
    Replica,
    Report,
    State,
    Uptime,
)
from mainstay.health.v1 import health_service_pb2 as pb

_STATES = {
    pb.STATE_HEALTHY: State.HEALTHY,
    pb.STATE_DEGRADED: State.DEGRADED,
    pb.STATE_UNHEALTHY: State.UNHEALTHY,
    pb.STATE_MAINTENANCE: State.MAINTENANCE,
}


def report(response: pb.GetReportResponse) -> Report:
    """Return a report."""
    return Report(
        state=_state(response.state),
        snapshot_time=_time(response.snapshot_time),
        checks=tuple(check(each) for each in response.checks),
        maintenance=maintenance(response.maintenance) if _has(response, "maintenance") else None,
    )


def check(message: pb.Check) -> Check:
    """Return what is known of a target."""
    probed = message.HasField("check_time")
    return Check(
        name=message.name,
        state=_state(message.state),
        critical=message.critical,
        latency=_seconds(message.latency) if probed else None,
        check_time=_time(message.check_time) if probed else None,
        message=message.message,
        request_id=message.request_id,
        own_state=_state(message.own_state),
        because=tuple(message.because),
        since=_time(message.state_time) if message.HasField("state_time") else None,
        needs=tuple(message.needs),
        uses=tuple(message.uses),
        replicas=tuple(_replica(each) for each in message.replicas),
        maintenance=maintenance(message.maintenance) if _has(message, "maintenance") else None,
    )


def _replica(message: pb.Replica) -> Replica:
    probed = message.HasField("check_time")
    return Replica(
        name=message.name,
        state=_state(message.state),
        latency=_seconds(message.latency) if probed else None,
        check_time=_time(message.check_time) if probed else None,
        message=message.message,
        request_id=message.request_id,
        maintenance=maintenance(message.maintenance) if _has(message, "maintenance") else None,
    )


def maintenance(message: pb.Maintenance) -> Maintenance:
    """Return what is out of service on purpose."""
    # A mode newer than this client keeps traffic away all the more.
    mode = Mode.DRAIN if message.mode == pb.MODE_DRAIN else Mode.MAINTENANCE
    return Maintenance(
        mode=mode,
        start_time=_time(message.start_time),
        end_time=_time(message.end_time),
        reason=message.reason,
    )


def explanation(response: pb.ExplainResponse) -> Explanation:
    """Return why a target is as it is."""
    return Explanation(
        summary=response.summary,
        check=check(response.check),
        root_causes=tuple(check(root) for root in response.root_causes),
        blast_radius=tuple(response.blast_radius),
    )


def history(response: pb.GetHistoryResponse) -> History:
    """Return how a target was."""
    return History(
        target=response.target,
        uptimes=tuple(_uptime(each) for each in response.uptimes),
        error_budget=_budget(response.error_budget),
        incidents=tuple(_incident(each) for each in response.incidents),
        next_page_token=response.next_page_token,
        days=tuple(_day(each) for each in response.days),
    )


def _uptime(message: pb.Uptime) -> Uptime:
    return Uptime(
        span=_span(message.span),
        ratio=message.ratio if message.HasField("ratio") else None,
        coverage=message.coverage,
    )


def _budget(message: pb.ErrorBudget) -> ErrorBudget:
    return ErrorBudget(
        objective=message.objective,
        span=_span(message.span),
        allowed=_span(message.allowed),
        used=_span(message.used),
        remaining_ratio=message.remaining_ratio,
    )


def _incident(message: pb.Incident) -> Incident:
    return Incident(
        incident_id=message.incident_id,
        target=message.target,
        worst_state=_state(message.worst_state),
        start_time=_time(message.start_time),
        end_time=_time(message.end_time) if message.HasField("end_time") else None,
        because=tuple(message.because),
        message=message.message,
        request_id=message.request_id,
    )


def _day(message: pb.Day) -> Day:
    return Day(
        start_time=_time(message.start_time),
        ratio=message.ratio if message.HasField("ratio") else None,
        downtime=_span(message.downtime),
        degraded=message.degraded,
    )


def _state(state: "pb.State.ValueType") -> State:
    return _STATES.get(state, State.UNKNOWN)


def _has(message: pb.Check | pb.Replica | pb.GetReportResponse, field: str) -> bool:
    return message.HasField(field)  # type: ignore[arg-type]


def _time(moment: Timestamp) -> datetime:
    return moment.ToDatetime(UTC)


def _span(duration: Duration) -> timedelta:
    return duration.ToTimedelta()


def _seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9
