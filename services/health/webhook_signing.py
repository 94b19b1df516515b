"""Signatures by the Standard Webhooks specification 1.0 (standardwebhooks.com): symmetric, `v1`."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Bytes of a key: 192 to 512 bits."""


def decode_secret(secret: str) -> bytes:
    """Return the key in a secret, `whsec_` and base64; raises ValueError, which quotes nothing."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or not SHORTEST <= len(key) <= LONGEST:
        raise ValueError(
            f"should be {PREFIX} and base64 of {SHORTEST} to {LONGEST} random bytes; make one with "
            f'`echo "{PREFIX}$(openssl rand -base64 32)"`'
        )
    return key


def signed_headers(
    keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """Return the headers of one attempt at delivering a webhook.

    Several keys give several signatures, so that receivers can change over from one to the next.
    `timestamp` is when this attempt is made, in seconds since 1970.
    """
    signed = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            f"v1,{base64.b64encode(digest).decode()}" for digest in digests
        ),
    }
