"""Pages of a list by cursor.

A token holds the key of the last row, so that rows that come and go in between neither repeat nor
hide others.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import TypeAlias

import orjson

from mainstay.errors import ValidationError

DEFAULT_SIZE = 100
MAX_SIZE = 500
_MAX_TOKEN = 2_000

Key: TypeAlias = str | int


def page_size(asked: int) -> int:
    """Return how many rows a page has, the default for 0; raises ValidationError beyond bounds."""
    if 0 <= asked <= MAX_SIZE:
        return asked or DEFAULT_SIZE
    mistake = f"is {asked}; give 1 to {MAX_SIZE}, or leave it out for {DEFAULT_SIZE}"
    raise ValidationError(f"page_size {mistake}", fields={"page_size": mistake})


def page_token(key: Sequence[Key]) -> str:
    """Return the token of the page that follows the row with this key."""
    return base64.urlsafe_b64encode(orjson.dumps(list(key))).rstrip(b"=").decode()


def page_key(token: str, *kinds: type[Key]) -> list[Key] | None:
    """Return the key that a token holds, whose parts are of `kinds`; None for the first page.

    Raises ValidationError for anything that is no such token.
    """
    if not token:
        return None
    key = _decoded(token)
    if key is None or [type(part) for part in key] != list(kinds) or not all(map(_storable, key)):
        raise forged()
    return key


def forged() -> ValidationError:
    """Return the error for a token that no page of a list had."""
    mistake = "is none that a page of this list had; begin again without it"
    return ValidationError(f"page_token {mistake}", fields={"page_token": mistake})


def _storable(part: Key) -> bool:
    """Return whether a database can compare it: no text there has NUL, no number is larger."""
    return "\0" not in part if isinstance(part, str) else -(2**63) <= part < 2**63


def _decoded(token: str) -> list[Key] | None:
    try:
        key = orjson.loads(base64.urlsafe_b64decode(token[:_MAX_TOKEN] + "=="))
    except (binascii.Error, ValueError):
        return None
    return key if isinstance(key, list) else None
