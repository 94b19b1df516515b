"""The client of the cache service."""

from types import TracebackType
from typing import Self

from mainstay.cache.administration import Administration
from mainstay.cache.collections import Collections
from mainstay.cache.computing import Computing
from mainstay.cache.entries import Entries
from mainstay.cache.invalidation import Invalidations
from mainstay.cache.near import NearCache, NearCacheOptions, NearStatistics
from mainstay.cache.results import Hit, Miss, MissReason, Result, Written
from mainstay.channel import Channel

__all__ = ["CacheClient", "Hit", "Miss", "MissReason", "Result", "Written"]


class CacheClient(Entries, Computing, Collections, Invalidations, Administration):
    """Reads and writes entries of the tenant that the current request or the channel names.

    A namespace is 1 to 64 of `a-z 0-9 . _ -`, a key 1 to 512 bytes of UTF-8 without control
    characters, a tag 1 to 128. Every method raises `ValidationError` naming the field that is
    wrong, and `CacheError` within a bounded time when the store behind the cache is gone: read from
    the source and go on. What is safe to repeat is repeated on transient errors.

    With `near`, entries of classes that allow it are kept in this process too, and `get` and
    `get_or_compute` read those copies first. After an acknowledged invalidation a copy may be
    served for as long as the news takes on its stream, in the worst case `3 s`.
    """

    def __init__(self, channel: Channel, *, near: NearCacheOptions | None = None) -> None:
        """Use `channel`, which stays the caller's to close, after the client."""
        copies = None if near is None else NearCache(self.watch_invalidations, near)
        super().__init__(channel, copies)

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.close()

    def near_statistics(self) -> NearStatistics | None:
        """Return what the near cache did and holds; None without one."""
        return None if self._near is None else self._near.statistics()
