"""The answer to an act. All times are microseconds."""

from enum import Enum, auto
from typing import NamedTuple

from services.ratelimit.policy import FailureMode, Limit, Rule
from services.ratelimit.verdict import Verdict


class PlanSource(Enum):
    """Where a plan comes from."""

    CALL = auto()
    ASSIGNED = auto()
    NONE = auto()
    UNKNOWN = auto()
    REMOVED = auto()


class DenialReason(Enum):
    """Why an act was denied; the value is for logs and tables."""

    LIMIT = "limit"
    COST_ABOVE_LIMIT = "cost_above_limit"
    STORE_UNAVAILABLE = "store_unavailable"


class LimitState(NamedTuple):
    """How one limit is after a decision.

    Attributes:
        rule: The rule it belongs to.
        limit: The limit itself.
        admits: Whether it admits the cost.
        remaining: What may still be consumed now; zero also when the limit was lowered below what
            had been consumed before.
        reset_at: When all that was consumed will have left, since 1970 by the store's clock.
        now: The store's clock at the decision.
        retry_after: How long until it admits the cost; None when it does, or never will.
        degraded: What decided when the counters could not be reached.
        impossible: Whether the cost is above the limit, so that it can never be admitted.

    """

    rule: Rule
    limit: Limit
    admits: bool
    remaining: int
    reset_at: int
    now: int
    retry_after: int | None
    degraded: FailureMode | None
    impossible: bool

    @property
    def reset_after(self) -> int:
        """Return how long it is until all has left."""
        return self.reset_at - self.now


class Decision(NamedTuple):
    """One verdict and why.

    Attributes:
        allowed: Whether the act may go ahead.
        rule: The rule that decided.
        plan: Whose limit of the rule applied; empty for its default.
        plan_source: Where the subject's plan comes from.
        state: The limit that decided; None for unlimited.
        states: Every limit that was asked.
        reason: Why it was denied; None when it was not.
        decided_at: When, by the store's clock.
        policy_version: The version that was in force.
        act: Which of several acts the limit that decided is of, from 0.

    """

    allowed: bool
    rule: str
    plan: str
    plan_source: PlanSource
    state: LimitState | None
    states: tuple[LimitState, ...]
    reason: DenialReason | None
    decided_at: int
    policy_version: int
    act: int = 0

    @property
    def retry_after(self) -> int | None:
        """Return how long until the same act is allowed if nothing else happens.

        None when it is allowed already or never will be.
        """
        return None if self.allowed or self.state is None else self.state.retry_after

    @property
    def degraded(self) -> FailureMode | None:
        """Return what decided when the counters could not be reached."""
        return None if self.state is None else self.state.degraded


def limit_state(rule: Rule, limit: Limit, cost: int, verdict: Verdict) -> LimitState:
    """Tell a verdict of the store in the policy's words."""
    most = capacity(limit)
    retry_at = verdict.retry_at
    return LimitState(
        rule,
        limit,
        verdict.admits,
        max(0, most - verdict.used),
        verdict.reset_at,
        verdict.now,
        None if retry_at is None else retry_at - verdict.now,
        verdict.degraded,
        cost > most,
    )


def decided(
    rule: str,
    plan: str,
    source: PlanSource,
    states: tuple[LimitState, ...],
    *,
    decided_at: int,
    policy_version: int,
) -> Decision:
    """Return the decision that follows from the states of all limits that were asked.

    `rule` and `plan` are of the first act; the rule of the limit that decides stands before.
    """
    state, allowed = _deciding(states)
    return Decision(
        allowed,
        rule if state is None else state.rule.name,
        plan,
        source,
        state,
        states,
        None if allowed or state is None else denial_reason(state),
        decided_at,
        policy_version,
    )


def _deciding(states: tuple[LimitState, ...]) -> tuple[LimitState | None, bool]:
    """Return the limit that decides and whether it allows."""
    if len(states) == 1:
        state = states[0]
        return state, state.admits or state.rule.shadow
    denying = [state for state in states if not state.admits and not state.rule.shadow]
    if denying:
        return max(denying, key=_wait), False
    binding = [state for state in states if not state.rule.shadow] or states
    return min(binding, key=_share_left, default=None), True


def _wait(state: LimitState) -> float:
    """Return how long a denying limit keeps denying."""
    return float("inf") if state.retry_after is None else state.retry_after


def _share_left(state: LimitState) -> float:
    return state.remaining / capacity(state.limit)


def denial_reason(state: LimitState) -> DenialReason:
    """Return why a limit that does not admit does not."""
    if state.degraded is FailureMode.CLOSED:
        return DenialReason.STORE_UNAVAILABLE
    return DenialReason.COST_ABOVE_LIMIT if state.impossible else DenialReason.LIMIT


def capacity(limit: Limit) -> int:
    """Return the most that may be consumed at once."""
    return limit.burst or limit.quota
