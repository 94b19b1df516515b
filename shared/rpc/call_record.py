"""What is told of a call once it has ended: metrics, span, log line, row, and reports to Sentry."""

import time
from typing import Any

import structlog

from shared.identity.principal import STRANGER, Principal
from shared.rpc.admission import OVERLOADED
from shared.rpc.call import ANONYMOUS, Tenant
from shared.rpc.gate import AdminAct
from shared.rpc.metadata import Pairs, read_metadata
from shared.rpc.method import Method
from shared.rpc.outcome import Failure
from shared.telemetry import tracing
from shared.telemetry.call_lines import milliseconds
from shared.telemetry.call_metrics import SUCCESS, Outcome
from shared.telemetry.callers import is_bot, user_agent_of
from shared.telemetry.report_rate import Rate
from shared.telemetry.sentry import report_unexpected
from shared.telemetry.transactions import Served, Transactions

_NOT_KNOWN = Tenant("")

log = structlog.get_logger()

_sheds_told = Rate(10)
_strangers_told = Rate(10)


class CallRecord:
    """Who calls what in which trace, since when; the tenant is known once the call is admitted."""

    __slots__ = (
        "_began",
        "_method",
        "_pairs",
        "_recording",
        "_sampled",
        "headers",
        "principal",
        "tenant",
        "traceparent",
    )

    def __init__(self, method: Method, pairs: Pairs) -> None:
        self._began = time.monotonic()
        self._method = method
        self._pairs = pairs
        self.headers = headers = read_metadata(pairs)
        self.tenant = _NOT_KNOWN
        self.principal: Principal = STRANGER
        self.traceparent = headers.traceparent
        self._sampled = False
        self._recording: tracing.Recording | None = None
        if method.traced:
            self.traceparent = traceparent = tracing.begin(headers.traceparent)
            self._sampled = tracing.is_sampled(traceparent)
            if self._sampled and not method.lasting:  # whose queries would make one without end
                self._recording = tracing.enter(traceparent)

    def succeed(self) -> None:
        """Tell of a call that ended well."""
        seconds = self._end(SUCCESS)
        self._method.lines.call_finished(
            seconds, self.headers.request_id, self.tenant, self.traceparent, self.principal.name
        )
        if self._method.audit is not None:
            self._audit(SUCCESS)

    def fail(self, failure: Failure) -> None:
        """Tell of a call that did not."""
        outcome = (failure.code.name, failure.error.reason)
        seconds = self._end(outcome, failure)
        self._method.lines.call_failed(
            outcome,
            failure.error.message,
            seconds,
            self.headers.request_id,
            self.tenant,
            self.traceparent,
            self.principal.name,
        )
        if self._method.audit is not None:
            self._audit(outcome)
        if failure.error.reason == OVERLOADED and not _sheds_told.admits(time.monotonic()):
            return  # a line would cost more than the rest of what shedding a call does
        fields = self._fields(outcome, seconds)
        if not failure.unexpected:
            # What is asked again and again is no news, whatever the answer.
            write = log.debug if self._method.policy.quiet else log.info
            write("call_finished", error=failure.error.message, **fields)
            return
        error_id = failure.error.metadata["error_id"]
        log.error("call_failed", error_id=error_id, exc_info=failure.cause, **fields)
        served = self._served(outcome[0], seconds)
        report_unexpected(failure.cause, served, self._pairs, error_id=error_id)

    def _audit(self, outcome: Outcome) -> None:
        assert self._method.audit is not None
        code, reason = outcome
        principal = self.principal
        if principal is STRANGER and not _strangers_told.admits(time.monotonic()):
            return  # else anybody could fill the disk, and crowd out what others did
        self._method.audit.note(
            AdminAct(
                self._method.name,
                principal.name,
                principal.proof,
                self.tenant,
                self.headers.request_id,
                code,
                reason,
            )
        )

    def _fields(self, outcome: Outcome, seconds: float) -> dict[str, Any]:
        code, reason = outcome
        fields: dict[str, Any] = {
            "method": self._method.name,
            "code": code,
            "reason": reason,
            "duration_ms": milliseconds(seconds),
            "request_id": self.headers.request_id,
        }
        # Of a call that was refused at the door nobody else knows these.
        if self.tenant:
            fields["tenant"] = self.tenant
        if self.principal.name != ANONYMOUS:
            fields["principal"] = self.principal.name
        if self.traceparent:
            fields["trace_id"] = tracing.trace_id(self.traceparent)
        return fields

    def _end(self, outcome: Outcome, failure: Failure | None = None) -> float:
        """Count the call and export its span; returns the seconds it took."""
        seconds = time.monotonic() - self._began
        self._method.tally.count(seconds, outcome)
        if self._sampled or (failure is not None and self._method.traced):
            self._record_span(seconds, outcome[0], failure)
        sentry = Transactions.installed
        if sentry is not None and sentry.samples(self.traceparent):
            self._send_transaction(sentry, outcome[0], seconds)
        return seconds

    def _record_span(self, seconds: float, code: str, failure: Failure | None) -> None:
        if self._sampled:
            self._method.tally.exemplify(seconds, tracing.trace_id(self.traceparent))
        if self._recording is not None:
            self._recording.is_open = False
        headers = self.headers
        tracing.record_call(
            self._method.name,
            self.traceparent,
            caller=headers.traceparent,
            tracestate=headers.tracestate,
            seconds=seconds,
            code=code,
            request_id=headers.request_id,
            cause=failure.cause if failure is not None and failure.unexpected else None,
        )

    def _send_transaction(self, sentry: Transactions, code: str, seconds: float) -> None:
        method = self._method
        if not (method.policy.quiet or is_bot(method.name, user_agent_of(self._pairs))):
            sentry.add(self._served(code, seconds))

    def _served(self, code: str, seconds: float) -> Served:
        headers = self.headers
        return Served(
            method=self._method.name,
            code=code,
            seconds=seconds,
            request_id=headers.request_id,
            tenant=self.tenant,
            user="" if self.principal.name == ANONYMOUS else self.principal.name,
            traceparent=self.traceparent,
            caller=headers.traceparent,
        )
