"""Pages of the lists of this service."""

from typing import NamedTuple

from shared.pages import page_key, page_size, page_token

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
    return Page(page_size(size), None if key is None else tuple(key))


def token_after(*key: str | int) -> str:
    """Return the token of the page that begins after a key."""
    return page_token(key)
