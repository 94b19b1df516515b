"""Functions as workers have declared them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from mainstay.jobs.conversions import by_number, length_of
from mainstay.jobs.function_options import (
    Debounce,
    KeyedConcurrency,
    Overflow,
    OverflowPolicy,
    RateLimit,
    VersionPolicy,
)
from mainstay.jobs.v1 import function_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredFunction:
    """A function as workers last declared it.

    Attributes:
        name: Unique within the tenant; that of its queue, too.
        trigger: The event that starts it; empty for one that is only enqueued or invoked.
        max_attempts: How often it is tried in all.
        initial_backoff: The wait before the second attempt; it doubles with each further one.
        max_backoff: The longest wait between attempts.
        version: The version of its code; empty for none.
        version_policy: What becomes of jobs when the code has changed.
        timeout: How long one turn may take; None for any time.
        hang_timeout: How long a job may give no sign of life; None for the service's own.
        start_timeout: How long a job may wait for its first attempt; None for any time.
        priority: Of jobs that wait, those with more go first.
        concurrency: How many of its jobs may run at once; 0 for any number.
        keyed_concurrency: How many of one key may; None for any number.
        rate_limit: The budget that its starts are drawn from; None for none.
        debounce: How events are folded into one job; None when they are not.
        idempotency: A JSON pointer into the payload: of events with the same value there only the
            first within 30 days starts a job. Empty when every event does.
        overflow: How full its queue may be; None without a bound.
        workers: Workers connected that have it; None in lists.
        update_time: When it was last declared otherwise than before; None in lists.

    """

    name: str
    trigger: str
    max_attempts: int
    initial_backoff: timedelta | None
    max_backoff: timedelta | None
    version: str
    version_policy: VersionPolicy
    timeout: timedelta | None
    hang_timeout: timedelta | None
    start_timeout: timedelta | None
    priority: int
    concurrency: int
    keyed_concurrency: KeyedConcurrency | None
    rate_limit: RateLimit | None
    debounce: Debounce | None
    idempotency: str
    overflow: Overflow | None
    workers: int | None = None
    update_time: datetime | None = None


_VERSION_POLICIES = {
    pb.VERSION_POLICY_UNSPECIFIED: VersionPolicy.CONTINUE,
    **by_number(pb.VersionPolicy, "VERSION_POLICY_", VersionPolicy),
}
_OVERFLOW_POLICIES = {
    pb.OVERFLOW_POLICY_UNSPECIFIED: OverflowPolicy.REJECT,
    **by_number(pb.OverflowPolicy, "OVERFLOW_POLICY_", OverflowPolicy),
}


def parse_function(
    function: pb.FunctionDefinition,
    *,
    workers: int | None = None,
    update_time: datetime | None = None,
) -> DeclaredFunction:
    """Return the wire's declaration as ours."""
    return DeclaredFunction(
        name=function.name,
        trigger=function.trigger,
        max_attempts=function.max_attempts,
        initial_backoff=length_of(function, "initial_backoff"),
        max_backoff=length_of(function, "max_backoff"),
        version=function.version,
        version_policy=_VERSION_POLICIES.get(function.version_policy, VersionPolicy.UNKNOWN),
        timeout=length_of(function, "timeout"),
        hang_timeout=length_of(function, "hang_timeout"),
        start_timeout=length_of(function, "start_timeout"),
        priority=function.priority,
        concurrency=function.concurrency,
        keyed_concurrency=_keyed_concurrency(function),
        rate_limit=_rate_limit(function),
        debounce=_debounce(function),
        idempotency=function.idempotency,
        overflow=_overflow(function),
        workers=workers,
        update_time=update_time,
    )


def _keyed_concurrency(function: pb.FunctionDefinition) -> KeyedConcurrency | None:
    if not function.HasField("keyed_concurrency"):
        return None
    keyed = function.keyed_concurrency
    return KeyedConcurrency(key=keyed.key, limit=keyed.limit)


def _rate_limit(function: pb.FunctionDefinition) -> RateLimit | None:
    if not function.HasField("rate_limit"):
        return None
    rate = function.rate_limit
    return RateLimit(endpoint=rate.endpoint, subject=rate.subject)


def _debounce(function: pb.FunctionDefinition) -> Debounce | None:
    if not function.HasField("debounce"):
        return None
    debounce = function.debounce
    return Debounce(
        period=debounce.period.ToTimedelta(),
        key=debounce.key,
        max_wait=length_of(debounce, "max_wait"),
    )


def _overflow(function: pb.FunctionDefinition) -> Overflow | None:
    if not function.HasField("overflow"):
        return None
    overflow = function.overflow
    return Overflow(
        max_depth=overflow.max_depth,
        max_age=length_of(overflow, "max_age"),
        max_bytes=overflow.max_bytes,
        policy=_OVERFLOW_POLICIES.get(overflow.policy, OverflowPolicy.UNKNOWN),
        spill_delay=length_of(overflow, "spill_delay"),
    )
