"""Errors as HTTP answers: problem JSON (RFC 9457) with nothing internal in it."""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from mainstay.errors import InternalError, MainstayError, RateLimitError

# Of draft-ietf-httpapi-ratelimit-headers-10, for answers that a rate limit gives.
_QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
# No client waits for longer, nor for what is no number.
_LONGEST_WAIT = 1e9
# What errors of rate limits know of the limit that denied.
_LIMIT_HEADERS = (
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-policy",
    "ratelimit",
)


class Answer(NamedTuple):
    """A status with a body, and headers beside those that every answer has."""

    status: int
    problem: Mapping[str, Any]
    headers: Mapping[str, str]

    def body(self) -> bytes:
        """Return the problem as JSON."""
        return json.dumps(self.problem).encode()


def failure(error: Exception, request_id: str) -> Answer:
    """Return the answer to a request that failed: its kind, and the id to ask the operators for."""
    known = error if isinstance(error, MainstayError) else InternalError("")
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": known.user_message,
        "status": known.http_status,
        "code": known.reason,
        "request_id": request_id,
    }
    headers = {}
    if isinstance(known, RateLimitError):
        headers = {name: known.metadata[name] for name in _LIMIT_HEADERS if name in known.metadata}
        if rule := known.metadata.get("rule"):
            problem |= {"type": _QUOTA_EXCEEDED, "violated-policies": [rule]}
    if known.retry_after is not None and 0 <= known.retry_after <= _LONGEST_WAIT:
        problem["retry_after"] = wait = math.ceil(known.retry_after)
        headers["retry-after"] = str(wait)
    return Answer(known.http_status, problem, headers)
