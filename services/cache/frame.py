"""How an entry lies in Redis: a short binary header, then the value as it was written.

::

    offset  size  field
    0       1     format, always 0xC1: never the first byte of UTF-8 text, JSON or MessagePack,
                  so that what another program wrote is not taken for a frame
    1       1     flags; a reader refuses frames with a bit of the lower half that it doesn't know
                  (such as a compressed value) and ignores those of the upper half
    2       2     header length: where the value begins
    4       8     version
    12      8     create time
    20      8     soft expiry, 0 for none
    28      8     expiry, 0 for never
    36      1     length of the content type
    37      n     content type, ASCII
    37+n    ...   fields of later versions: an older reader skips to the header length

Integers are little-endian and unsigned, times milliseconds since 1970. What is not a frame is
None, never an exception: a cache that cannot read an entry has a miss.
"""

import struct

from services.cache.entry import Entry

FORMAT = 0xC1
MUST_UNDERSTAND = 0x0F
# The last millisecond of the year 9999, where a protobuf Timestamp ends.
LATEST_MS = 253_402_300_799_999

_FIXED = struct.Struct("<BBHQQQQB")


def encode(entry: Entry) -> bytes:
    """Return the frame of an entry whose content type is ASCII of at most 255 characters."""
    content_type = entry.content_type.encode("ascii")
    header = _FIXED.pack(
        FORMAT,
        0,
        _FIXED.size + len(content_type),
        entry.version,
        entry.create_ms,
        entry.soft_expiry_ms or 0,
        entry.expiry_ms or 0,
        len(content_type),
    )
    return b"".join((header, content_type, entry.value))


def decode(frame: bytes) -> Entry | None:
    """Return the entry of a frame, or None for bytes that are not a frame this version reads."""
    if len(frame) < _FIXED.size:
        return None
    form, flags, header_length, version, create, soft, expiry, type_length = _FIXED.unpack_from(
        frame
    )
    type_end = _FIXED.size + type_length
    content_type = frame[_FIXED.size : type_end]
    if (
        form != FORMAT
        or flags & MUST_UNDERSTAND
        or not type_end <= header_length <= len(frame)
        or create > LATEST_MS
        or soft > LATEST_MS
        or expiry > LATEST_MS
        or not content_type.isascii()
    ):
        return None
    return Entry(
        value=frame[header_length:],
        content_type=content_type.decode("ascii"),
        version=version,
        create_ms=create,
        soft_expiry_ms=soft or None,
        expiry_ms=expiry or None,
    )
