"""Pages of the lists of this service."""

from typing import NamedTuple

from services.ratelimit.checks import refuse
from shared.pages import page_key, page_size, page_token

_ABOVE_ALL = 2**63

Key = tuple[str | int, ...]


class Page(NamedTuple):
    """What a caller asks for: how many, and after which key; None for the first ones."""

    size: int
    after: Key | None


def page_of(size: int, token: str, *kinds: type[str | int]) -> Page:
    """Return the page of a request whose list is ordered by keys of these kinds.

    Raises ValidationError for a size or a token that cannot be.
    """
    key = page_key(token, *kinds)
    if key is not None and not all(map(_fits, key)):
        refuse({"page_token": "is none that a page of this list had; begin again without it"})
    return Page(page_size(size), None if key is None else tuple(key))


def token_after(*key: str | int) -> str:
    """Return the token of the page that begins after a key."""
    return page_token(key)


def _fits(part: str | int) -> bool:
    """Tell whether PostgreSQL could hold it; what it cannot hold was never in a token of ours."""
    return "\0" not in part if isinstance(part, str) else -_ABOVE_ALL <= part < _ABOVE_ALL
