"""How a function's jobs are run, beside its code: caps, rates, folding and overflow.

Lengths of time are seconds or `timedelta`s. Keys are JSON pointers into the payload, such as
`/creator_id`.
"""

from dataclasses import dataclass
from enum import Enum

from mainstay.jobs.durations import Duration, in_seconds, to_wire
from mainstay.jobs.v1 import function_pb2 as pb


class VersionPolicy(Enum):
    """What becomes of a job with finished steps when a worker of another version takes it up."""

    UNKNOWN = "unknown"
    """A policy that only a newer version of this package knows; not to be declared."""
    CONTINUE = "continue"
    """The new code goes on with the results of the old one's steps."""
    PIN = "pin"
    """It waits for a worker of its own version."""
    FAIL = "fail"
    """It is dead-lettered, with `VersionChanged`."""


class OverflowPolicy(Enum):
    """What happens to jobs for which a queue has no room."""

    UNKNOWN = "unknown"
    """A policy that only a newer version of this package knows; not to be declared."""
    REJECT = "reject"
    """The call that sends the event fails with QueueFullError, and nothing of it is accepted."""
    SHED_OLDEST = "shed_oldest"
    """The jobs that have waited longest are dead-lettered, with `Shed`."""
    SPILL = "spill"
    """The new jobs are accepted and put off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedConcurrency:
    """A cap for each key: at most `limit` jobs, 1 to 10,000, of one tenant and one key run at once.

    Jobs without a value at the pointer `key` share a key.
    """

    key: str
    limit: int

    def to_wire(self) -> pb.KeyedConcurrency:
        """Return the option for the wire."""
        return pb.KeyedConcurrency(key=self.key, limit=self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A budget of the rate limit service that each start draws from.

    Attributes:
        endpoint: What is asked about, as policies of the rate limit service name it.
        subject: Who is asked about; empty means the job's tenant. A JSON pointer means the value
            there, and has to be the function's `KeyedConcurrency.key` if that has one.

    """

    endpoint: str
    subject: str = ""

    def to_wire(self) -> pb.RateLimit:
        """Return the option for the wire."""
        return pb.RateLimit(endpoint=self.endpoint, subject=self.subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Debounce:
    """Folds events that come in quick succession into one job, which gets the last one's payload.

    Attributes:
        period: How long nothing may come for the same key before the job starts, 1 s to 7 days.
        key: A JSON pointer; empty folds all events of a tenant.
        max_wait: How long later events may hold up the first one; None is 10 times the period.

    """

    period: Duration
    key: str = ""
    max_wait: Duration | None = None

    def to_wire(self) -> pb.Debounce:
        """Return the option for the wire."""
        debounce = pb.Debounce(period=to_wire(in_seconds(self.period)), key=self.key)
        if self.max_wait is not None:
            debounce.max_wait.CopyFrom(to_wire(in_seconds(self.max_wait)))
        return debounce


@dataclass(frozen=True, slots=True, kw_only=True)
class Overflow:
    """How full the function's queue may be, for each tenant, and what happens beyond.

    Attributes:
        policy: What happens to what is too much.
        max_depth: How many jobs may be ready; 0 means any number.
        max_age: How long the one that has waited longest may have waited; None means any time.
        max_bytes: How many bytes the payloads of ready jobs may take; 0 means any number.
        spill_delay: How long a job that spills is put off; None is 60 s.

    """

    policy: OverflowPolicy = OverflowPolicy.REJECT
    max_depth: int = 0
    max_age: Duration | None = None
    max_bytes: int = 0
    spill_delay: Duration | None = None

    def to_wire(self) -> pb.Overflow:
        """Return the option for the wire."""
        overflow = pb.Overflow(
            max_depth=self.max_depth, max_bytes=self.max_bytes, policy=_OVERFLOWS[self.policy]
        )
        if self.max_age is not None:
            overflow.max_age.CopyFrom(to_wire(in_seconds(self.max_age)))
        if self.spill_delay is not None:
            overflow.spill_delay.CopyFrom(to_wire(in_seconds(self.spill_delay)))
        return overflow


WIRE_VERSION_POLICIES = {
    VersionPolicy.CONTINUE: pb.VERSION_POLICY_CONTINUE,
    VersionPolicy.PIN: pb.VERSION_POLICY_PIN,
    VersionPolicy.FAIL: pb.VERSION_POLICY_FAIL,
}
_OVERFLOWS = {
    OverflowPolicy.REJECT: pb.OVERFLOW_POLICY_REJECT,
    OverflowPolicy.SHED_OLDEST: pb.OVERFLOW_POLICY_SHED_OLDEST,
    OverflowPolicy.SPILL: pb.OVERFLOW_POLICY_SPILL,
}
