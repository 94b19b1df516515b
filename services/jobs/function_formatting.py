"""From declared functions to messages."""

from mainstay.jobs.v1 import function_pb2 as pb
from services.jobs.function import FunctionDefinition, OverflowPolicy, VersionPolicy
from services.jobs.wire_times import duration

_VERSION_POLICIES = {
    VersionPolicy.CONTINUE: pb.VERSION_POLICY_CONTINUE,
    VersionPolicy.PIN: pb.VERSION_POLICY_PIN,
    VersionPolicy.FAIL: pb.VERSION_POLICY_FAIL,
}
_OVERFLOW_POLICIES = {
    OverflowPolicy.REJECT: pb.OVERFLOW_POLICY_REJECT,
    OverflowPolicy.SHED_OLDEST: pb.OVERFLOW_POLICY_SHED_OLDEST,
    OverflowPolicy.SPILL: pb.OVERFLOW_POLICY_SPILL,
}


def function_message(function: FunctionDefinition) -> pb.FunctionDefinition:
    """Return a declaration; parts that it does not use stay unset."""
    message = pb.FunctionDefinition(
        name=function.name,
        trigger=function.trigger,
        max_attempts=function.max_attempts,
        initial_backoff=duration(function.backoff.initial),
        max_backoff=duration(function.backoff.maximum),
        version=function.version,
        version_policy=_VERSION_POLICIES[function.version_policy],
        timeout=duration(function.timeout),
        hang_timeout=duration(function.hang_timeout),
        start_timeout=duration(function.start_timeout),
        priority=function.priority,
        concurrency=function.concurrency,
        idempotency=function.idempotency,
    )
    if function.key_limit:
        message.keyed_concurrency.key = function.key_pointer
        message.keyed_concurrency.limit = function.key_limit
    if (rate := function.rate_limit) is not None:
        message.rate_limit.CopyFrom(pb.RateLimit(endpoint=rate.endpoint, subject=rate.subject))
    if (debounce := function.debounce) is not None:
        message.debounce.CopyFrom(
            pb.Debounce(
                period=duration(debounce.period),
                key=debounce.key,
                max_wait=duration(debounce.max_wait),
            )
        )
    if (overflow := function.overflow) is not None:
        message.overflow.CopyFrom(
            pb.Overflow(
                max_depth=overflow.max_depth,
                max_age=duration(overflow.max_age),
                max_bytes=overflow.max_bytes,
                policy=_OVERFLOW_POLICIES[overflow.policy],
                spill_delay=duration(overflow.spill_delay),
            )
        )
    return message
