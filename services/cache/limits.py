"""What the cache accepts: each check returns what is wrong and what would be right, or None."""

import unicodedata

MAX_NAMESPACE_LENGTH = 64
MAX_KEY_BYTES = 512
MAX_CONTENT_TYPE_LENGTH = 100
MAX_BATCH = 1000
MIN_TTL_MS = 1
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
    size = len(key.encode("utf-8", "surrogatepass"))
    if not 0 < size <= MAX_KEY_BYTES:
        return f"has {size} bytes; write 1 to {MAX_KEY_BYTES} bytes of UTF-8"
    # One call in C settles nearly every key; only the rest is looked at character by character,
    # for not everything unprintable is a control character (a no-break space is not).
    return None if key.isprintable() else _control_character_fault(key)


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
