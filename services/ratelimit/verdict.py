"""What the counters say of one limit. All times are microseconds since 1970."""

from typing import NamedTuple

from services.ratelimit.policy import FailureMode


class Verdict(NamedTuple):
    """What was decided about one limit, and what was known.

    Attributes:
        admits: Whether this limit admits the cost.
        now: The store's clock at the decision.
        used: What the limit counts after the decision.
        reset_at: When all of that will have left; `now` when there is nothing.
        retry_at: When the same cost will fit if nobody else consumes. None when it fits already,
            or never will.
        degraded: What decided when the counters could not be reached; None when they could.

    """

    admits: bool
    now: int
    used: int
    reset_at: int
    retry_at: int | None
    degraded: FailureMode | None = None
