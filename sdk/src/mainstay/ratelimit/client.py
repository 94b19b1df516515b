"""The client of the rate limit service."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration

from mainstay.channel import Channel
from mainstay.errors import ValidationError
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc

_MICROSECONDS = 1_000_000
_MAX_COST = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a subject may act, and what to tell it.

    Attributes:
        allowed: Whether the act may go ahead.
        rule: The rule that decided, as named in the policy.
        plan: The plan whose limit applied; empty for the limit without a plan.
        limit: How much may be admitted in any window; None when unlimited.
        window: The length of the window in seconds; None when unlimited.
        remaining: What is left now; None when unlimited.
        reset_time: When all that was consumed so far has left the window, in UTC; None when
            unlimited.
        retry_after: Seconds until the same check can pass. Set only when denied and waiting helps.
        headers: The same facts as HTTP response headers with names in lower case, to be copied
            into the answer; empty when unlimited.

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


class RateLimitClient:
    """Asks for the tenant that the current request or the channel names.

    A subject (`user:42`, an address) and an endpoint (a path, or a name the policy knows) are 1 to
    256 bytes of UTF-8 without control characters; a cost is 1 to 1,000,000. Being over a limit is
    an answer, not an error. Both methods raise `ValidationError` naming the field that is wrong,
    and `RateLimitStoreError` within a bounded time when the counters cannot be reached: whether
    to let the request pass is then the caller's choice.
    """

    def __init__(self, channel: Channel) -> None:
        """Use `channel`, which stays the caller's to close."""
        self._channel = channel
        self._stub = pb_grpc.RateLimitServiceStub(channel.raw)

    async def check(
        self, subject: str, endpoint: str, *, plan: str | None = None, cost: int = 1
    ) -> Decision:
        """Decide, and consume `cost` when allowed; a denied check consumes nothing.

        Never repeated after an error: what seems to have failed may have been consumed.
        """
        _require_countable(cost)
        request = pb.CheckRequest(subject=subject, endpoint=endpoint, plan=plan or "", cost=cost)
        response = await self._channel.unary(self._stub.Check, request)
        return _decision(response.decision)

    async def peek(
        self, subject: str, endpoint: str, *, plan: str | None = None, cost: int = 1
    ) -> Decision:
        """Decide as `check` would, and consume nothing; repeated on transient errors."""
        _require_countable(cost)
        request = pb.PeekRequest(subject=subject, endpoint=endpoint, plan=plan or "", cost=cost)
        response = await self._channel.unary(self._stub.Peek, request, retry=True)
        return _decision(response.decision)


def _require_countable(cost: int) -> None:
    """Refuse here what the message has no room for, in the words of the service."""
    if not 1 <= cost <= _MAX_COST:
        mistake = f"is {cost}; give 1 to {_MAX_COST:,}"
        raise ValidationError(f"the cost {mistake}", fields={"cost": mistake})


def _decision(decision: pb.Decision) -> Decision:
    state = decision.limit if decision.HasField("limit") else None
    waits = decision.HasField("retry_after")
    return Decision(
        # An outcome that only newer services know is no permission.
        allowed=decision.outcome == pb.OUTCOME_ALLOWED,
        rule=decision.rule,
        plan=decision.plan,
        limit=state.limit if state else None,
        window=_seconds(state.window) if state else None,
        remaining=state.remaining if state else None,
        reset_time=state.reset_time.ToDatetime(tzinfo=UTC) if state else None,
        retry_after=_seconds(decision.retry_after) if waits else None,
        headers={header.name: header.value for header in decision.headers},
    )


def _seconds(duration: Duration) -> float:
    return duration.ToMicroseconds() / _MICROSECONDS
