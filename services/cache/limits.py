"""What the cache accepts: each check returns what is wrong and what would be right, or None."""

import unicodedata
from collections.abc import Sequence

MAX_NAMESPACE_LENGTH = 64
MAX_KEY_BYTES = 512
MAX_CONTENT_TYPE_LENGTH = 100
MAX_BATCH = 1000
MAX_TAGS = 16
MAX_TAG_BYTES = 128
MAX_INVALIDATED_TAGS = 100
MIN_TTL_MS = 1
MAX_WINDOW_MINUTES = 24 * 60
MAX_TTL_MS = 366 * 24 * 60 * 60 * 1000

_NAMESPACE_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789._-"


def namespace_fault(namespace: str) -> str | None:
    length = len(namespace)
    if not 0 < length <= MAX_NAMESPACE_LENGTH:
        return f"has {length} characters; write 1 to {MAX_NAMESPACE_LENGTH} of a-z 0-9 . _ -"
    # What is left after stripping begins with a character that is not allowed.
    wrong = namespace.strip(_NAMESPACE_CHARACTERS)
    return f"contains {wrong[0]!r}; write only a-z 0-9 . _ -" if wrong else None


def key_fault(key: str) -> str | None:
    return _text_fault(key, MAX_KEY_BYTES)


def _text_fault(text: str, max_bytes: int) -> str | None:
    size = len(text.encode("utf-8", "surrogatepass"))
    if not 0 < size <= max_bytes:
        return f"has {size} bytes; write 1 to {max_bytes} bytes of UTF-8"
    # One call in C settles nearly every text; only the rest is looked at character by character,
    # for not everything unprintable is a control character (a no-break space is not).
    return None if text.isprintable() else _control_character_fault(text)


def _control_character_fault(key: str) -> str | None:
    for position, character in enumerate(key):
        if unicodedata.category(character) in {"Cc", "Cs"}:
            code = f"U+{ord(character):04X}"
            return f"contains the control character {code} at position {position}; leave it out"
    return None


def content_type_fault(content_type: str) -> str | None:
    if len(content_type) > MAX_CONTENT_TYPE_LENGTH:
        length = len(content_type)
        return f"has {length} characters; write at most {MAX_CONTENT_TYPE_LENGTH}"
    if not (content_type.isascii() and content_type.isprintable()):
        return "contains characters that are not printable ASCII; write a type such as image/png"
    return None


def value_fault(value: bytes, max_bytes: int) -> str | None:
    if len(value) > max_bytes:
        return f"has {len(value)} bytes; write at most {max_bytes}, or keep it in file storage"
    return None


def ttl_fault(ttl_ms: int) -> str | None:
    if MIN_TTL_MS <= ttl_ms <= MAX_TTL_MS:
        return None
    return f"is {ttl_ms} ms; give 1 ms to 366 days, or a TTL class for entries that never end"


def batch_fault(count: int) -> str | None:
    if 0 < count <= MAX_BATCH:
        return None
    return f"names {count} keys; ask for 1 to {MAX_BATCH} at once"


def tag_fault(tag: str) -> str | None:
    return _text_fault(tag, MAX_TAG_BYTES)


def tags_faults(tags: Sequence[str]) -> dict[str, str | None]:
    """Return what is wrong with the tags of an entry, by field."""
    if len(tags) > MAX_TAGS:
        return {"tags": f"names {len(tags)} tags; write at most {MAX_TAGS}"}
    return {f"tags[{n}]": fault for n, tag in enumerate(tags) if (fault := tag_fault(tag))}


def window_fault(window_ms: int) -> str | None:
    """Return what is wrong with how far back statistics should reach."""
    whole, rest = divmod(window_ms, 60_000)
    if 1 <= whole <= MAX_WINDOW_MINUTES and not rest:
        return None
    return f"is {window_ms / 1000:g} s; give whole minutes, from 1 minute to 24 hours"


def prefix_fault(prefix: str) -> str | None:
    return _text_fault(prefix, MAX_KEY_BYTES)


def invalidated_tags_faults(tags: Sequence[str], field: str) -> dict[str, str | None]:
    """Return what is wrong with the tags that somebody wants to invalidate, by field."""
    if not 0 < len(tags) <= MAX_INVALIDATED_TAGS:
        return {field: f"names {len(tags)} tags; write 1 to {MAX_INVALIDATED_TAGS}"}
    return {f"{field}[{n}]": fault for n, tag in enumerate(tags) if (fault := tag_fault(tag))}


MAX_ITEMS = 1000
MAX_LENGTH = 10_000


def items_fault(items: Sequence[bytes], max_bytes: int) -> str | None:
    """Return what is wrong with the items or members that one call brings."""
    if not 0 < len(items) <= MAX_ITEMS:
        return f"holds {len(items)}; give 1 to {MAX_ITEMS} at once"
    size = sum(map(len, items))
    if size > max_bytes:
        return f"hold {size} bytes together; give at most {max_bytes} at once"
    return None


def range_fault(number: int, lowest: int, highest: int) -> str | None:
    return None if lowest <= number <= highest else f"is {number}; give {lowest} to {highest}"


MAX_EPOCH_LENGTH = 64


def epoch_fault(epoch: str) -> str | None:
    """Return what is wrong with the epoch that a stream is to go on from."""
    if len(epoch) <= MAX_EPOCH_LENGTH and not epoch.strip("0123456789abcdef"):
        return None
    return "is none that a stream has told; give the epoch of its last message, or none"
