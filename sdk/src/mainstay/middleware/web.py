"""The middleware itself."""

import time
from collections.abc import Collection
from dataclasses import replace

from mainstay.client import Mainstay
from mainstay.context import use
from mainstay.middleware import sentry
from mainstay.middleware.exchange import Exchange
from mainstay.middleware.gate import PROBES, Gate, OnUnavailable, Tell, client_address, path, told
from mainstay.middleware.web_request import Application, Receive, Scope, Send, WebRequest
from mainstay.ratelimit.denial import denied


class MainstayMiddleware:
    """Joins an ASGI application to the suite.

    ::

        app = FastAPI()
        app.add_middleware(MainstayMiddleware, mainstay=Mainstay(tenant="acme"))

    Every request has an id (`x-request-id`: taken from the client or made), which goes back to the
    client and along with all SDK calls, as the tenant and the W3C trace do. It is asked for at the
    rate limits: whoever is over one gets a 429 as problem JSON, and every answer has their headers
    in both dialects. `server-timing` says how long the answer took (`total`) and what of that the
    rate limits did (`ratelimit`). Errors of `mainstay.errors` that the application does not handle
    become problem JSON with their HTTP status; any other error becomes a 500, is logged with its
    traceback, and reported to Sentry if the application uses it. A line per request goes to the
    logger `mainstay.web`.

    In Starlette and FastAPI, `request.state.request_id` and `request.state.rate_limit` (a
    `Decision`, or None) tell the application of it. WebSockets have an id, tenant and trace and are
    not limited.
    """

    def __init__(
        self,
        app: Application,
        *,
        mainstay: Mainstay,
        limit: bool = True,
        subject: Tell = client_address,
        endpoint: Tell = path,
        plan: Tell | None = None,
        tenant: Tell | None = None,
        exempt: Collection[str] = PROBES,
        on_unavailable: OnUnavailable = "allow",
        limit_timeout: float = 0.25,
    ) -> None:
        """Wrap `app`; `mainstay` stays the caller's to close.

        `subject`, `endpoint`, `plan` and `tenant` tell something of a request (`WebRequest`), and
        may be coroutine functions. `subject` says who is limited; by default the client's address;
        for None nobody is. `endpoint` is what the policy has limits for; by default the path.
        `plan` is the subject's plan; by default the assigned one. `tenant` stands before that of
        `mainstay`. `exempt` are paths that are not limited, or patterns that end in a star.

        When the rate limits cannot be asked within `limit_timeout` seconds, requests are let pass,
        or with `on_unavailable="deny"` answered with a 503. From then on one request a second asks.
        """
        self._app = app
        self._tenant = tenant
        self._gate = (
            Gate(
                mainstay.ratelimit,
                subject=subject,
                endpoint=endpoint,
                plan=plan,
                exempt=exempt,
                on_unavailable=on_unavailable,
                timeout=limit_timeout,
            )
            if limit
            else None
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "websocket":
                await self._websocket(scope, receive, send)
            case _:
                await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = WebRequest(scope)
        context = request.context()
        exchange = Exchange(request, context.request_id, send)
        with sentry.tagged({"request_id": context.request_id}), use(context):
            try:
                tenant = await told(self._tenant, request)
                with use(replace(context, tenant=tenant)):
                    await self._limited(request, exchange, receive)
            except Exception as error:  # noqa: BLE001 - the boundary of the application
                await exchange.fail(error)
            finally:
                exchange.log()

    async def _limited(self, request: WebRequest, exchange: Exchange, receive: Receive) -> None:
        state = request.scope.setdefault("state", {})
        state["request_id"] = exchange.request_id
        if self._gate is not None:
            began = time.perf_counter()
            exchange.decision = await self._gate.decide(request)
            exchange.note_timing("ratelimit", began)
        state["rate_limit"] = exchange.decision
        if exchange.decision is not None and not exchange.decision.allowed:
            raise denied(exchange.decision, subject="")  # told to nobody
        await self._app(request.scope, receive, exchange.send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = WebRequest(scope)
        context = request.context()
        scope.setdefault("state", {})["request_id"] = context.request_id
        with sentry.tagged({"request_id": context.request_id}):
            tenant = await told(self._tenant, request)
            with use(replace(context, tenant=tenant)):
                await self._app(scope, receive, send)
