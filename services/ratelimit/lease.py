"""A place that is held, and the token that names it.

The token names the rule, the subject and the lease, and how long the lease was asked for. It does
not name the tenant: under that of another caller there is no such lease.
"""

import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from mainstay.errors import ValidationError
from services.ratelimit.act import mistake_in
from services.ratelimit.concurrency import MAX_TTL, MIN_TTL
from services.ratelimit.opaque import seal, unseal
from services.ratelimit.policy import SECOND

ID_BYTES = 16

# Of a rule's name the length comes first; the subject is all that follows the name.
_LAYOUT = struct.Struct(f"<cQ{ID_BYTES}sB")
_FORMAT = b"L"


class LeaseToken(NamedTuple):
    """What a token says; `ttl` is in microseconds."""

    rule: str
    subject: str
    lease: bytes
    ttl: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease as its holder gets it.

    Attributes:
        token: Names it.
        expires_at: When the place comes back by itself, in microseconds since 1970 by the store's
            clock.
        ttl: How long that is from now, in microseconds.

    """

    token: str
    expires_at: int
    ttl: int


def named_lease(request_id: str) -> bytes:
    """Return the lease that every repetition of a request asks for."""
    return blake2b(request_id.encode(), digest_size=ID_BYTES, person=b"mainstay-lease").digest()


def lease_token(token: LeaseToken) -> str:
    """Return the text of a token."""
    rule = token.rule.encode()
    head = _LAYOUT.pack(_FORMAT, token.ttl, token.lease, len(rule))
    return seal(head + rule + token.subject.encode())


def read_lease_token(text: str) -> LeaseToken:
    """Return what a token says; raises ValidationError for a text that is none."""
    token = _unpacked(unseal(text))
    if token is None:
        mistake = "is none that AcquireLease answered; give the lease's token as it came"
        raise ValidationError(f"token {mistake}", fields={"token": mistake})
    return token


def _unpacked(content: bytes | None) -> LeaseToken | None:
    if content is None or len(content) < _LAYOUT.size or not content.startswith(_FORMAT):
        return None
    _, ttl, lease, length = _LAYOUT.unpack_from(content)
    names = content[_LAYOUT.size :]
    try:
        rule, subject = names[:length].decode(), names[length:].decode()
    except UnicodeDecodeError:
        return None
    # No rule has a name with these, and what lies under such keys is no lease (see `keys`).
    if mistake_in(subject) or ":" in rule or rule.startswith("~"):
        return None
    return LeaseToken(rule, subject, lease, ttl)


def lease_ttl_fault(ttl: int) -> str | None:
    """Return what is wrong with how long a lease is to last."""
    if MIN_TTL <= ttl <= MAX_TTL:
        return None
    return f"is {ttl / SECOND:g} s; give 1 s to 1 hour, and renew a lease that is needed longer"
