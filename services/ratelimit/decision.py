"""The answer to an act. All times are microseconds."""

from dataclasses import dataclass

from services.ratelimit.policy import Limit, Match
from services.ratelimit.window import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """How much of a limit is left.

    Attributes:
        limit: The limit itself.
        remaining: What may still be consumed now; zero also when the limit was lowered below what
            had been consumed before.
        reset_at: When all that was consumed will have left, since 1970 by the store's clock.
        reset_after: How long until then.

    """

    limit: Limit
    remaining: int
    reset_at: int
    reset_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One verdict and why.

    Attributes:
        allowed: Whether the act may go ahead.
        rule: The rule that decided.
        plan: Whose limit of the rule applied; empty for its default.
        state: What is left; None for unlimited.
        retry_after: How long until the same act is allowed if nothing else happens. None when it
            is allowed already or never will be.

    """

    allowed: bool
    rule: str
    plan: str
    state: LimitState | None
    retry_after: int | None


def unlimited(match: Match) -> Decision:
    """Allow what has no limit."""
    return Decision(allowed=True, rule=match.rule, plan=match.plan, state=None, retry_after=None)


def decided(match: Match, limit: Limit, verdict: Verdict) -> Decision:
    """Tell a verdict of the store in the policy's words."""
    return Decision(
        allowed=verdict.admitted,
        rule=match.rule,
        plan=match.plan,
        state=LimitState(
            limit=limit,
            remaining=max(0, limit.quota - verdict.used),
            reset_at=verdict.reset_at,
            reset_after=verdict.reset_at - verdict.now,
        ),
        retry_after=None if verdict.retry_at is None else verdict.retry_at - verdict.now,
    )
