"""Between the messages on the wire and the values that callers see."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.errors import ValidationError
from mainstay.ratelimit.messages import mistyped
from mainstay.ratelimit.results import (
    Act,
    Algorithm,
    Decision,
    DenialReason,
    FailureMode,
    LimitState,
    Measure,
)
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb

MAX_COST = 1_000_000
_MAX_TOKENS = 100_000_000
_MICROSECONDS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

E = TypeVar("E", bound=Enum)


def by_number(prefix: str, kind: type[E]) -> dict[int, E]:
    """Return the values of an enumeration by their numbers on the wire."""
    return {
        number: kind[name.removeprefix(prefix)]
        for name, number in vars(pb).items()
        if name.startswith(prefix) and name.removeprefix(prefix) in kind.__members__
    }


_DENIAL_REASONS = by_number("DENIAL_REASON_", DenialReason)
_FAILURE_MODES = by_number("FAILURE_MODE_", FailureMode)
_ALGORITHMS = by_number("ALGORITHM_", Algorithm)
_MEASURES = by_number("MEASURE_", Measure)


def decision(message: pb.Decision) -> Decision:
    """Return a decision."""
    state = message.limit if message.HasField("limit") else None
    return Decision(
        # An outcome that only newer services know is no permission.
        allowed=message.outcome == pb.OUTCOME_ALLOWED,
        rule=message.rule,
        plan=message.plan,
        limit=state.limit if state else None,
        window=_window(state) if state else None,
        remaining=state.remaining if state else None,
        reset_time=_reset_time(state) if state else None,
        retry_after=seconds(message.retry_after) if message.HasField("retry_after") else None,
        headers={header.name: header.value for header in message.headers},
        reason=denial_reason(message.reason) if message.reason else None,
        failure_mode=failure_mode(message.failure_mode) if message.degraded else None,
        limits=limit_states(message.limits) if message.limits else (),
        decide_time=utc(message.decide_time) if message.HasField("decide_time") else None,
        policy_version=message.policy_version,
        shadow_denied_by=_shadow_denied_by(message.limits or (message.limit,)),
    )


def _shadow_denied_by(states: Iterable[pb.LimitState]) -> tuple[str, ...]:
    rules = [state.rule for state in states if state.shadow and not state.admits]
    return tuple(dict.fromkeys(rules)) if rules else ()


def limit_states(messages: Iterable[pb.LimitState]) -> tuple[LimitState, ...]:
    """Return the states of several limits."""
    return tuple(_limit_state(message) for message in messages)


def _limit_state(message: pb.LimitState) -> LimitState:
    waits = message.HasField("retry_after")
    return LimitState(
        rule=message.rule,
        limit=message.limit,
        window=_window(message),
        remaining=message.remaining,
        reset_time=_reset_time(message),
        algorithm=algorithm(message.algorithm),
        measure=measure(message.measure),
        admits=message.admits,
        shadow=message.shadow,
        retry_after=seconds(message.retry_after) if waits else None,
        burst=message.burst,
    )


def _window(state: pb.LimitState) -> float | None:
    return seconds(state.window) if state.HasField("window") else None


def _reset_time(state: pb.LimitState) -> datetime | None:
    return utc(state.reset_time) if state.HasField("reset_time") else None


def denial_reason(number: int) -> DenialReason:
    """Return the reason behind a number of the wire; one of a newer service is UNKNOWN."""
    return _DENIAL_REASONS.get(number, DenialReason.UNKNOWN)


def failure_mode(number: int) -> FailureMode:
    """Return the mode behind a number of the wire; one of a newer service is UNKNOWN."""
    return _FAILURE_MODES.get(number, FailureMode.UNKNOWN)


def algorithm(number: int) -> Algorithm:
    """Return the algorithm behind a number of the wire; one of a newer service is UNKNOWN."""
    return _ALGORITHMS.get(number, Algorithm.UNKNOWN)


def measure(number: int) -> Measure:
    """Return the measure behind a number of the wire; one of a newer service is UNKNOWN."""
    return _MEASURES.get(number, Measure.UNKNOWN)


def acts(given: Iterable[Act], name: str) -> list[pb.Act]:
    """Return acts as messages; refuses what a message has no room for."""
    messages = []
    for number, act in enumerate(given):
        at = f"{name}[{number}]."
        cost, plan = countable(act.cost, f"{at}cost"), act.plan or ""
        try:
            messages.append(
                pb.Act(subject=act.subject, endpoint=act.endpoint, plan=plan, cost=cost)
            )
        except TypeError as error:
            fields = {"subject": act.subject, "endpoint": act.endpoint, "plan": plan, "cost": cost}
            raise mistyped(pb.Act, fields, at) or error from None
    return messages


def countable(amount: int, field: str = "cost", *, least: int = 1, most: int = MAX_COST) -> int:
    """Return an amount, or refuse here what the message has no room for, as the service would."""
    if isinstance(amount, int) and least <= amount <= most:
        return amount
    mistake = f"is {amount!r}; give {least:,} to {most:,}"
    raise ValidationError(f"the {field} {mistake}", fields={field: mistake})


def tokens(number: int, field: str) -> int:
    """Return a number of tokens of an AI call, or refuse it as the service would."""
    return countable(number, field, least=0, most=_MAX_TOKENS)


def utc(timestamp: Timestamp) -> datetime:
    """Return a moment as an aware datetime in UTC."""
    return _EPOCH + timedelta(0, timestamp.seconds, timestamp.nanos // 1000)


def moment(time: datetime, field: str) -> Timestamp:
    """Return a moment as a message; refuses one that belongs to no time zone."""
    if time.tzinfo is None:
        mistake = "has no time zone; give datetime(..., tzinfo=UTC)"
        raise ValidationError(f"the {field} {mistake}", fields={field: mistake})
    since = time - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1000)


def optional_moment(time: datetime | None, field: str) -> Timestamp | None:
    """Return a moment as a message, or None where the service's default is meant."""
    return None if time is None else moment(time, field)


def seconds(length: Duration) -> float:
    """Return a length of time in seconds."""
    return (length.seconds * _MICROSECONDS + length.nanos // 1000) / _MICROSECONDS


def length_of(message: Duration) -> timedelta:
    """Return a length of time."""
    return timedelta(0, message.seconds, message.nanos // 1000)


def duration(length: timedelta) -> Duration:
    """Return a length of time as a message; a negative one travels too, to be refused by name."""
    if not isinstance(length, timedelta):  # who checks no types finds out here
        raise TypeError(f"{length!r} is no length of time; give a timedelta(seconds=...)")
    micros = length // timedelta(microseconds=1)
    message = Duration()
    message.FromMicroseconds(micros)
    return message


def optional_duration(length: timedelta | None) -> Duration | None:
    """Return a length of time as a message, or None where the service's default is meant."""
    return None if length is None else duration(length)
