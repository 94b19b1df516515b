"""A share of the calls as Sentry's transactions, made when a call has ended.

Whether a call is among them follows from its trace's id, so that a trace is there in all services
or in none, and was settled before the call began; a call without a trace is decided by chance.
Each transaction is an HTTP request to Sentry: of more than `PER_SECOND` the rest is left out and
counted, or a busy service would spend more on telling than on serving.
"""

import random
import time
import uuid
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from sentry_sdk.envelope import Envelope

from shared.telemetry import metrics
from shared.telemetry.masking import mask_text

PER_SECOND = 10
"""Transactions that one process sends in a second."""

_SENT = metrics.sentry_reports.labels("transaction", "sent")
_HELD_BACK = metrics.sentry_reports.labels("transaction", "held back")
_TRACE_ID = slice(3, 35)  # of 00-<trace id>-<span id>-<flags>
_SPAN_ID = slice(36, 52)
_LOW_BITS = slice(19, 35)
# Sentry's words for the gRPC codes; the others have the same name in lower case.
_STATUS = {"OK": "ok", "INTERNAL": "internal_error", "UNKNOWN": "unknown_error"}


class Served(NamedTuple):
    """A call that has ended; `caller` is the trace context that it came with."""

    method: str
    code: str
    seconds: float
    request_id: str
    tenant: str
    user: str
    traceparent: str
    caller: str


class Transactions:
    """Sends a share of the calls to Sentry.

    `send` takes an envelope and does not wait; `constants` are fields of every transaction;
    `clock` is in seconds since 1970.
    """

    installed: ClassVar["Transactions | None"] = None
    """The one of this process, where Sentry is to have any."""

    def __init__(
        self,
        send: Callable[[Envelope], None],
        constants: dict[str, str],
        *,
        ratio: float,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._send = send
        self._constants = constants
        self._ratio = ratio
        self._bound = round(ratio * 2**64)
        self._clock = clock
        self._chance = chance
        self._second = 0
        self._sent = 0

    def samples(self, traceparent: str) -> bool:
        """Return whether a call of this trace is among them."""
        if traceparent:
            return int(traceparent[_LOW_BITS], 16) < self._bound
        return self._chance() < self._ratio

    def add(self, call: Served) -> None:
        """Send a call, unless this second has had enough."""
        now = self._clock()
        if self._second != int(now):
            self._second, self._sent = int(now), 0
        self._sent += 1
        if self._sent > PER_SECOND:
            _HELD_BACK.inc()
            return
        envelope = Envelope()
        envelope.add_transaction(self._transaction(call, now))  # type: ignore[arg-type]
        envelope.headers["event_id"] = uuid.uuid4().hex
        self._send(envelope)
        _SENT.inc()

    def _transaction(self, call: Served, now: float) -> dict[str, Any]:
        tenant, request_id = mask_text(call.tenant), mask_text(call.request_id)
        return {
            **self._constants,
            "type": "transaction",
            "platform": "python",
            "transaction": call.method,
            "transaction_info": {"source": "route"},
            "start_timestamp": now - call.seconds,
            "timestamp": now,
            "contexts": {"trace": {**trace_context(call), "op": "rpc.server"}},
            "tags": {"tenant": tenant, "request_id": request_id, "code": call.code},
            "user": {"id": mask_text(call.user)} if call.user else {},
            "spans": [],
        }


def trace_context(call: Served) -> dict[str, Any]:
    """Return the ids of a call as OTLP has them; of a call without a trace they are new ones."""
    ours, theirs = call.traceparent, call.caller
    context: dict[str, Any] = {
        "trace_id": ours[_TRACE_ID] or uuid.uuid4().hex,
        # A caller's own context is the parent of a span that nobody else records.
        "span_id": ours[_SPAN_ID] if ours != theirs and ours else uuid.uuid4().hex[:16],
        "status": _STATUS.get(call.code, call.code.lower()),
    }
    if theirs and theirs[_TRACE_ID] == context["trace_id"]:
        context["parent_span_id"] = theirs[_SPAN_ID]
    return context
