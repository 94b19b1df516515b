"""How much an entry counts for its tenant, and until when.

Nobody tells the books that Redis has ended an entry. So what a tenant holds is kept by the time at
which it ends: entries that end at about the same time share a bucket, and a bucket whose end has
passed is taken off the totals at once, whatever it held. What is replaced or removed before then is
taken out of its bucket by whoever did it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mainstay.errors import QuotaError
from services.cache.entry import Entry, Kind
from services.cache.frame import FIXED, VERSION, Header
from services.cache.keys import EntryName

ENTRIES = "entries"
BYTES = "bytes"

# What Redis 7 was measured to use: an entry takes 70 bytes beside its key and its frame, its place
# among those that have an end another 52, and the allocator rounds up by about an eighth.
ENTRY_OVERHEAD = 128
# The books name every permanent entry twice, and have no other way to find one to evict.
PERMANENT_OVERHEAD = 160
# The second key of a list or a set, and what it costs each of them.
ITEMS_OVERHEAD = 192
LIST_ITEM_OVERHEAD = 16
SET_MEMBER_OVERHEAD = 72

# A bucket is at most a sixteenth of the TTL wide, or a second.
SHARE = 16

_MUTABLE = {Kind.COUNTER, Kind.LIST, Kind.SET}


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a tenant holds of something that is bounded; `limit` None for no bound."""

    quota: str
    used: int
    limit: int | None


def charged_bytes(
    name: EntryName, value_length: int, tags: Sequence[str] = (), *, permanent: bool = False
) -> int:
    """Return the bytes that an entry counts for: about what Redis needs for it."""
    spelled = len(name.tenant) + len(name.namespace) + len(name.key.encode())
    stored = FIXED.size + spelled + value_length
    for tag in tags:
        stored += 1 + len(tag.encode())
    charged = ENTRY_OVERHEAD + stored + stored // 8
    return charged + PERMANENT_OVERHEAD + 2 * spelled if permanent else charged


def bucket_end(create_ms: int, expiry_ms: int) -> int:
    """Return until when an entry counts, in seconds since 1970: never before it ends.

    Buckets are powers of two seconds wide, so that ends of wide ones are ends of narrow ones too.
    A tenant has at most some 370 of them, whatever the TTLs are.
    """
    ttl_s = (expiry_ms - create_ms) // 1000
    width = 1 << max(0, (ttl_s // SHARE).bit_length() - 1)
    return -(-expiry_ms // (width * 1000)) * width


def identity(entry: Entry | Header) -> bytes:
    """Return what tells a permanent entry from others under its name, as 9 bytes.

    A value is another one after every write. A list that was pushed to is still the same.
    """
    if entry.kind in _MUTABLE:
        return b"b" + VERSION.pack(entry.create_ms)
    return b"v" + VERSION.pack(entry.version)


def of_class(ttl_class: str) -> str:
    """Return the name of the quota of a permanent class."""
    return f"bytes of class {ttl_class}"


def exceeded(quota: str, *, used: int, limit: int, asked: int) -> QuotaError:
    """Return the error of a write that there is no room for."""
    what = (
        f"{used} of {limit} are used and this needs {asked}; delete entries (what is invalidated "
        "by tag, prefix or namespace counts until it ends), give them shorter TTLs, or raise the "
        "quota in the cache policy"
    )
    return QuotaError(f"the quota {quota} is used up: {what}", violations={quota: what})


def too_large(ttl_class: str, *, limit: int, asked: int) -> QuotaError:
    """Return the error of an entry for which a class can never make room."""
    quota = of_class(ttl_class)
    what = (
        f"the class may hold {limit} and this entry alone needs {asked}; store less, or raise "
        "max_bytes of the class in the cache policy"
    )
    return QuotaError(f"the quota {quota} is too small: {what}", violations={quota: what})


def making_room(ttl_class: str) -> QuotaError:
    """Return the error of a write that would have to evict too many others by itself."""
    quota = of_class(ttl_class)
    what = "many entries went to make room and more have to go; write again"
    return QuotaError(f"the quota {quota} is used up: {what}", violations={quota: what})
