"""Calls to paste into a terminal, for a suite that runs."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.layout import Layout
from cli.paths import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleCall:
    """One call: to which service, which method, with which request."""

    service: str
    method: str
    request: dict[str, Any]


EXAMPLES = (
    ExampleCall(
        service="ratelimit",
        method="mainstay.ratelimit.v1.RateLimitService/Check",
        request={"subject": "user:42", "endpoint": "/api/chat", "plan": "pro"},
    ),
    ExampleCall(
        service="cache",
        method="mainstay.cache.v1.CacheService/Set",
        request={
            "namespace": "video",
            "key": "42",
            "value": "aGVsbG8=",
            "ttl_class": "video_metadata",
        },
    ),
    ExampleCall(
        service="cache",
        method="mainstay.cache.v1.CacheService/Get",
        request={"namespace": "video", "key": "42"},
    ),
    ExampleCall(service="health", method="mainstay.health.v1.HealthService/GetReport", request={}),
)


def calls_to_paste(layout: Layout) -> Iterator[str]:
    """Yield each example for `grpcurl`, then for `buf curl`, then for `curl`."""
    yield "Calls to paste, with grpcurl:"
    for call in EXAMPLES:
        address = layout.service(call.service).address
        yield f"  grpcurl -plaintext -d '{json.dumps(call.request)}' {address} {call.method}"
    yield f"or with buf{_place_of_buf()}:"
    for call in EXAMPLES:
        address = layout.service(call.service).address
        yield (
            f"  buf curl --http2-prior-knowledge --protocol grpc -d '{json.dumps(call.request)}' "
            f"http://{address}/{call.method}"
        )
    yield "and over HTTP:"
    yield f"  curl http://{layout.http_address}/health"
    yield "and on each operations port, here that of cache:"
    yield f"  curl http://{layout.service('cache').ops_address}/metrics"


def _place_of_buf() -> str:
    """Say where it is, if it came with the other tools of this project."""
    folder = Path(sys.executable).parent
    return f" (in {shown(folder)})" if (folder / "buf").exists() else ""
