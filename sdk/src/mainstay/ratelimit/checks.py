"""The methods of the client that decide, and those that take a decision back."""

from collections.abc import Iterable
from datetime import datetime

from mainstay.context import new_request_id
from mainstay.errors import ValidationError
from mainstay.ratelimit import conversions
from mainstay.ratelimit.calls import ONCE, REPEATABLE, Calls
from mainstay.ratelimit.messages import build
from mainstay.ratelimit.results import Act, Decision, Refunded
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb


class Checks(Calls):
    """Asks whether subjects may act."""

    async def check(
        self,
        subject: str,
        endpoint: str,
        *,
        plan: str | None = None,
        cost: int = 1,
        also: Iterable[Act] = (),
    ) -> Decision:
        """Decide, and consume `cost` when allowed; a denied check consumes nothing.

        With `also`, up to 15 further acts go ahead together with this one, or none of them does.
        Never repeated after an error: what seems to have failed may have been consumed.
        """
        request = build(
            pb.CheckRequest,
            subject=subject,
            endpoint=endpoint,
            plan=plan or "",
            cost=conversions.countable(cost),
            also=conversions.acts(also, "also"),
        )
        response = await self._channel.unary(self._stub.Check, request, **ONCE)
        return conversions.decision(response.decision)

    async def check_many(
        self, acts: Iterable[Act], *, headers: bool = False
    ) -> tuple[Decision, ...]:
        """Decide 1 to 1,000 acts that do not depend on each other; the answers have their order.

        One wrong act refuses them all; a denied one denies only itself. Without `headers`, those of
        the decisions are empty, which saves a third of the work. Never repeated after an error.
        """
        request = build(pb.CheckBatchRequest, acts=conversions.acts(acts, "acts"), headers=headers)
        response = await self._channel.unary(self._stub.CheckBatch, request, **ONCE)
        return tuple(conversions.decision(decision) for decision in response.decisions)

    async def peek(
        self,
        subject: str,
        endpoint: str,
        *,
        plan: str | None = None,
        cost: int = 1,
        also: Iterable[Act] = (),
    ) -> Decision:
        """Decide as `check` would, and consume nothing; repeated on transient errors."""
        request = build(
            pb.PeekRequest,
            subject=subject,
            endpoint=endpoint,
            plan=plan or "",
            cost=conversions.countable(cost),
            also=conversions.acts(also, "also"),
        )
        response = await self._channel.unary(self._stub.Peek, request, **REPEATABLE)
        return conversions.decision(response.decision)

    async def enforce(
        self,
        subject: str,
        endpoint: str,
        *,
        plan: str | None = None,
        cost: int = 1,
        also: Iterable[Act] = (),
    ) -> Decision:
        """Check, and raise when denied.

        Raises RateLimitError with `retry_after`, and with rule, plan and the response headers in
        its `metadata`; RateLimitStoreError when it is denied because the counters cannot be
        reached. Never repeated after an error, also when waiting would help.
        """
        request = build(
            pb.EnforceRequest,
            subject=subject,
            endpoint=endpoint,
            plan=plan or "",
            cost=conversions.countable(cost),
            also=conversions.acts(also, "also"),
        )
        response = await self._channel.unary(self._stub.Enforce, request, **ONCE)
        return conversions.decision(response.decision)

    async def refund(
        self,
        subject: str,
        endpoint: str,
        *,
        plan: str | None = None,
        cost: int = 1,
        admit_time: datetime | None = None,
        request_id: str | None = None,
    ) -> Refunded:
        """Give back what a check consumed, because the act did not take place.

        Never lifts what remains above the limit. `admit_time` is `decide_time` of the decision:
        what has left the window since cannot be given back. Without it the oldest is given back
        that is still there, which is never too much. The call is repeated on transient errors,
        safely: it has a `request_id` (1 to 128 characters, known for 24 hours), the caller's or one
        made here for this call.
        """
        request = build(
            pb.RefundRequest,
            subject=subject,
            endpoint=endpoint,
            plan=plan or "",
            cost=conversions.countable(cost),
            admit_time=conversions.optional_moment(admit_time, "admit_time"),
            request_id=request_id or new_request_id(),
        )
        response = await self._channel.unary(self._stub.Refund, request, **REPEATABLE)
        return Refunded(
            amount=response.refunded,
            limits=conversions.limit_states(response.limits),
            repeated=response.repeated_request,
        )

    async def reset(
        self,
        subject: str,
        *,
        endpoint: str | None = None,
        rule: str | None = None,
        everything: bool = False,
        reason: str = "",
    ) -> tuple[str, ...]:
        """Forget what a subject consumed, and return the rules of which something was forgotten.

        Of the rules that cover `endpoint`, or of one `rule`, or of `everything`: give one of the
        three. `reason` (up to 500 characters) goes into the audit.
        """
        targets = {"endpoint": endpoint, "rule": rule, "everything": everything or None}
        given = [name for name, target in targets.items() if target is not None]
        if len(given) != 1:
            told = f"{' and '.join(given)} given; " if given else ""
            raise ValidationError(
                f"what is to be forgotten is not clear: {told}give one of endpoint, rule and "
                "everything",
                fields={"target": f"{told}give one of endpoint, rule and everything"},
            )
        request = build(pb.ResetRequest, subject=subject, reason=reason)
        if endpoint is not None:
            request.endpoint = endpoint
        elif rule is not None:
            request.rule = rule
        else:
            request.everything = True
        response = await self._channel.unary(self._stub.Reset, request, **REPEATABLE)
        return tuple(response.rules)
