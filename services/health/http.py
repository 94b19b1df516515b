"""The answers for load balancers and people with a browser: HTTP, from memory, never from I/O.

======================  =================================  =====================================
path                    speaks of                          answers
======================  =================================  =====================================
`/livez`                this process                       200
`/startupz`             this instance                      503 until the first round of probes is
                                                           over, then 200 for ever
`/readyz`, OPTIONS `/`  this instance                      200; 503; draining: `drain_status`
`/readyz/{name}`        a target, replica, group, `suite`  200; 503; drained: `drain_status`; 400
`/health`               the suite                          200; 503
======================  =================================  =====================================

A name that nobody knows is 400 and not 404: to a HAProxy with `disable-on-404` that would be a
drain. While this instance drains it still tells the truth about others: who asks it about them is
not about to send it traffic.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from services.health.details import MayRead
from services.health.document import document, verdict_document
from services.health.instance import Instance, Phase
from services.health.rollup import Report
from services.health.state import State
from services.health.verdict import Advice, Verdict

MEDIA_TYPE = "application/health+json"
METHODS = ("GET", "HEAD", "OPTIONS")
DEGRADED = {"x-envoy-degraded": "1"}
"""Has Envoy prefer others; any value does."""

_INVITES_TRAFFIC = {State.HEALTHY, State.DEGRADED}
_MAX_NAME = 100


class _Bodies:
    """Keeps what was written of the last report, with details and without."""

    def __init__(self) -> None:
        self._kept: dict[bool, tuple[Report, bytes]] = {}

    def of(self, report: Report, *, details: bool) -> bytes:
        """Return the document of a report."""
        kept = self._kept.get(details)
        if kept is None or kept[0] is not report:
            kept = (report, orjson.dumps(document(report, details=details)))
            self._kept[details] = kept
        return kept[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the answers are made of.

    Attributes:
        report: Returns the report as of now.
        verdict: Returns what balancers are told about a name; None when nobody knows it.
        instance: Judges this instance.
        details: Tells who may see details.
        retry_after: What a client that was refused should wait, in seconds.
        drain_status: The status of what drains: 503, or 404 for HAProxy's `disable-on-404`.

    """

    report: Callable[[], Report]
    verdict: Callable[[str], Verdict | None]
    instance: Instance
    details: MayRead
    retry_after: int
    drain_status: int = HTTPStatus.SERVICE_UNAVAILABLE
    _bodies: _Bodies = field(default_factory=_Bodies, init=False)

    async def health(self, request: Request) -> Response:
        """Tell how the suite is."""
        report = self.report()
        body = self._bodies.of(report, details=await self.details(request))
        if report.state not in _INVITES_TRAFFIC:
            return self._respond(body, status=HTTPStatus.SERVICE_UNAVAILABLE)
        return self._respond(body, degraded=report.state is State.DEGRADED)

    async def livez(self, _: Request) -> Response:
        """Tell that this process is alive; that it is told at all shows that the loop turns."""
        return self._respond({"status": State.HEALTHY.value})

    async def startupz(self, _: Request) -> Response:
        """Tell whether this instance has started."""
        if self.instance.started:
            return self._respond({"status": State.HEALTHY.value})
        body = {"status": State.UNKNOWN.value, "message": self.instance.obstacle()}
        return self._respond(body, status=HTTPStatus.SERVICE_UNAVAILABLE)

    async def readyz(self, _: Request) -> Response:
        """Tell whether this instance may be asked."""
        phase = self.instance.phase
        if phase is Phase.SERVING:
            return self._respond({"status": State.HEALTHY.value})
        body = {"status": State.UNHEALTHY.value, "message": self.instance.obstacle()}
        drains = phase is Phase.DRAINING
        return self._respond(
            body, status=self.drain_status if drains else HTTPStatus.SERVICE_UNAVAILABLE
        )

    async def readyz_of(self, request: Request) -> Response:
        """Tell whether traffic for a name is welcome."""
        name: str = request.path_params["name"]
        verdict = self.verdict(name)
        if verdict is None:
            message = f"No target, replica or group is called {name[:_MAX_NAME]!r}."
            body = {"status": State.UNKNOWN.value, "message": message}
            return self._respond(body, status=HTTPStatus.BAD_REQUEST)
        body = verdict_document(verdict, details=await self.details(request))
        if verdict.ready:
            return self._respond(body, degraded=verdict.degraded)
        drains = verdict.advice is Advice.DRAIN
        return self._respond(
            body, status=self.drain_status if drains else HTTPStatus.SERVICE_UNAVAILABLE
        )

    def _respond(
        self,
        body: Mapping[str, Any] | bytes,
        *,
        status: int = HTTPStatus.OK,
        degraded: bool = False,
    ) -> Response:
        headers = {"Cache-Control": "no-store"}
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers["Retry-After"] = str(self.retry_after)
        if degraded:
            headers |= DEGRADED
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        return Response(content, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def http_app(desk: Desk, *, extra: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application; `extra` are routes for people, who get no say in these."""
    answers = {
        "/livez": desk.livez,
        "/startupz": desk.startupz,
        "/readyz": desk.readyz,
        "/readyz/{name:path}": desk.readyz_of,
        "/health": desk.health,
        "/api/health": desk.health,
    }
    app = Starlette(
        routes=[
            *(Route(path, answer, methods=METHODS) for path, answer in answers.items()),
            # What HAProxy asks when it is not told what to ask.
            Route("/", desk.readyz, methods=["OPTIONS"]),
            *extra,
        ],
        exception_handlers={HTTPException: _refuse},
    )
    # A poller takes a redirect for health; `/health/` is simply not there.
    app.router.redirect_slashes = False
    return app


async def _refuse(_: Request, error: Exception) -> Response:
    """Answer for a path or a method that is not there."""
    refusal = error if isinstance(error, HTTPException) else HTTPException(500)
    return Response(
        orjson.dumps({"status": State.UNKNOWN.value, "message": refusal.detail}),
        status_code=refusal.status_code,
        headers={"Cache-Control": "no-store", **(refusal.headers or {})},
        media_type=MEDIA_TYPE,
    )
