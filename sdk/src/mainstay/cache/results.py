"""What the cache answers with: entries, misses, leases, collections. All of it frozen values."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TypeAlias

from mainstay.errors import MainstayError


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An entry that was found.

    Attributes:
        value: The bytes as they were written; for a counter its value in decimal.
        content_type: The media type given with the write, or empty.
        version: Changes with every write of the entry; compare only for equality.
        create_time: When the entry was written or last confirmed, in UTC by the store's clock.
        expire_time: When it ends, in UTC; None for an entry that never does.
        soft_expire_time: From when on it should be computed anew; None: fresh until its end.
        tags: The tags it was written with.
        ttl_class: The class it was written in; empty for one with a TTL of its own.
        sequence: The invalidations it has seen; later ones may concern it.
        near_max_age: How long a copy of it may be kept near; None: not at all.

    """

    value: bytes
    content_type: str
    version: int
    create_time: datetime
    expire_time: datetime | None
    soft_expire_time: datetime | None = None
    tags: tuple[str, ...] = ()
    ttl_class: str = ""
    sequence: int = 0
    near_max_age: timedelta | None = None


class MissReason(Enum):
    """Why there was no value."""

    COLD = "cold"
    """Never written, as far as is known."""
    UNREADABLE = "unreadable"
    """What is stored cannot be read; the next `set` repairs it."""
    EXPIRED = "expired"
    """Its time was over."""
    EVICTED = "evicted"
    """Removed to make room before its time was over."""
    INVALIDATED_BY_KEY = "invalidated_by_key"
    """Deleted, or invalidated by its key."""
    INVALIDATED_BY_TAG = "invalidated_by_tag"
    """Invalidated by one of its tags."""
    INVALIDATED_BY_PREFIX = "invalidated_by_prefix"
    """Invalidated by a prefix of its key."""
    INVALIDATED_BY_NAMESPACE = "invalidated_by_namespace"
    """Invalidated with its whole namespace."""
    INVALIDATED_BY_EVENT = "invalidated_by_event"
    """Invalidated by an event that the policy maps to one of its tags."""
    LEASE_LOST = "lease_lost"
    """Its computation ended without a stored value."""
    NEGATIVE = "negative"
    """Known: the source has nothing under this key."""
    STORE_UNAVAILABLE = "store_unavailable"
    """The store did not answer; only in statistics."""
    UNKNOWN = "unknown"
    """A reason that only a newer version of this package knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """No value was found. An answer, not an error: read from the source."""

    reason: MissReason


Result: TypeAlias = Hit | Miss


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a `set` has written; `expire_time` is None for an entry that never ends."""

    version: int
    expire_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """What a `touch` has found; `expire_time` is None for what never ends, or is not there."""

    existed: bool
    expire_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why one part of a batch failed: the error that the call for it alone would have raised."""

    error: MainstayError


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One entry of a `set_many`; its attributes are the arguments of `set`."""

    key: str
    value: bytes
    ttl: timedelta | None = None
    ttl_class: str | None = None
    content_type: str = ""
    tags: tuple[str, ...] = ()
    if_absent: bool = False
    if_present: bool = False
    if_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to compute an entry, held by one caller at a time.

    Attributes:
        namespace: Of the entry.
        key: Of the entry.
        token: Proves the right; opaque.
        duration: How long it lasted when it was given.
        stale_version: The version of the entry that it refreshes; None when there is none.

    """

    namespace: str
    key: str
    token: bytes
    duration: timedelta
    stale_version: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """An entry past its soft expiry: still there to be served."""

    entry: Hit


@dataclass(frozen=True, slots=True, kw_only=True)
class Negative:
    """The source is known to have nothing under the key; believed until `expire_time`."""

    expire_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NotModified:
    """The entry still has the version that the caller holds."""

    expire_time: datetime | None
    soft_expire_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The last computation failed and nothing can be served until `retry_after` is over."""

    error: str
    retry_after: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What there is, and the lease if the caller is to compute.

    Attributes:
        found: What can be used now. A `Hit` or a `Stale` with a lease is to be refreshed.
        lease: Set when this caller is to compute: answer with `fill` or `abandon`.
        waited: True when the caller was held while another computed.

    """

    found: Hit | Stale | Negative | NotModified | Miss | Failed
    lease: Lease | None
    waited: bool


class Nothing(Enum):
    """The outcome of a computation that found that the source has nothing."""

    NOTHING = "nothing"


class Unchanged(Enum):
    """The outcome of a computation that found that the stale entry is still right."""

    UNCHANGED = "unchanged"


NOTHING = Nothing.NOTHING
UNCHANGED = Unchanged.UNCHANGED


class FillOutcome(Enum):
    """What became of a fill."""

    STORED = "stored"
    """Whoever waits gets it."""
    LEASE_LOST = "lease_lost"
    """Not stored: the lease has ended, or the entry was written or deleted."""
    INVALIDATED = "invalidated"
    """Not stored: it was invalidated since the lease was given."""
    UNKNOWN = "unknown"
    """An outcome that only a newer version of this package knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What became of a fill; `version` is 0 and `expire_time` None unless it was stored."""

    outcome: FillOutcome
    version: int
    expire_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A counter after an `increment`; `created` by this call or not."""

    value: int
    expire_time: datetime | None
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A list after a `push`; `created` by this call or not."""

    length: int
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPart:
    """Items of a list from head to tail, and the `length` of the whole list."""

    items: tuple[bytes, ...]
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A set after members were added: how many were new, how many there are now."""

    added: int
    size: int
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A set after members were removed: how many were there, how many there are now."""

    removed: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalidated:
    """An invalidation: its place in the order of the tenant's, and the tags that it meant."""

    sequence: int
    tags: tuple[str, ...]
