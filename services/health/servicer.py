"""gRPC in, domain, gRPC out."""

from collections.abc import Callable
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.health.v1 import health_service_pb2 as pb
from mainstay.health.v1 import health_service_pb2_grpc as pb_grpc
from services.health.rollup import Check, Report
from services.health.state import State

_STATES = {
    State.HEALTHY: pb.STATE_HEALTHY,
    State.DEGRADED: pb.STATE_DEGRADED,
    State.UNHEALTHY: pb.STATE_UNHEALTHY,
    State.UNKNOWN: pb.STATE_UNKNOWN,
}


class HealthServicer(pb_grpc.HealthServiceServicer):
    """Answers from the report it is given."""

    def __init__(self, report: Callable[[], Report]) -> None:
        self._report = report

    async def GetReport(
        self, request: pb.GetReportRequest, context: object
    ) -> pb.GetReportResponse:
        """Return the last snapshot."""
        report = self._report()
        return pb.GetReportResponse(
            state=_STATES[report.state],
            snapshot_time=_timestamp(report.time),
            checks=[_check(check) for check in report.checks],
        )


def _check(check: Check) -> pb.Check:
    message = pb.Check(
        name=check.target.name,
        state=_STATES[check.state],
        critical=check.target.critical,
        message=check.message,
    )
    if check.last is not None:
        message.latency.CopyFrom(_duration(check.last.latency))
        message.check_time.CopyFrom(_timestamp(check.last.time))
        message.request_id = check.last.request_id
    return message


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
