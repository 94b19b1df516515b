"""A denied decision as the error that it is for those who cannot go on."""

from mainstay.errors import AiQuotaError, MainstayError, RateLimitError, RateLimitStoreError
from mainstay.ratelimit.results import Decision, DenialReason


def denied(decision: Decision, subject: str) -> MainstayError:
    """Return the error that `enforce` would raise for such a denial, with the same facts."""
    limit = f"limit {decision.limit} of the rule {decision.rule}"
    return _error(RateLimitError, decision, subject, limit)


def over_budget(decision: Decision, subject: str) -> MainstayError:
    """Return the error for a denial by an AI budget."""
    return _error(AiQuotaError, decision, subject, f"budget {decision.rule}")


def _error(
    kind: type[MainstayError], decision: Decision, subject: str, limit: str
) -> MainstayError:
    facts = {
        "subject": subject,
        "rule": decision.rule,
        "plan": decision.plan,
        "policy_version": str(decision.policy_version),
        **decision.headers,
    }
    if decision.reason is DenialReason.STORE_UNAVAILABLE:
        return RateLimitStoreError(
            f"the counters cannot be reached, and the rule {decision.rule} is closed meanwhile; "
            "retry with backoff",
            metadata=facts,
        )
    if decision.reason is DenialReason.COST_ABOVE_LIMIT:
        return kind(
            f"{subject} asked for more than the {limit}, which can never pass; ask for less, or "
            "have it raised",
            reason="COST_ABOVE_LIMIT",
            metadata=facts,
        )
    return kind(
        f"{subject} has used up the {limit}; wait for retry_after",
        metadata=facts,
        retry_after=decision.retry_after,
    )
