"""From the nouns of the rate limits to protobuf."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from services.ratelimit import fixed_window
from services.ratelimit.decision import Decision, DenialReason, LimitState, PlanSource
from services.ratelimit.headers import response_headers
from services.ratelimit.overrides import Override
from services.ratelimit.policy import (
    SECOND,
    Algorithm,
    FailureMode,
    Limit,
    LimitSource,
    Measure,
    Rule,
)

FAILURE_MODES = {
    FailureMode.OPEN: pb.FAILURE_MODE_OPEN,
    FailureMode.CLOSED: pb.FAILURE_MODE_CLOSED,
    FailureMode.LOCAL: pb.FAILURE_MODE_LOCAL,
}
ALGORITHMS = {
    Algorithm.SLIDING_WINDOW: pb.ALGORITHM_SLIDING_WINDOW,
    Algorithm.GCRA: pb.ALGORITHM_GCRA,
    Algorithm.FIXED_WINDOW: pb.ALGORITHM_FIXED_WINDOW,
    Algorithm.CONCURRENCY: pb.ALGORITHM_CONCURRENCY,
}
MEASURES = {
    Measure.COST: pb.MEASURE_COST,
    Measure.TOKENS: pb.MEASURE_TOKENS,
    Measure.MONEY: pb.MEASURE_MONEY,
}
DENIAL_REASONS = {
    DenialReason.LIMIT: pb.DENIAL_REASON_LIMIT,
    DenialReason.COST_ABOVE_LIMIT: pb.DENIAL_REASON_COST_ABOVE_LIMIT,
    DenialReason.STORE_UNAVAILABLE: pb.DENIAL_REASON_STORE_UNAVAILABLE,
}
PLAN_SOURCES = {
    PlanSource.CALL: pb.PLAN_SOURCE_CALL,
    PlanSource.ASSIGNED: pb.PLAN_SOURCE_ASSIGNED,
    PlanSource.NONE: pb.PLAN_SOURCE_NONE,
    PlanSource.UNKNOWN: pb.PLAN_SOURCE_UNKNOWN,
    PlanSource.REMOVED: pb.PLAN_SOURCE_REMOVED,
}
LIMIT_SOURCES = {
    LimitSource.DEFAULT: pb.LIMIT_SOURCE_DEFAULT,
    LimitSource.PLAN: pb.LIMIT_SOURCE_PLAN,
    LimitSource.TENANT: pb.LIMIT_SOURCE_TENANT,
    LimitSource.TENANT_PLAN: pb.LIMIT_SOURCE_TENANT_PLAN,
    LimitSource.OVERRIDE: pb.LIMIT_SOURCE_OVERRIDE,
}

# Looking them up in their module costs as much as filling two fields.
_ALLOWED, _DENIED = pb.OUTCOME_ALLOWED, pb.OUTCOME_DENIED


def timestamp(microseconds: int) -> Timestamp:
    """Return a time given in microseconds since 1970."""
    whole, rest = divmod(microseconds, SECOND)
    return Timestamp(seconds=whole, nanos=rest * 1_000)


def duration(microseconds: int) -> Duration:
    """Return a length of time given in microseconds."""
    whole, rest = divmod(microseconds, SECOND)
    return Duration(seconds=whole, nanos=rest * 1_000)


class _Words:
    """What messages say of a limit whatever is left of it, as bytes to begin a message with.

    By identity: what is asked again and again is made once. Entries keep their limits alive, so
    that no other one can have its identity.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[Rule, Limit, bytes]] = {}

    def of(self, rule: Rule, limit: Limit) -> bytes:
        """Return the beginning of a `LimitState`."""
        key = (id(rule), id(limit))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MOST_WORDS:
                self._known.clear()
            known = self._known[key] = (rule, limit, _limit_words(rule, limit))
        return known[2]


_MOST_WORDS = 8192
_words = _Words()


def _limit_words(rule: Rule, limit: Limit) -> bytes:
    message = pb.LimitState(
        limit=limit.quota,
        window=duration(limit.window) if limit.window else None,
        rule=rule.name,
        algorithm=ALGORITHMS[rule.algorithm],
        measure=MEASURES[rule.measure],
        shadow=rule.shadow,
        burst=limit.burst,
    )
    return message.SerializeToString()


def decision_message(decision: Decision, *, headers: bool = True) -> pb.Decision:
    """Return a decision as callers get it."""
    message = pb.Decision(
        outcome=_ALLOWED if decision.allowed else _DENIED,
        rule=decision.rule,
        policy_version=decision.policy_version,
    )
    # Assigning what is there costs less than passing what is not.
    if decision.plan:
        message.plan = decision.plan
    moment = message.decide_time
    moment.seconds, rest = divmod(decision.decided_at, SECOND)
    moment.nanos = rest * 1_000
    state = decision.state
    if state is None:
        return message
    _fill(message.limit, state)
    if not decision.allowed:
        _tell_denial(message, decision)
    if state.degraded is not None:
        message.degraded = True
        message.failure_mode = FAILURE_MODES[state.degraded]
    if len(decision.states) > 1:
        message.limits.extend(map(limit_state_message, decision.states))
    if headers:
        add = message.headers.add
        for name, value in response_headers(decision):
            add(name=name, value=value)
    return message


def _tell_denial(message: pb.Decision, decision: Decision) -> None:
    if decision.reason is not None:
        message.reason = DENIAL_REASONS[decision.reason]
    if decision.retry_after is not None:
        message.retry_after.CopyFrom(duration(decision.retry_after))


def limit_state_message(state: LimitState) -> pb.LimitState:
    """Return the state of one limit."""
    message = pb.LimitState()
    _fill(message, state)
    return message


def _fill(message: pb.LimitState, state: LimitState) -> None:
    message.MergeFromString(_words.of(state.rule, state.limit))
    message.remaining = state.remaining
    if state.admits:
        message.admits = True
    if state.limit.calendar is not None:
        message.window.CopyFrom(duration(fixed_window.length(state.limit, state.now)))
    moment = message.reset_time
    moment.seconds, rest = divmod(state.reset_at, SECOND)
    moment.nanos = rest * 1_000
    if state.retry_after is not None:
        message.retry_after.CopyFrom(duration(state.retry_after))


def override_message(override: Override) -> pb.Override:
    """Return what was decided for one subject alone."""
    return pb.Override(
        subject=override.subject,
        rule=override.rule,
        limits=override.written,
        expire_time=timestamp(override.expires_at),
        reason=override.reason,
        creator=override.creator,
        create_time=timestamp(override.created_at),
        etag=override.etag,
    )
