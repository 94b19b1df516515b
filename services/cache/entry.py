"""The cache's nouns: an entry, what it is, and the absence of one.

An entry is born by a Set, a Fill or the first push, and gets a version, its times, and the
sequence of the last invalidation that its writer knew of. The next write replaces it whole. It
ends by a Delete, at its expiry, when a later invalidation concerns it, or when it makes room for
others. From then on a read finds a `Miss`, which is a value like a hit: callers go to their source
and carry on.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NamedTuple, TypeAlias


class Kind(IntEnum):
    """What lies under a key. The numbers are stored."""

    VALUE = 0
    NEGATIVE = 1  # the source is known to have nothing
    COUNTER = 2  # the value is an integer in decimal
    LIST = 3  # the items lie beside the entry
    SET = 4  # the members lie beside the entry
    TOMBSTONE = 5  # what was here was removed; `last_miss` says why


class MissReason(Enum):
    """Why a read found nothing."""

    COLD = "cold"  # never written, as far as this replica knows
    UNREADABLE = "unreadable"  # bytes are there, but not a frame of ours; the next Set repairs it
    EXPIRED = "expired"
    EVICTED = "evicted"  # removed to make room
    KEY = "invalidated_by_key"
    TAG = "invalidated_by_tag"
    PREFIX = "invalidated_by_prefix"
    NAMESPACE = "invalidated_by_namespace"
    EVENT = "invalidated_by_event"
    LEASE_LOST = "lease_lost"  # its computation ended without a stored value
    NEGATIVE = "negative"  # not missing but known: the source has nothing
    STORE_UNAVAILABLE = "store_unavailable"  # only counted; a read fails with CacheError


class Entry(NamedTuple):
    """One entry. Times are milliseconds since 1970 by the store's clock.

    A NamedTuple, for every hit makes one and a dataclass takes five times as long.

    Attributes:
        value: The bytes; empty for lists, sets, negatives and tombstones.
        content_type: The media type given with the write, or empty.
        version: Changes with every write.
        create_ms: When it was written or last confirmed.
        soft_expiry_ms: From when on it should be computed anew; None: fresh until its end.
        expiry_ms: When it ends; None: never.
        stamp: The sequence of the last invalidation that its writer knew of. For a computed value
            that is the last one before its computation began.
        tags: Names under which it can be invalidated.
        ttl_class: The class it was written in, or empty.
        compute_ms: How long its computation took; 0 for what was not computed.
        charged: The bytes that count for the tenant's quota.
        kind: What it is.
        last_miss: Why it was missed before it was computed; for a tombstone, why there is nothing.
        near: Whether clients may hold copies, so that they have to be told of its end.

    """

    value: bytes
    content_type: str
    version: int
    create_ms: int
    soft_expiry_ms: int | None
    expiry_ms: int | None
    stamp: int
    tags: tuple[str, ...] = ()
    ttl_class: str = ""
    compute_ms: int = 0
    charged: int = 0
    kind: Kind = Kind.VALUE
    last_miss: MissReason | None = None
    near: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """The absence of a value.

    `dead_version` is the version of what still lies there although no read returns it (an
    invalidated entry or a tombstone): whoever writes on a condition counts that one as nothing.
    """

    reason: MissReason
    dead_version: int | None = None


COLD = Miss(reason=MissReason.COLD)
UNREADABLE = Miss(reason=MissReason.UNREADABLE)

Outcome: TypeAlias = Entry | Miss
