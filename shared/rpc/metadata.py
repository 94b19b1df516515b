"""What a caller says outside the message: request id, tenant, trace context."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from mainstay.context import new_request_id
from mainstay.errors import ValidationError
from shared.rpc.call import ALL_TENANTS, DEFAULT_TENANT, Tenant

REQUEST_ID = "x-request-id"
TENANT = "x-mainstay-tenant"
MAX_REQUEST_ID = 128

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Printable ASCII without space and quotes: safe in a log line, a header and a shell.
_REQUEST_ID = re.compile(r"[!#-&(-~]{1,128}")

# W3C Trace Context; the zeros and version ff mean "none".
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


class CallMetadata(NamedTuple):
    """The headers that mean something to us, as received."""

    request_id: str
    tenant: str
    traceparent: str
    tracestate: str


def read_metadata(pairs: Iterable[tuple[str, str | bytes]] | None) -> CallMetadata:
    """Pick our headers.

    A request id that is missing or unfit is replaced by a new one, a broken trace context dropped.
    """
    request_id = tenant = traceparent = tracestate = ""
    for key, value in pairs or ():
        match key:
            case "x-request-id":
                request_id = value if isinstance(value, str) else ""
            case "x-mainstay-tenant":
                tenant = value if isinstance(value, str) else ""
            case "traceparent":
                traceparent = value if isinstance(value, str) else ""
            case "tracestate":
                tracestate = value if isinstance(value, str) else ""
            case _:
                pass
    traced = _TRACEPARENT.fullmatch(traceparent) is not None
    return CallMetadata(
        request_id=request_id if _REQUEST_ID.fullmatch(request_id) else new_request_id(),
        tenant=tenant,
        traceparent=traceparent if traced else "",
        tracestate=tracestate if traced else "",
    )


@lru_cache(maxsize=10_000)
def check_tenant(name: str, *, wildcard: bool) -> Tenant:
    """Return the tenant the caller named, or the default one."""
    if not name:
        return DEFAULT_TENANT
    if _TENANT.fullmatch(name):
        return Tenant(name)
    if wildcard and name == ALL_TENANTS:
        return ALL_TENANTS
    raise ValidationError(
        f"metadata {TENANT} is not a tenant name",
        fields={TENANT: "1 to 64 letters, digits, dots, dashes and underscores"},
    )
