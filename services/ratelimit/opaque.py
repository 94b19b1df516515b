"""Text that callers keep and hand back as it came, such as the token of a lease.

A checksum tells what was cut off or made up from what was issued. It is no signature: whoever may
ask the service may compute it, and gains nothing by it, because what a text names must be in the
store as well.
"""

import base64
import binascii
from hashlib import blake2b

_CHECKSUM_BYTES = 6
_MAX_CHARACTERS = 1_000


def seal(content: bytes) -> str:
    """Return the text for some bytes."""
    return base64.urlsafe_b64encode(_checksum(content) + content).rstrip(b"=").decode()


def unseal(text: str) -> bytes | None:
    """Return the bytes behind a text; None for a text that was never issued."""
    if not text.isascii() or len(text) > _MAX_CHARACTERS:
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    checksum, content = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
    return content if checksum == _checksum(content) else None


def _checksum(content: bytes) -> bytes:
    return blake2b(content, digest_size=_CHECKSUM_BYTES, person=b"mainstay-opaque").digest()
