"""What the rate limits answer with: decisions, leases, reservations. All of it frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum


class DenialReason(Enum):
    """Why an act was denied."""

    LIMIT = "limit"
    """The limit is used up for now."""
    COST_ABOVE_LIMIT = "cost_above_limit"
    """The cost is above the limit and can never pass."""
    STORE_UNAVAILABLE = "store_unavailable"
    """The counters cannot be reached, and then the rule denies."""
    UNKNOWN = "unknown"
    """A reason that only a newer version of this package knows."""


class FailureMode(Enum):
    """What decides while the counters cannot be reached."""

    OPEN = "open"
    """Everything is allowed."""
    CLOSED = "closed"
    """Everything is denied."""
    LOCAL = "local"
    """Every replica of the service allows its share of the limit."""
    UNKNOWN = "unknown"
    """A mode that only a newer version of this package knows."""


class Algorithm(Enum):
    """How a limit counts."""

    SLIDING_WINDOW = "sliding_window"
    """Never more than the limit in any window, wherever it begins."""
    GCRA = "gcra"
    """An even rate, with bursts of their own limit."""
    FIXED_WINDOW = "fixed_window"
    """Windows that follow each other, such as a calendar's months."""
    CONCURRENCY = "concurrency"
    """Places that are held at the same time."""
    UNKNOWN = "unknown"
    """A way that only a newer version of this package knows."""


class Measure(Enum):
    """What a limit counts."""

    COST = "cost"
    """The costs of checks; of a concurrency rule, places."""
    TOKENS = "tokens"
    """Tokens of AI calls."""
    MONEY = "money"
    """Money spent on AI calls, in millionths of a US dollar."""
    UNKNOWN = "unknown"
    """Something that only a newer version of this package knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One thing that a subject wants to do; its attributes are the arguments of `check`."""

    subject: str
    endpoint: str
    plan: str | None = None
    cost: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """One limit after a decision.

    Attributes:
        rule: The rule it belongs to.
        limit: How much may be admitted in any window.
        window: The length of the window in seconds; None for concurrency.
        remaining: What is left now; never below zero.
        reset_time: When all that was consumed so far has left the window, in UTC; None where
            nobody could be asked.
        algorithm: How it counts.
        measure: What it counts.
        admits: Whether it admits the cost.
        shadow: Whether it only watches: it never denies.
        retry_after: Seconds until it admits the cost; None when it does, or never will.
        burst: How much may come at once, where that is not `limit` (gcra); 0 otherwise.

    """

    rule: str
    limit: int
    window: float | None
    remaining: int
    reset_time: datetime | None
    algorithm: Algorithm
    measure: Measure
    admits: bool
    shadow: bool
    retry_after: float | None
    burst: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a subject may act, and what to tell it.

    Attributes:
        allowed: Whether the act may go ahead.
        rule: The rule that decided, as named in the policy.
        plan: The plan whose limit applied; empty for the limit without a plan.
        limit: How much may be admitted in any window; None when unlimited.
        window: The length of the window in seconds; None when unlimited, and for concurrency.
        remaining: What is left now; None when unlimited.
        reset_time: When all that was consumed so far has left the window, in UTC; None when
            unlimited.
        retry_after: Seconds until the same check can pass. Set only when denied and waiting helps.
        headers: The same facts as HTTP response headers with names in lower case, to be copied
            into the answer; empty when unlimited.
        reason: Why it was denied; None when it was not.
        failure_mode: What decided because the counters could not be reached; None when they could.
        limits: Every limit that was asked, when there were several.
        decide_time: When it was decided, in UTC by the store's clock; `refund` takes it.
        policy_version: The version of the policy that was in force; 0 for a file that is not
            stored.
        shadow_denied_by: The rules in shadow that would have denied it.

    """

    allowed: bool
    rule: str
    plan: str
    limit: int | None
    window: float | None
    remaining: int | None
    reset_time: datetime | None
    retry_after: float | None
    headers: Mapping[str, str]
    reason: DenialReason | None = None
    failure_mode: FailureMode | None = None
    limits: tuple[LimitState, ...] = ()
    decide_time: datetime | None = None
    policy_version: int = 0
    shadow_denied_by: tuple[str, ...] = ()

    @property
    def degraded(self) -> bool:
        """Whether it was decided without the counters, by the rule's failure mode."""
        return self.failure_mode is not None

    @property
    def shadow_denied(self) -> bool:
        """Whether a rule in shadow would have denied it."""
        return bool(self.shadow_denied_by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded:
    """What came back, on the limit that got most, and the limits of the rule afterwards.

    `repeated` says that this request id was carried out before: nothing was given back now.
    """

    amount: int
    limits: tuple[LimitState, ...]
    repeated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A place of a concurrency rule that is held.

    Attributes:
        token: Names the lease; opaque.
        expire_time: When the place comes back by itself, in UTC by the store's clock.
        ttl: How long that was from the answer.

    """

    token: str
    expire_time: datetime
    ttl: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired:
    """Whether there was a place; `lease` is None when there was none, or when none is counted."""

    decision: Decision
    lease: Lease | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReservation:
    """A share of a limit, which its holder spends without asking.

    Attributes:
        token: Names it for `return_tokens`; opaque.
        amount: How much may be spent.
        expire_time: Until when, in UTC by the store's clock.
        ttl: How long that was from the answer.

    """

    token: str
    amount: int
    expire_time: datetime
    ttl: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """Whether there was a share; `reservation` is None when denied, unlimited or degraded."""

    decision: Decision
    reservation: TokenReservation | None
