"""What a caller says outside the message: who it is, request id, tenant, trace context."""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from mainstay.context import REQUEST_ID_PATTERN, TRACEPARENT_PATTERN, new_request_id
from mainstay.errors import ValidationError
from shared.rpc.call import ALL_TENANTS, DEFAULT_TENANT, Tenant

REQUEST_ID = "x-request-id"
TENANT = "x-mainstay-tenant"
AUTHORIZATION = "authorization"
MAX_METADATA_BYTES = 16 * 1024

Pairs = Sequence[tuple[str, str]]
"""Headers as grpcio gives them: bytes only under names that end in -bin, and none of ours does."""

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class CallMetadata(NamedTuple):
    """The headers that mean something to us, as received."""

    request_id: str
    tenant: str
    traceparent: str
    tracestate: str
    size: int
    authorization: str


def read_metadata(pairs: Pairs) -> CallMetadata:
    """Pick our headers; of one that is there twice the last counts.

    A request id that is missing or unfit is replaced by a new one, a broken trace context dropped.
    """
    found = dict(pairs)
    request_id = found.get(REQUEST_ID, "")
    traceparent = found.get("traceparent", "")
    traced = bool(traceparent) and TRACEPARENT_PATTERN.fullmatch(traceparent) is not None
    # By position: names would cost every call as much as reading does.
    return CallMetadata(
        request_id if REQUEST_ID_PATTERN.fullmatch(request_id) else new_request_id(),
        found.get(TENANT, ""),
        traceparent if traced else "",
        found.get("tracestate", "") if traced else "",
        sum(map(len, chain.from_iterable(pairs))),
        found.get(AUTHORIZATION, ""),
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
        f"metadata {TENANT} is not a tenant name; write 1 to 64 letters, digits, dots, dashes and "
        "underscores",
        fields={TENANT: "1 to 64 letters, digits, dots, dashes and underscores"},
    )
