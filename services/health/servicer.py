"""gRPC in, domain, gRPC out."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Protocol

from mainstay.errors import NotFoundError, UnavailableError
from mainstay.health.v1 import health_service_pb2 as pb
from mainstay.health.v1 import health_service_pb2_grpc as pb_grpc
from services.health import formatting, parsing
from services.health.causes import explain
from services.health.changes import Changes
from services.health.maintenance import Maintenance
from services.health.ports import HistoryStore
from services.health.rollup import Report
from services.health.target import SUITE
from services.health.verdict import Verdict
from shared.pages import page_size, page_token
from shared.rpc.policy import MethodPolicy

# Health always answers: none of these counts against the limit of concurrent calls. Balancers call
# Ready as often as they like, and their calls are no news.
METHODS = {
    "GetReport": MethodPolicy(default_deadline=1.0, admission=False),
    "WatchReport": MethodPolicy(
        default_deadline=float("inf"), max_deadline=float("inf"), admission=False
    ),
    "GetHistory": MethodPolicy(),
    "Explain": MethodPolicy(default_deadline=1.0, admission=False),
    "SetMaintenance": MethodPolicy(operators=True),
    "Ready": MethodPolicy(default_deadline=1.0, admission=False, quiet=True),
}


class Maintaining(Protocol):
    """Takes targets out of service, and back.

    Raises DatabaseError: here nothing has changed, and what was asked for may yet be read from the
    database, where an answer of it was lost. Once more does no harm.
    """

    async def set(self, maintenance: Maintenance) -> None:
        """Set one."""
        ...

    async def end(self, target: str) -> None:
        """End the one of a target."""
        ...


class HealthServicer(pb_grpc.HealthServiceServicer):
    """Answers from the report it is given; `instance` judges this instance alone."""

    def __init__(
        self,
        *,
        report: Callable[[], Report],
        changes: Changes,
        verdict: Callable[[str], Verdict | None],
        instance: Callable[[], str],
        history: HistoryStore,
        maintaining: Maintaining,
        now: Callable[[], datetime],
    ) -> None:
        self._report = report
        self._changes = changes
        self._verdict = verdict
        self._instance = instance
        self._history = history
        self._maintaining = maintaining
        self._now = now

    async def GetReport(
        self, request: pb.GetReportRequest, context: object
    ) -> pb.GetReportResponse:
        """Return the last snapshot."""
        return formatting.report_message(self._report())

    async def WatchReport(
        self, request: pb.WatchReportRequest, context: object
    ) -> AsyncIterator[pb.WatchReportResponse]:
        """Send the report now and whenever it reads differently."""
        async for report in self._changes.watch():
            yield pb.WatchReportResponse(report=formatting.report_message(report))
        raise UnavailableError("this instance is stopping; watch again", reason="DRAINING")

    async def GetHistory(
        self, request: pb.GetHistoryRequest, context: object
    ) -> pb.GetHistoryResponse:
        """Return how a target was."""
        name = self._known(request.target)
        size = page_size(request.page_size)
        before = parsing.incident_cursor(request.page_token)
        # One more than asked for shows whether there is a next page.
        found = await self._history.incidents(name, limit=size + 1, before=before)
        page = found[:size]
        more = len(found) > size
        last = page[-1] if more else None
        token = page_token((last.start_time.isoformat(), last.incident_id)) if last else ""
        return formatting.history_message(await self._history.history(name), page, token)

    async def Explain(self, request: pb.ExplainRequest, context: object) -> pb.ExplainResponse:
        """Return why a target is as it is."""
        report = self._report()
        name = parsing.target_name(request.target)
        explanation = explain(report, name)
        if explanation is None:
            raise _unknown(name)
        return formatting.explanation_message(explanation, report)

    async def SetMaintenance(
        self, request: pb.SetMaintenanceRequest, context: object
    ) -> pb.SetMaintenanceResponse:
        """Take a target out of service, or back."""
        maintenance = parsing.maintenance(request, self._now())
        name = self._known(request.target)
        if maintenance is None:
            await self._maintaining.end(name)
        else:
            await self._maintaining.set(maintenance)
        return pb.SetMaintenanceResponse(maintenance=formatting.maintenance_message(maintenance))

    async def Ready(self, request: pb.ReadyRequest, context: object) -> pb.ReadyResponse:
        """Answer OK when traffic is welcome."""
        if not request.target:
            if obstacle := self._instance():
                raise _not_ready(obstacle)
            return pb.ReadyResponse()
        verdict = self._verdict(parsing.target_name(request.target))
        if verdict is None:
            raise _unknown(request.target)
        if not verdict.ready:
            raise _not_ready(f"{verdict.name} is {verdict.state.value}. {verdict.message}".strip())
        return formatting.ready_message(verdict)

    def _known(self, asked: str) -> str:
        name = parsing.target_name(asked)
        if name != SUITE and self._report().check(name) is None:
            raise _unknown(name)
        return name


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(
        f"no target {name[:100]!r}; GetReport has the names",
        reason="TARGET_NOT_FOUND",
        resource_type="target",
        resource_name=name[:100],
    )


def _not_ready(why: str) -> UnavailableError:
    return UnavailableError(why, reason="NOT_READY")
