"""Sentry: unexpected errors and a share of the calls, and nothing that came from a payload.

Everything is sent by a thread of Sentry's client, from a queue that drops what is too much: an
ingest that is slow or gone slows nobody down. What leaves is masked once more as a whole, whoever
put it together.
"""

import time
from collections.abc import Iterable
from importlib.metadata import version
from types import TracebackType
from typing import Any

import sentry_sdk
from sentry_sdk.scope import Scope

from shared.config import CommonSettings
from shared.telemetry import metrics
from shared.telemetry.breadcrumbs import Breadcrumbs
from shared.telemetry.callers import Header, is_bot, shown_headers, user_agent_of
from shared.telemetry.masking import mask_everything
from shared.telemetry.report_rate import ReportRate
from shared.telemetry.transactions import Served, Transactions, trace_context

FAREWELL = 2.0
"""Longest wait at exit for what has not been sent, in seconds."""

_rate = ReportRate()


def configure_sentry(service: str, settings: CommonSettings) -> None:
    """Connect to the DSN of the settings; without one nothing is sent."""
    global _rate  # noqa: PLW0603 - one for the process, as the client is
    if settings.sentry_dsn is None:
        return
    release = version("mainstay-suite")
    sentry_sdk.init(
        dsn=settings.sentry_dsn.get_secret_value(),
        environment=settings.environment,
        release=release,
        server_name=service,
        # The stock gRPC integration breaks streams; the pipeline reports by itself.
        default_integrations=False,
        auto_enabling_integrations=False,
        max_request_body_size="never",
        include_local_variables=False,
        before_send=_masked,  # type: ignore[arg-type]
    )
    _rate = ReportRate()
    Breadcrumbs.installed = Breadcrumbs()
    transport = sentry_sdk.get_client().transport
    if settings.sentry_traces_sample_ratio and transport is not None:
        Transactions.installed = Transactions(
            transport.capture_envelope,
            {"environment": settings.environment, "release": release, "server_name": service},
            ratio=settings.sentry_traces_sample_ratio,
        )


def report_unexpected(
    error: BaseException, call: Served, headers: Iterable[Header], *, error_id: str
) -> None:
    """Report an error of a call that no one had a name for."""
    if not sentry_sdk.is_initialized():
        return
    headers = tuple(headers)
    if is_bot(call.method, user_agent_of(headers)):
        metrics.sentry_reports.labels("error", "of a bot").inc()
        return
    held_back = _take(error, call.method)
    if held_back is None:
        return
    with sentry_sdk.new_scope() as scope:
        _describe(scope, call.method, held_back)
        for name in ("method", "tenant", "request_id", "code"):
            scope.set_tag(name, getattr(call, name))
        scope.set_tag("error_id", error_id)
        if call.user:
            scope.set_user({"id": call.user})
        trace = trace_context(call) | {"op": "rpc.server"}
        more = {
            "contexts": {"trace": trace},
            "request": {"url": call.method, "headers": shown_headers(headers)},
            "breadcrumbs": _breadcrumbs(call.request_id, error_id),
        }
        scope.add_event_processor(_adding(more))
        scope.capture_exception(error)


def report_crash(error: BaseException, *, task: str) -> None:
    """Report an error that ended a background task, and with it the service."""
    if not sentry_sdk.is_initialized():
        return
    held_back = _take(error, task)
    if held_back is None:
        return
    with sentry_sdk.new_scope() as scope:
        _describe(scope, task, held_back)
        scope.set_tag("task", task)
        scope.set_level("fatal")
        scope.add_event_processor(_adding({"breadcrumbs": _breadcrumbs("", "")}))
        scope.capture_exception(error)


def flush_sentry() -> None:
    """Send what is left, for as long as that may take; for the end of a process."""
    if sentry_sdk.is_initialized():
        sentry_sdk.get_client().close(timeout=FAREWELL)


def _take(error: BaseException, where: str) -> int | None:
    """Return how many like this were held back before; None to hold this one back too."""
    held_back = _rate.take((type(error), where, _origin(error.__traceback__)), time.monotonic())
    metrics.sentry_reports.labels("error", "held back" if held_back is None else "sent").inc()
    return held_back


def _origin(traceback: TracebackType | None) -> tuple[str, int]:
    """Return where an error was raised."""
    if traceback is None:
        return ("", 0)
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)


def _describe(scope: Scope, where: str, held_back: int) -> None:
    scope.set_transaction_name(where)
    if held_back:
        scope.set_extra("not_reported_before", held_back)


def _adding(more: dict[str, Any]) -> Any:
    """Return what puts fields into an event, in the place of what Sentry's client made up."""

    def add(event: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        return {**event, **more, "contexts": event.get("contexts", {}) | more.get("contexts", {})}

    return add


def _breadcrumbs(request_id: str, error_id: str) -> dict[str, Any]:
    kept = Breadcrumbs.installed
    return {"values": [] if kept is None else kept.of(request_id, but=error_id)}


def _masked(event: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
    masked: dict[str, Any] = mask_everything(event)
    return masked
