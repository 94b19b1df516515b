"""A decision as HTTP response headers, in the dialects that clients read.

`X-RateLimit-*` is what most APIs send, with the reset in seconds from now. `RateLimit-Policy` and
`RateLimit` are of the IETF's draft-ietf-httpapi-ratelimit-headers-10: a policy has a name, a quota
(q) and a window (w), the state says what remains (r) and in how many seconds all is back (t).
"""

from services.ratelimit.decision import Decision
from services.ratelimit.policy import SECOND


def response_headers(decision: Decision) -> list[tuple[str, str]]:
    """Return names in lower case with their values; nothing for what is unlimited."""
    state = decision.state
    if state is None:
        return []
    reset = _seconds(state.reset_after)
    headers = [
        ("x-ratelimit-limit", str(state.limit.quota)),
        ("x-ratelimit-remaining", str(state.remaining)),
        ("x-ratelimit-reset", str(reset)),
        (
            "ratelimit-policy",
            f'"{decision.rule}";q={state.limit.quota};w={_seconds(state.limit.window)}',
        ),
        ("ratelimit", f'"{decision.rule}";r={state.remaining};t={reset}'),
    ]
    if decision.retry_after is not None:
        headers.append(("retry-after", str(_seconds(decision.retry_after))))
    return headers


def _seconds(microseconds: int) -> int:
    """Round up: who waits this long has waited long enough."""
    return -(-microseconds // SECOND)
