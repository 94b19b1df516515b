"""Names for rate limits out of what clients send, which may be anything.

The service refuses names that are empty, longer than 256 bytes or hold control characters. What a
client writes must not decide whether it is limited: these functions return a name for every text.
"""

import hashlib
import re

MAX_NAME_BYTES = 256
_DIGESTED = "sha256:"

# Control characters, and halves of characters, which have no place in UTF-8.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def subject_of(text: str) -> str:
    """Return `text` where it can name a subject, else its digest: different texts stay apart."""
    encoded = text.encode("utf-8", "surrogatepass")
    fits = 1 <= len(encoded) <= MAX_NAME_BYTES and not _UNFIT.search(text)
    if fits and not text.startswith(_DIGESTED):  # who names a digest would spend another's limit
        return text
    return f"{_DIGESTED}{hashlib.sha256(encoded).hexdigest()}"


def endpoint_of(text: str) -> str:
    """Return `text` as an endpoint: a path without its query, cut at 256 bytes.

    What is no character becomes a question mark; patterns of the policy match by the beginning.
    """
    if text.startswith("/"):
        text = text.partition("?")[0].partition("#")[0]
    text = _UNFIT.sub("?", text) or "?"
    return text.encode()[:MAX_NAME_BYTES].decode(errors="ignore")
