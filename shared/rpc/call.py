"""The call that is being handled: what a servicer may know of its transport."""

import time
from contextvars import ContextVar
from typing import NamedTuple, NewType

from mainstay.context import RequestContext

Tenant = NewType("Tenant", str)
ALL_TENANTS = Tenant("*")
DEFAULT_TENANT = Tenant("default")
ANONYMOUS = "anonymous"


class Call(NamedTuple):
    """One call, as the pipeline admitted it.

    Attributes:
        method: `package.Service/Method`.
        tenant: Whose data the call is about.
        principal: Who calls; `anonymous` as long as callers do not authenticate.
        request_id: Taken from the caller or made here.
        traceparent: W3C trace context of the server's span, or what the caller sent, or empty.
        deadline: On the clock of `time.monotonic`; infinite for unbounded streams.
        tracestate: What the caller sent with its trace context, or empty.

    """

    method: str
    tenant: Tenant
    principal: str
    request_id: str
    traceparent: str
    deadline: float
    tracestate: str = ""

    def remaining(self) -> float:
        """Return the seconds left before the deadline, never below zero."""
        return max(0.0, self.deadline - time.monotonic())

    def request(self) -> RequestContext:
        """Return the request as calls to other services carry it on."""
        return RequestContext(
            request_id=self.request_id,
            tenant=self.tenant,
            traceparent=self.traceparent or None,
            tracestate=self.tracestate or None,
        )


_current: ContextVar[Call] = ContextVar("mainstay_call")


def current_call() -> Call:
    """Return the call being handled; only inside a servicer's method."""
    return _current.get()


def enter_call(call: Call) -> None:
    """Make `call` current for the rest of this task."""
    _current.set(call)
