"""The request a piece of code works for: its id, its tenant, its trace.

Set once at the edge (a web request, a job, a command), it travels with every SDK call below it,
across tasks, by a context variable.
"""

import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

# What is taken over from outside.
# Printable ASCII without space and quotes: safe in a log line, a header and a shell.
REQUEST_ID_PATTERN = re.compile(r"[!#-&(-~]{1,128}")
# W3C Trace Context; the zeros and version ff mean "none".
TRACEPARENT_PATTERN = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What every call on behalf of one request carries.

    Attributes:
        request_id: ASCII, up to 128 characters.
        tenant: Whose data is meant; None leaves it to the client's default.
        traceparent: W3C trace context of the span that is current, or None.
        tracestate: Its companion, or None.

    """

    request_id: str
    tenant: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


_current: ContextVar[RequestContext | Callable[[], RequestContext] | None] = ContextVar(
    "mainstay_request", default=None
)


def current() -> RequestContext | None:
    """Return the request that is being worked on, or None outside of any."""
    found = _current.get()
    return found() if callable(found) else found


@contextmanager
def use(context: RequestContext) -> Iterator[RequestContext]:
    """Make `context` current within the block."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


@contextmanager
def request(
    *, request_id: str | None = None, tenant: str | None = None
) -> Iterator[RequestContext]:
    """Begin a request: within the block every SDK call carries its id and tenant.

    Without a `request_id` one is made. The trace context of an enclosing request is kept.
    """
    outer = current()
    with use(
        RequestContext(
            request_id=request_id or new_request_id(),
            tenant=tenant or (outer.tenant if outer else None),
            traceparent=outer.traceparent if outer else None,
            tracestate=outer.tracestate if outer else None,
        )
    ) as context:
        yield context


def new_request_id() -> str:
    """Return a fresh UUIDv7 (RFC 9562): sorts by creation time to the millisecond."""
    millis = time.time_ns() // 1_000_000
    value = (millis << 80) | int.from_bytes(os.urandom(10))
    value = (value & ~(0xF << 76)) | (7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(int=value))


def set_current(make: Callable[[], RequestContext]) -> None:
    """Make a request current for the rest of this task; for servers, where a task is one call.

    It is made when somebody asks for it: most calls of a cache never do.
    """
    _current.set(make)
