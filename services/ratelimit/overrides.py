"""Limits of one subject's own, until a moment."""

from dataclasses import dataclass

from services.ratelimit.policy import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What a subject may do instead of what the rule says.

    Attributes:
        tenant: Whose subject.
        rule: Which rule.
        subject: Who.
        limits: The limits; none when unlimited.
        written: The limits as the policy would write them.
        expires_at: When it ends, in microseconds since 1970.
        reason: Why it was put.
        creator: Who put it.
        created_at: When, in microseconds since 1970.
        etag: Changes with every change.

    """

    tenant: str
    rule: str
    subject: str
    limits: Limits
    written: str
    expires_at: int
    reason: str
    creator: str
    created_at: int
    etag: str
