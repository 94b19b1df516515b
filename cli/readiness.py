"""Whether a service takes calls, as its operations port says."""

import json

from cli.credentials import https_of_whoever
from cli.probe import HTTP_OK, ProbeError, http_get


async def why_not_ready(address: str, name: str, *, seconds: float = 2.0) -> str:
    """Return why the service of this name does not take calls there; empty if it does."""
    try:
        status, body = await http_get(address, "/readyz", seconds=seconds, tls=https_of_whoever())
    except ProbeError as exc:
        return str(exc)
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or answer.get("service") != name:
        return f"something else answers (HTTP {status})"
    return "" if status == HTTP_OK else f"not ready (HTTP {status})"
