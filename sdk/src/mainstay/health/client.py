"""Asks how the suite is."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from mainstay.channel import Channel
from mainstay.health.v1 import health_service_pb2 as pb
from mainstay.health.v1 import health_service_pb2_grpc as pb_grpc


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What is known of one target.

    Attributes:
        name: The target, such as `cache` or `database`.
        state: Its state, after damping.
        critical: Whether its failure makes the whole unhealthy instead of degraded.
        latency: How long the last probe took, in seconds; None before the first one ended.
        check_time: When the last probe ended, in UTC; None before the first one ended.
        message: Why the target is not healthy, for people; empty when it is.
        request_id: The id of the last probe, to be found in the logs of the probed service; empty
            before the first one ended.

    """

    name: str
    state: State
    critical: bool
    latency: float | None
    check_time: datetime | None
    message: str
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How the suite is.

    Attributes:
        state: The state of the whole.
        snapshot_time: When the newest knowledge in the report was gained, in UTC.
        checks: One for each target, ordered by name.

    """

    state: State
    snapshot_time: datetime
    checks: tuple[Check, ...]


class HealthClient:
    """Reads the report of the health service."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stub = pb_grpc.HealthServiceStub(channel.raw)

    async def get_report(self, *, timeout: float | None = None) -> Report:  # noqa: ASYNC109 - it becomes the call's deadline
        """Return the last report; repeated on transient errors, for reading changes nothing.

        `timeout` is in seconds; without one the channel's holds. An unhealthy suite is a report,
        not an error: raises UnavailableError only when the health service itself cannot be reached,
        and DeadlineError when it does not answer in time.
        """
        response = await self._channel.unary(
            self._stub.GetReport, pb.GetReportRequest(), timeout=timeout, retry=True
        )
        return _report(response)


_STATES = {
    pb.STATE_HEALTHY: State.HEALTHY,
    pb.STATE_DEGRADED: State.DEGRADED,
    pb.STATE_UNHEALTHY: State.UNHEALTHY,
}


def _report(response: pb.GetReportResponse) -> Report:
    return Report(
        state=_STATES.get(response.state, State.UNKNOWN),
        snapshot_time=response.snapshot_time.ToDatetime(UTC),
        checks=tuple(_check(check) for check in response.checks),
    )


def _check(check: pb.Check) -> Check:
    probed = check.HasField("check_time")
    return Check(
        name=check.name,
        state=_STATES.get(check.state, State.UNKNOWN),
        critical=check.critical,
        latency=check.latency.ToNanoseconds() / 1e9 if probed else None,
        check_time=check.check_time.ToDatetime(UTC) if probed else None,
        message=check.message,
        request_id=check.request_id,
    )
