"""A denial as an error, for those who want one."""

from typing import NoReturn

from mainstay.errors import MainstayError, RateLimitError, RateLimitStoreError
from services.ratelimit.decision import Decision, DenialReason
from services.ratelimit.headers import response_headers
from services.ratelimit.policy import SECOND


def raise_denied(decision: Decision, subject: str) -> None:
    """Raise what a denied decision means; return when it is allowed."""
    if not decision.allowed:
        _raise(decision, subject)


def _raise(decision: Decision, subject: str) -> NoReturn:
    raise _error(decision, subject)


def _error(decision: Decision, subject: str) -> MainstayError:
    metadata = {
        "subject": subject,
        "rule": decision.rule,
        "plan": decision.plan,
        "policy_version": str(decision.policy_version),
        **dict(response_headers(decision)),
    }
    state, wait = decision.state, decision.retry_after
    if decision.reason is DenialReason.STORE_UNAVAILABLE or state is None:
        return RateLimitStoreError(
            f"the counters cannot be reached, and the rule {decision.rule} is closed meanwhile; "
            "retry with backoff",
            metadata=metadata,
        )
    limit = f"{state.limit.written or state.limit.quota} of the rule {decision.rule}"
    if decision.reason is DenialReason.COST_ABOVE_LIMIT:
        return RateLimitError(
            f"the cost is above the limit {limit} and can never pass; ask for less, or have the "
            "limit raised",
            reason="COST_ABOVE_LIMIT",
            metadata=metadata,
        )
    return RateLimitError(
        f"the limit {limit} is used up; wait for retry_after",
        metadata=metadata,
        retry_after=None if wait is None else wait / SECOND,
    )
