"""The methods of the client for limits of one subject's own."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime

from mainstay.ratelimit import conversions
from mainstay.ratelimit.calls import ONCE, REPEATABLE, Calls
from mainstay.ratelimit.messages import build
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What one subject may do on one rule, instead of what the policy says.

    Attributes:
        subject: Whose.
        rule: On which rule.
        limits: As the policy writes them, such as `10/s 200/min` or `unlimited`.
        expire_time: When it ends, in UTC.
        reason: Why it was put.
        creator: Who put it.
        create_time: When, in UTC.
        etag: Changes with every change.

    """

    subject: str
    rule: str
    limits: str
    expire_time: datetime
    reason: str
    creator: str
    create_time: datetime
    etag: str


class Overriding(Calls):
    """Puts, lists and ends overrides. All of it needs the service's PostgreSQL."""

    async def put_override(
        self,
        subject: str,
        rule: str,
        limits: str,
        *,
        expire_time: datetime,
        reason: str,
        etag: str = "",
    ) -> Override:
        """Give a subject limits of its own until `expire_time`, at most 366 days from now.

        `limits` are as the policy writes them; for a concurrency rule the number of places. What
        was there is replaced; with an `etag` only if it is still that, else ConflictError is
        raised. `reason` has 1 to 500 characters. In force on every replica within two seconds.
        Raises NotFoundError for an unknown rule and QuotaError beyond 10,000 overrides of a tenant.
        """
        override = build(
            pb.Override,
            subject=subject,
            rule=rule,
            limits=limits,
            expire_time=conversions.moment(expire_time, "expire_time"),
            reason=reason,
            etag=etag,
        )
        # With an etag, a repeat of a put that arrived would find that it is no longer current.
        repeat = ONCE if etag else REPEATABLE
        request = build(pb.PutOverrideRequest, override=override)
        response = await self._channel.unary(self._stub.PutOverride, request, **repeat)
        return parse_override(response.override)

    async def overrides(
        self, *, subject: str = "", rule: str = ""
    ) -> AsyncGenerator[Override, None]:
        """Yield the overrides in force by subject and rule, of one subject or rule or of all.

        They are read in pages: what changes meanwhile may be missed.
        """
        request = build(pb.ListOverridesRequest, subject=subject, rule=rule)
        while True:
            response = await self._channel.unary(self._stub.ListOverrides, request, **REPEATABLE)
            for override in response.overrides:
                yield parse_override(override)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def delete_override(self, subject: str, rule: str, *, reason: str = "") -> bool:
        """End an override and return whether there was one."""
        request = build(pb.DeleteOverrideRequest, subject=subject, rule=rule, reason=reason)
        response = await self._channel.unary(self._stub.DeleteOverride, request, **REPEATABLE)
        return response.deleted


def parse_override(message: pb.Override) -> Override:
    """Return an override."""
    return Override(
        subject=message.subject,
        rule=message.rule,
        limits=message.limits,
        expire_time=conversions.utc(message.expire_time),
        reason=message.reason,
        creator=message.creator,
        create_time=conversions.utc(message.create_time),
        etag=message.etag,
    )
