"""API keys: `msk_<id: 12 characters>_<secret: 32 characters>`, of 62 letters and digits.

The secret has 190 random bits, so its digest need not be slow to compute: nobody tries them all.
"""

import hmac
import re
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NewType

KeyId = NewType("KeyId", str)

PREFIX = "msk_"
ALPHABET = string.digits + string.ascii_letters
ID_LENGTH = 12
SECRET_LENGTH = 32
_KEY = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})")
_ID = re.compile(rf"(?:{PREFIX})?([0-9A-Za-z]{{{ID_LENGTH}}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that was just made: the only time that its secret is here."""

    key_id: KeyId
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """Return the whole key, as its owner sends it."""
        return f"{PREFIX}{self.key_id}_{self.secret}"

    @property
    def digest(self) -> bytes:
        """Return what is stored of the secret."""
        return digest(self.secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownKey:
    """A key as a caller showed it: its secret is forgotten but for the digest."""

    key_id: KeyId
    digest: bytes = field(repr=False)

    def is_of(self, stored: bytes) -> bool:
        """Compare with the digest that is stored, in a time that tells nothing of it."""
        return hmac.compare_digest(self.digest, stored)


def mint(choose: Callable[[str], str]) -> NewKey:
    """Make a key; `choose` picks a character of a text, all as likely: `secrets.choice`."""
    return NewKey(
        key_id=KeyId("".join(choose(ALPHABET) for _ in range(ID_LENGTH))),
        secret="".join(choose(ALPHABET) for _ in range(SECRET_LENGTH)),
    )


def parse(text: str) -> ShownKey | None:
    """Return a key that a caller shows, or None for what is none."""
    match = _KEY.fullmatch(text)
    return match and ShownKey(key_id=KeyId(match[1]), digest=digest(match[2]))


def parse_id(text: str) -> KeyId | None:
    """Return the id that people type, with or without the prefix in front of it."""
    match = _ID.fullmatch(text)
    return match and KeyId(match[1])


def digest(secret: str) -> bytes:
    """Return what is stored of a secret."""
    return sha256(secret.encode("ascii")).digest()
