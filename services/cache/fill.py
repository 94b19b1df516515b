"""What the holder of a lease brings, and what becomes of it."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from services.cache.entry import Entry
from services.cache.policy import Expiry


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """What was found."""

    value: bytes
    content_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """The entry of this version is still right."""

    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """The source has nothing."""


Found: TypeAlias = Value | Unchanged | Nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """What the holder of a lease brings; `found` is None if it did not say."""

    lease_token: bytes
    found: Found | None
    expiry: Expiry = None
    tags: tuple[str, ...] = ()
    compute_ms: int = 0


class FillState(Enum):
    """What became of a fill."""

    STORED = "stored"
    LEASE_LOST = "lease_lost"
    INVALIDATED = "invalidated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What became of a fill; `entry` is what is stored now."""

    state: FillState
    entry: Entry | None = None
