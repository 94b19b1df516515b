"""The right to compute an entry: at most one caller holds it, and never for longer than an hour.

A lease is granted to the first who misses an entry, or who refreshes it. It ends when its holder
fills the entry or gives it back, when the entry is written or deleted meanwhile, or when its time
is over; then the next who asks gets a new one. A holder that reports a failure leaves a note in its
place: until that ends nobody computes.

The token that proves it::

    offset  size  field
    0       1     always L
    1       8     hash of the entry's Redis key: a token is good for one entry of one tenant
    9       8     the last invalidation that was known before it was granted: the stamp of whatever
                  it will be filled with, so that every later invalidation concerns that
    17      8     when it was granted, milliseconds since 1970
    25      1     why the entry was missed, as in a frame, so that the fill can note it
    26      15    random

Integers are little-endian and unsigned. Redis holds the token under the lease's key, one byte `w`
longer as soon as somebody waits; or, after a failure, `!` and what failed. A token is no secret
that its holder could gain by forging: nothing but the one in Redis is worth anything.
"""

import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from mainstay.errors import PreconditionError
from services.cache.entry import MissReason
from services.cache.frame import Header, reason_number, reason_of
from services.cache.keys import EntryName, entry_key

DEFAULT_LEASE_MS = 10_000
MIN_LEASE_MS = 10
MAX_LEASE_MS = 10 * 60 * 1000
LONGEST_IN_ALL_MS = 60 * 60 * 1000
"""How long a computation may go on, however often its lease is extended."""

MAX_WAIT_MS = 60_000
DEFAULT_THROTTLE_MS = 1_000
MAX_THROTTLE_MS = 5 * 60 * 1000
MAX_ERROR_LENGTH = 500
MAX_COMPUTE_MS = 60 * 60 * 1000

RANDOM_BYTES = 15
_LAYOUT = struct.Struct(f"<c8sQQB{RANDOM_BYTES}s")
_FORMAT = b"L"


class Token(NamedTuple):
    """What a token says, but for its random part. Times are milliseconds since 1970."""

    sequence: int
    grant_ms: int
    reason: MissReason | None


def issue(name: EntryName, token: Token, randomness: bytes) -> bytes:
    """Return the bytes of a new token; `randomness` are `RANDOM_BYTES` that nobody can guess."""
    return _LAYOUT.pack(
        _FORMAT,
        _hash(name),
        token.sequence,
        token.grant_ms,
        reason_number(token.reason),
        randomness,
    )


def token_fault(raw: bytes) -> str | None:
    """Return what is wrong with bytes that should be a token, or None."""
    if len(raw) != _LAYOUT.size:
        return f"has {len(raw)} bytes; give the token of the answer to GetOrLease as it came"
    if not raw.startswith(_FORMAT):
        return "is no lease token; give the token of the answer to GetOrLease as it came"
    return None


def parse(raw: bytes, name: EntryName) -> Token:
    """Return what a token without a fault says; raises PreconditionError if it is another's."""
    _, entry_hash, sequence, grant_ms, reason, _ = _LAYOUT.unpack(raw)
    if entry_hash != _hash(name):
        raise PreconditionError(
            f"lease_token was not given for {name.namespace}/{name.key} of this tenant; give the "
            "one that GetOrLease answered for this entry",
            reason="LEASE_OF_ANOTHER",
            metadata={"subject": "lease_token"},
        )
    return Token(sequence, grant_ms, reason_of(reason))


def _hash(name: EntryName) -> bytes:
    return blake2b(entry_key(*name), digest_size=8).digest()


def lease_fault(lease_ms: int) -> str | None:
    if MIN_LEASE_MS <= lease_ms <= MAX_LEASE_MS:
        return None
    return f"is {lease_ms} ms; give 10 ms to 10 minutes, and extend a lease that needs longer"


def wait_fault(wait_ms: int) -> str | None:
    if 0 <= wait_ms <= MAX_WAIT_MS:
        return None
    return f"is {wait_ms} ms; give 0 to 1 minute, and ask again after that"


def throttle_fault(throttle_ms: int) -> str | None:
    if 1 <= throttle_ms <= MAX_THROTTLE_MS:
        return None
    return f"is {throttle_ms} ms; give 1 ms to 5 minutes"


def error_fault(error: str) -> str | None:
    if len(error) <= MAX_ERROR_LENGTH:
        return None
    return f"has {len(error)} characters; write at most {MAX_ERROR_LENGTH}"


def compute_fault(compute_ms: int) -> str | None:
    if 0 <= compute_ms <= MAX_COMPUTE_MS:
        return None
    return f"is {compute_ms} ms; give 0 to 1 hour"


def extension_ms(token: Token, wanted_ms: int, now_ms: int) -> int:
    """Return how long a lease may last from now: as long as wanted, up to its hour in all."""
    return min(wanted_ms, token.grant_ms + LONGEST_IN_ALL_MS - now_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease as its holder gets it.

    Attributes:
        token: Proves it.
        duration_ms: How long it lasts from now.
        stale_version: The version of the entry that it refreshes; None if there is none.

    """

    token: bytes
    duration_ms: int
    stale_version: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """Whoever asked is to compute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Another computes; its lease lasts `left_ms` from now unless it is extended."""

    left_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled:
    """The last computation failed with `error`; nobody computes for `left_ms` from now."""

    error: str
    left_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The entry is not the one that was judged: read it again."""


Grant: TypeAlias = Granted | Held | Throttled | Changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The entry was confirmed; `before` is its header as it was."""

    before: Header


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The lease is not held any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """The lease is held, but the entry that was to be confirmed is not there."""


Keeping: TypeAlias = Kept | Lost | Gone
