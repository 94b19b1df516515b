"""Calls to paste into a terminal, for a suite that runs."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.credentials import API_KEY, http_scheme, speaks_tls
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
    over_tls, scheme = speaks_tls(), http_scheme()
    yield "Calls to paste, with grpcurl:"
    for call in EXAMPLES:
        address, request = layout.service(call.service).address, json.dumps(call.request)
        flags = _flags("-") if over_tls else f"-plaintext {_flags('-')}"
        yield f"  grpcurl {flags}-d '{request}' {address} {call.method}"
    yield f"or with buf{_place_of_buf()}:"
    for call in EXAMPLES:
        address, request = layout.service(call.service).address, json.dumps(call.request)
        flags = _flags("--") if over_tls else f"--http2-prior-knowledge {_flags('--')}"
        url = f"{'https' if over_tls else 'http'}://{address}/{call.method}"
        yield f"  buf curl {flags}--protocol grpc -d '{request}' {url}"
    yield "and over HTTP:"
    yield f"  curl {_flags('--')}{scheme}://{layout.http_address}/health"
    yield "and on each operations port, here that of cache:"
    yield f"  curl {_flags('--')}{scheme}://{layout.service('cache').ops_address}/metrics"


def _flags(dashes: str) -> str:
    """Return what a tool needs to prove itself and to know the service, by name: no secrets."""
    files = {
        "cacert": "MAINSTAY_TLS_CA",
        "cert": "MAINSTAY_TLS_CLIENT_CERTIFICATE",
        "key": "MAINSTAY_TLS_CLIENT_KEY",
    }
    given = [f'{dashes}{flag} "${name}" ' for flag, name in files.items() if os.environ.get(name)]
    if os.environ.get(API_KEY):
        given.append(f'-H "authorization: Bearer ${API_KEY}" ')
    return "".join(given)


def _place_of_buf() -> str:
    """Say where it is, if it came with the other tools of this project."""
    folder = Path(sys.executable).parent
    return f" (in {shown(folder)})" if (folder / "buf").exists() else ""
