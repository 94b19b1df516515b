"""What the cache needs from outside: a store for entries, and somebody who counts reads."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from services.cache.entry import Entry, Outcome
from shared.rpc.call import Tenant


class EntryStore(Protocol):
    """Keeps entries under tenant, namespace and key until they expire.

    Every method raises `CacheError` within a bounded time when the store cannot answer. What
    stands under a key but is no entry is a miss with the reason UNREADABLE, never an error.
    """

    async def get(self, tenant: Tenant, namespace: str, key: str) -> Outcome:
        """Return the entry, or why there is none."""
        ...

    async def get_many(
        self, tenant: Tenant, namespace: str, keys: Sequence[str]
    ) -> Sequence[Outcome]:
        """Return one outcome for each key, in the order of the keys."""
        ...

    async def put(
        self, tenant: Tenant, namespace: str, key: str, entry: Entry, ttl_ms: int | None
    ) -> None:
        """Write an entry over what stands there; it ends `ttl_ms` from now, or never for None."""
        ...

    async def remove(self, tenant: Tenant, namespace: str, key: str) -> bool:
        """Remove what stands under the key and return whether anything did."""
        ...


class ReadCounter(Protocol):
    """Counts what reads found."""

    def count(self, namespace: str, outcomes: Iterable[Outcome]) -> None:
        """Count each outcome for the namespace."""
        ...
