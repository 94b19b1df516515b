"""The nouns of counters, lists and sets: what a change is made to, and what became of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from mainstay.errors import QuotaError
from services.cache.entry import Entry, Kind
from services.cache.frame import Header
from services.cache.keys import EntryName
from services.cache.policy import Expiry
from services.cache.quota import ITEMS_OVERHEAD, charged_bytes

LONGEST_COUNTER = 20
"""Characters of the longest number of 64 bits."""

CALLED = {Kind.COUNTER: "a counter", Kind.LIST: "a list", Kind.SET: "a set"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """How a collection begins, should it not be there; `start` is a counter's first value."""

    expiry: Expiry = None
    tags: tuple[str, ...] = ()
    start: bytes = b""


class Target(NamedTuple):
    """What a change is made to.

    Attributes:
        name: What it is called.
        living: The entry that was judged to live; None where there is nothing.
        dead_version: The version of what lies there and counts as nothing.
        entry: As it is to be, without its items: with its new version.
        ttl_ms: How long it lives if it is created; None for no end.

    """

    name: EntryName
    living: Entry | None
    dead_version: int | None
    entry: Entry
    ttl_ms: int | None


class Changed(NamedTuple):
    """What became of a change that took place.

    Attributes:
        size: Items or members now; at zero the entry is gone. For a counter 1.
        moved: Members that were added or removed, or items that were dropped.
        before: The bytes it counted for; 0 where nothing was.
        after: The bytes it counts for.
        replaced: What lay there, dead, when it was created.
        value: A counter's.

    """

    size: int
    moved: int
    before: int
    after: int
    replaced: Header | None = None
    value: int = 0


class Unchanged(Enum):
    """Why a change did not take place."""

    REPLACED = "replaced"  # what was judged is not what stands there now
    OVERFLOW = "overflow"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"


Change = Callable[[Target], Awaitable[Changed | Unchanged]]


def too_large(kind: Kind, limit: int) -> QuotaError:
    """Return the error of a change after which a collection would be larger than it may be."""
    quota = f"bytes of {CALLED[kind]}"
    what = f"it may count for {limit} bytes and would be larger; remove some, or use several keys"
    return QuotaError(f"the quota {quota} is used up: {what}", violations={quota: what})


def bare_charge(name: EntryName, entry: Entry) -> int:
    """Return what a collection counts for without its items."""
    permanent = entry.expiry_ms is None
    if entry.kind is Kind.COUNTER:
        return charged_bytes(name, LONGEST_COUNTER, entry.tags, permanent=permanent)
    return charged_bytes(name, 0, entry.tags, permanent=permanent) + ITEMS_OVERHEAD
