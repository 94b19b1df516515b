"""Asks how the suite is, why, and how it was."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

from mainstay.channel import Channel
from mainstay.errors import UnavailableError
from mainstay.health import reading
from mainstay.health.report import Explanation, History, Maintenance, Mode, Readiness, Report
from mainstay.health.v1 import health_service_pb2 as pb
from mainstay.health.v1 import health_service_pb2_grpc as pb_grpc

_WATCH_SECONDS = 365 * 86_400.0

_MODES = {Mode.DRAIN: pb.MODE_DRAIN, Mode.MAINTENANCE: pb.MODE_MAINTENANCE}


class HealthClient:
    """Asks the health service.

    `timeout` is in seconds; without one the channel's holds. A `target` is one of the report's
    names; empty is the whole. Every method raises UnavailableError when the service cannot be
    reached, and DeadlineError when it does not answer in time.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stub = pb_grpc.HealthServiceStub(channel.raw)

    async def get_report(self, *, timeout: float | None = None) -> Report:  # noqa: ASYNC109 - it becomes the call's deadline
        """Return the last report; repeated on transient errors, for reading changes nothing.

        An unhealthy suite is a report, not an error.
        """
        response = await self._channel.unary(
            self._stub.GetReport, pb.GetReportRequest(), timeout=timeout, retry=True
        )
        return reading.report(response)

    async def watch_report(self) -> AsyncGenerator[Report, None]:
        """Yield the report now and after every change, until the caller stops reading.

        Reports that a slow reader was not there for are left out. Raises UnavailableError when the
        service drains or has too many watchers; watch again, or poll.
        """
        responses = self._channel.server_stream(
            self._stub.WatchReport, pb.WatchReportRequest(), timeout=_WATCH_SECONDS
        )
        async with aclosing(responses):
            async for response in responses:
                yield reading.report(response.report)

    async def get_history(
        self,
        target: str = "",
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,  # noqa: ASYNC109 - it becomes the call's deadline
    ) -> History:
        """Return how a target was, with a page of its incidents (0 means 100, up to 500).

        Raises NotFoundError for a name that no report has, and DatabaseError while the database
        cannot be asked.
        """
        request = pb.GetHistoryRequest(target=target, page_size=page_size, page_token=page_token)
        response = await self._channel.unary(
            self._stub.GetHistory, request, timeout=timeout, retry=True
        )
        return reading.history(response)

    async def explain(self, target: str = "", *, timeout: float | None = None) -> Explanation:  # noqa: ASYNC109 - it becomes the call's deadline
        """Return why a target is as it is, and who else is hit.

        Raises NotFoundError for a name that no report has.
        """
        response = await self._channel.unary(
            self._stub.Explain, pb.ExplainRequest(target=target), timeout=timeout, retry=True
        )
        return reading.explanation(response)

    async def set_maintenance(
        self,
        target: str,
        mode: Mode,
        *,
        duration: timedelta,
        reason: str,
        timeout: float | None = None,  # noqa: ASYNC109 - it becomes the call's deadline
    ) -> Maintenance:
        """Take a target out of service for so long (1 second to 30 days) and tell people why.

        Balancers are told not to send traffic, and the whole is not blamed. Repeated on transient
        errors. Raises ValidationError, NotFoundError for a name that no report has, and
        DatabaseError when it could not be kept: then nothing has changed, unless the database kept
        it and its answer was lost.
        """
        request = pb.SetMaintenanceRequest(target=target, mode=_MODES[mode], reason=reason)
        request.duration.FromTimedelta(duration)
        response = await self._channel.unary(
            self._stub.SetMaintenance, request, timeout=timeout, retry=True
        )
        return reading.maintenance(response.maintenance)

    async def end_maintenance(self, target: str, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - it becomes the call's deadline
        """Put a target back into service; of one that is in service, nothing changes."""
        request = pb.SetMaintenanceRequest(target=target, mode=pb.MODE_NONE)
        await self._channel.unary(self._stub.SetMaintenance, request, timeout=timeout, retry=True)

    async def ready(self, target: str = "", *, timeout: float | None = None) -> Readiness | None:  # noqa: ASYNC109 - it becomes the call's deadline
        """Return whether traffic is welcome at a target, a replica or a group; None when it is not.

        Empty asks about the instance of the health service that answers. Raises NotFoundError for a
        name that it does not know.
        """
        try:
            response = await self._channel.unary(
                self._stub.Ready, pb.ReadyRequest(target=target), timeout=timeout
            )
        except UnavailableError as error:
            if error.reason != "NOT_READY":
                raise
            return None
        return Readiness(
            degraded=response.degraded,
            failing_open=response.failing_open,
            message=response.message,
        )
