"""The cache's nouns: an entry, and the absence of one.

An entry is born by a Set, which gives it a version and its times, and is never changed: the next
Set replaces it whole. It ends by a Delete, at its expiry, or when the store evicts it. From then
on a read finds a `Miss`, which is a value like a hit: callers go to their source and carry on.
"""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One cached value. Times are milliseconds since 1970 by the clock of the writing replica.

    `soft_expiry_ms` is when the value should be computed anew while it may still be served; None
    means that it is fresh until the end. `expiry_ms` is None for an entry that never ends.
    """

    value: bytes
    content_type: str
    version: int
    create_ms: int
    soft_expiry_ms: int | None
    expiry_ms: int | None


class MissReason(Enum):
    """Why a read found nothing."""

    ABSENT = "absent"  # never written, expired, deleted or evicted: the store keeps no trace
    UNREADABLE = "unreadable"  # bytes are there, but not a frame of ours; the next Set repairs it


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """The absence of a value."""

    reason: MissReason


ABSENT = Miss(reason=MissReason.ABSENT)
UNREADABLE = Miss(reason=MissReason.UNREADABLE)

Outcome: TypeAlias = Entry | Miss
