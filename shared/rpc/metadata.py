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
MAX_METADATA_BYTES = 16 * 1024

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
    size: int


def read_metadata(pairs: Iterable[tuple[str, str | bytes]] | None) -> CallMetadata:
    """Pick our headers.

    A request id that is missing or unfit is replaced by a new one, a broken trace context dropped.
    """
    request_id = tenant = traceparent = tracestate = ""
    size = 0
    for key, value in pairs or ():
        size += len(key) + len(value)
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
        size=size,
    )


def check_size(size: int) -> None:
    """Refuse metadata that is too large.

    The transport does so too, but only once the caller has acknowledged its settings.
    """
    if size > MAX_METADATA_BYTES:
        raise ValidationError(
            f"the metadata of the call is {size} bytes, more than {MAX_METADATA_BYTES}",
            fields={"metadata": f"at most {MAX_METADATA_BYTES} bytes in all"},
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
