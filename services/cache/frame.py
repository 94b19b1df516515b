"""How an entry lies in Redis: a binary header, then the value as it was written.

::

    offset  size  field
    0       1     format, always 0xC1: never the first byte of UTF-8 text, JSON or MessagePack,
                  so that what another program wrote is not taken for a frame
    1       1     flags; a reader refuses frames with a bit of the lower half that it doesn't know
                  and ignores those of the upper half. 0x01: has the fields from 36 on.
                  0x10: clients may hold copies
    2       2     header length: where the value begins
    4       8     version
    12      8     create time
    20      8     soft expiry, 0 for none
    28      8     expiry, 0 for never
    36      8     stamp: the sequence of the last invalidation its writer knew of
    44      4     milliseconds that its computation took
    48      4     bytes that count for the tenant's quota
    52      1     kind
    53      1     why it was missed before, 0 for unknown
    54      1     length of the class
    55      1     length of the content type
    56      1     number of tags
    57      ...   class, content type, then each tag after a byte with its length
    ...     ...   fields of later versions: an older reader skips to the header length

Integers are little-endian and unsigned, times milliseconds since 1970. What is not a frame is
None, never an exception: a cache that cannot read an entry has a miss. The scripts in `lua/` know
the offsets of version and lengths too.
"""

import struct
from typing import NamedTuple

from services.cache.entry import Entry, Kind, MissReason

FORMAT = 0xC1
STAMPED = 0x01
NEAR = 0x10
MUST_UNDERSTAND = 0x0F
# The last millisecond of the year 9999, where a protobuf Timestamp ends.
LATEST_MS = 253_402_300_799_999

FIXED = struct.Struct("<BBHQQQQQIIBBBBB")
VERSION = struct.Struct("<Q")
_MAX_U32 = 2**32 - 1

# The numbers are stored: add at the end, never change one.
_REASONS = (
    None,
    MissReason.COLD,
    MissReason.UNREADABLE,
    MissReason.EXPIRED,
    MissReason.EVICTED,
    MissReason.KEY,
    MissReason.TAG,
    MissReason.PREFIX,
    MissReason.NAMESPACE,
    MissReason.EVENT,
    MissReason.LEASE_LOST,
    MissReason.NEGATIVE,
)
_REASON_NUMBERS = {reason: number for number, reason in enumerate(_REASONS)}
_KINDS = tuple(Kind)


class Header(NamedTuple):
    """The fixed part of a frame: what a write learns of the entry that it replaced."""

    version: int
    create_ms: int
    expiry_ms: int | None
    charged: int
    kind: Kind
    near: bool


def encode(entry: Entry) -> bytes:
    """Return the frame of an entry; class and content type are ASCII of at most 255 characters."""
    ttl_class = entry.ttl_class.encode("ascii")
    content_type = entry.content_type.encode("ascii")
    names = [ttl_class, content_type]
    for tag in entry.tags:
        raw = tag.encode()
        names += (bytes((len(raw),)), raw)
    variable = b"".join(names)
    fixed = FIXED.pack(
        FORMAT,
        STAMPED | (NEAR if entry.near else 0),
        FIXED.size + len(variable),
        entry.version,
        entry.create_ms,
        entry.soft_expiry_ms or 0,
        entry.expiry_ms or 0,
        entry.stamp,
        min(entry.compute_ms, _MAX_U32),
        min(entry.charged, _MAX_U32),
        entry.kind,
        reason_number(entry.last_miss),
        len(ttl_class),
        len(content_type),
        len(entry.tags),
    )
    return b"".join((fixed, variable, entry.value))


def decode(frame: bytes) -> Entry | None:
    """Return the entry of a frame, or None for bytes that are not a frame this version reads."""
    if len(frame) < FIXED.size:
        return None
    (
        form,
        flags,
        header_length,
        version,
        create,
        soft,
        expiry,
        stamp,
        compute,
        charged,
        kind,
        last_miss,
        class_length,
        type_length,
        tag_count,
    ) = FIXED.unpack_from(frame)
    class_end = FIXED.size + class_length
    type_end = class_end + type_length
    if (
        form != FORMAT
        or flags & MUST_UNDERSTAND != STAMPED
        or not type_end <= header_length <= len(frame)
        or create > LATEST_MS
        or soft > LATEST_MS
        or expiry > LATEST_MS
        or kind >= len(_KINDS)
    ):
        return None
    try:
        names = frame[FIXED.size : type_end].decode("ascii")
        tags = _tags(frame, type_end, header_length, tag_count) if tag_count else ()
    except UnicodeDecodeError:
        return None
    if tags is None:
        return None
    return Entry(
        frame[header_length:],
        names[class_length:],
        version,
        create,
        soft or None,
        expiry or None,
        stamp,
        tags,
        names[:class_length],
        compute,
        charged,
        _KINDS[kind],
        _REASONS[last_miss] if last_miss < len(_REASONS) else None,
        bool(flags & NEAR),
    )


def decode_header(start: bytes | None) -> Header | None:
    """Return the fixed part of a frame from its first bytes, or None for what is not one."""
    if start is None or len(start) < FIXED.size:
        return None
    form, flags, _, version, create, _, expiry, _, _, charged, kind, *_ = FIXED.unpack_from(start)
    if form != FORMAT or flags & MUST_UNDERSTAND != STAMPED or kind >= len(_KINDS):
        return None
    return Header(version, create, expiry or None, charged, _KINDS[kind], bool(flags & NEAR))


def reason_number(reason: MissReason | None) -> int:
    """Return the number under which a reason is stored; 0 for unknown."""
    return _REASON_NUMBERS.get(reason, 0)


def reason_of(number: int) -> MissReason | None:
    """Return the reason that is stored as `number`; None for one this version does not know."""
    return _REASONS[number] if number < len(_REASONS) else None


def _tags(frame: bytes, start: int, end: int, count: int) -> tuple[str, ...] | None:
    tags = []
    for _ in range(count):
        if start >= end:
            return None
        stop = start + 1 + frame[start]
        if stop > end:
            return None
        tags.append(frame[start + 1 : stop].decode())
        start = stop
    return tuple(tags)
