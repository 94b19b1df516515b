"""A decision as HTTP response headers, in the dialects that clients read.

`X-RateLimit-*` is what most APIs send, with the reset in seconds from now. `RateLimit-Policy` and
`RateLimit` are of the IETF's draft-ietf-httpapi-ratelimit-headers-10: a policy has a name, a quota
(q) and a window (w), the state says what remains (r) and in how many seconds all is back (t). Of
several limits the first dialect tells the one that decides, the second all of them.
"""

from functools import lru_cache

from services.ratelimit import fixed_window
from services.ratelimit.decision import Decision, LimitState, capacity
from services.ratelimit.policy import SECOND


def response_headers(decision: Decision) -> list[tuple[str, str]]:
    """Return names in lower case with their values; nothing for what is unlimited.

    Nor for a rule that only watches: a client would hold back for something that never denies.
    """
    state = decision.state
    if state is None or state.rule.shadow:
        return []
    reset = str(seconds(state.reset_after))
    policies, states = _ietf(decision.states)
    headers = [
        ("x-ratelimit-limit", str(capacity(state.limit))),
        ("x-ratelimit-remaining", str(state.remaining)),
        ("x-ratelimit-reset", reset),
        ("ratelimit-policy", policies),
        ("ratelimit", states),
    ]
    retry_after = decision.retry_after
    if retry_after is not None:
        headers.append(("retry-after", str(seconds(retry_after))))
    return headers


def seconds(microseconds: int) -> int:
    """Round up: who waits this long has waited long enough."""
    return -(-microseconds // SECOND)


def _ietf(states: tuple[LimitState, ...]) -> tuple[str, str]:
    """Return the policies and their states; names are unique within an answer."""
    policies, told, seen = [], [], dict[str, int]()
    for state in states:
        if state.rule.shadow:
            continue
        name = state.rule.name
        seen[name] = position = seen.get(name, 0) + 1
        if position > 1:
            name = f"{name}_{position}"
        window = fixed_window.length(state.limit, state.now)
        policies.append(_policy(name, state.limit.quota, window))
        told.append(f'"{name}";r={state.remaining};t={seconds(state.reset_after)}')
    return ", ".join(policies), ", ".join(told)


@lru_cache(maxsize=1024)
def _policy(name: str, quota: int, window: int) -> str:
    length = f";w={seconds(window)}" if window else ""
    return f'"{name}";q={quota}{length}'
