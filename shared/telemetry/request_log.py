"""The request log: a row in `telemetry.api_request_logs` for every line about a call.

Calls that end well are sampled at high rates, as their lines are, and say for how many they stand;
calls that fail have a row each. Health checks and the like have none.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from shared.postgres.copying import BatchTable
from shared.telemetry.call_lines import TRACE_ID, FailedCall, Finished
from shared.telemetry.masking import mask_text

MAX_ERROR = 300
"""Characters of an error's message that are kept."""

TABLE = BatchTable(
    name="telemetry.api_request_logs",
    columns={
        "time": "timestamptz",
        "service": "text",
        "instance": "text",
        "method": "text",
        "code": "text",
        "reason": "text",
        "duration_ms": "double precision",
        "request_id": "text",
        "trace_id": "text",
        "tenant": "text",
        "principal": "text",
        "stands_for": "integer",
        "error": "text",
    },
)


def request_row(service: str, instance: str) -> Callable[[Finished | FailedCall], tuple[Any, ...]]:
    """Return what makes a row of a call that this instance has served."""

    def make(call: Finished | FailedCall) -> tuple[Any, ...]:
        code, reason, stands_for, error = "OK", "", 1, None
        match call:
            case FailedCall():
                code, reason = call.code, call.reason
                error = _storable(call.error)[:MAX_ERROR]
            case Finished():
                stands_for = call.stands_for
        return (
            datetime.fromtimestamp(call.at, UTC),
            service,
            instance,
            call.method,
            code,
            reason,
            call.seconds * 1000,
            _storable(call.request_id),
            call.traceparent[TRACE_ID],
            call.tenant,
            call.principal,
            stands_for,
            error,
        )

    return make


def _storable(text: str) -> str:
    """Return a text without what looks like a secret, and without what PostgreSQL cannot hold."""
    masked = mask_text(text)
    if masked.isascii() and "\0" not in masked:
        return masked
    return masked.replace("\0", "").encode(errors="replace").decode()
