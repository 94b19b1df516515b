"""The use case of lists."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from services.cache.checks import batch_too_large
from services.cache.collecting import Collections
from services.cache.collection import Changed, Creation, Target, Unchanged, too_large
from services.cache.entry import Kind
from services.cache.keys import EntryName
from services.cache.limits import MAX_ITEMS, MAX_LENGTH, items_fault, range_fault
from services.cache.policy import Expiry
from services.cache.quota import LIST_ITEM_OVERHEAD
from shared.rpc.call import Tenant

# What one item costs on the wire beside its bytes, at most.
_ITEM_ON_WIRE = 5


class Pushed(NamedTuple):
    """A list after a push."""

    length: int
    created: bool


class Part(NamedTuple):
    """A part of a list and the length of the whole."""

    items: Sequence[bytes]
    length: int


class Span(NamedTuple):
    """Positions in a list from the first to the last; negative ones count from the tail."""

    first: int
    last: int


class ListStore(Protocol):
    """Reads and changes lists, each in one step. All methods raise CacheError."""

    async def push(
        self, target: Target, items: Sequence[bytes], *, at_head: bool, max_length: int
    ) -> Changed | Unchanged:
        """Add items to one end; what is beyond `max_length` falls off the other."""
        ...

    async def trim(self, target: Target, span: Span) -> Changed | Unchanged:
        """Keep a part; a list without items is gone."""
        ...

    async def part(self, name: EntryName, span: Span) -> Part:
        """Return what lies there, whether or not it lives."""
        ...


class Lists:
    """Pushes to, reads and trims lists for tenants.

    `max_push_bytes` bounds the items of one push, `max_answer_bytes` those of one answer,
    `max_bytes` what a whole list may count for.
    """

    def __init__(
        self,
        collections: Collections,
        store: ListStore,
        *,
        max_push_bytes: int,
        max_answer_bytes: int,
        max_bytes: int,
    ) -> None:
        self._collections = collections
        self._store = store
        self._max_push_bytes = max_push_bytes
        self._max_answer_bytes = max_answer_bytes
        self._max_bytes = max_bytes

    async def push(
        self,
        tenant: Tenant,
        namespace: str,
        key: str,
        items: Sequence[bytes],
        *,
        at_head: bool = False,
        max_length: int = MAX_LENGTH,
        expiry: Expiry = None,
        tags: tuple[str, ...] = (),
    ) -> Pushed:
        name, creation = EntryName(tenant, namespace, key), Creation(expiry=expiry, tags=tags)
        faults = {
            "items": items_fault(items, self._max_push_bytes),
            "max_length": range_fault(max_length, 1, MAX_LENGTH),
        }
        self._collections.check(name, faults, creation)

        async def change(target: Target) -> Changed | Unchanged:
            return await self._store.push(target, items, at_head=at_head, max_length=max_length)

        adds = sum(map(len, items)) + len(items) * LIST_ITEM_OVERHEAD
        found = await self._collections.change(
            name, Kind.LIST, change, creation=creation, adds=adds
        )
        assert found is not None, "what is not there is created"
        target, result = found
        if isinstance(result, Unchanged):
            raise too_large(Kind.LIST, self._max_bytes)
        return Pushed(result.size, target.living is None)

    async def read(
        self, tenant: Tenant, namespace: str, key: str, *, start: int, count: int
    ) -> Part:
        """Return up to `count` items from `start` on."""
        name = EntryName(tenant, namespace, key)
        self._collections.check(name, {"count": range_fault(count, 1, MAX_ITEMS)})
        found = await self._collections.read(
            name, Kind.LIST, self._store.part(name, span(start, count))
        )
        if found is None:
            return Part((), 0)
        _, part = found
        if sum(map(len, part.items)) + len(part.items) * _ITEM_ON_WIRE > self._max_answer_bytes:
            raise batch_too_large(self._max_answer_bytes, "count")
        return part

    async def trim(
        self, tenant: Tenant, namespace: str, key: str, *, start: int, count: int
    ) -> int:
        """Keep up to `count` items from `start` on; returns how many are left."""
        name = EntryName(tenant, namespace, key)
        self._collections.check(name, {"count": range_fault(count, 0, MAX_LENGTH)})

        async def change(target: Target) -> Changed | Unchanged:
            return await self._store.trim(target, span(start, count))

        found = await self._collections.change(name, Kind.LIST, change)
        if found is None:
            return 0
        _, result = found
        assert isinstance(result, Changed), "a trim has no bounds to break"
        return result.size


def span(start: int, count: int) -> Span:
    """Return the positions of `count` items from `start` on, -1 being the last item.

    What would lie before the head counts too: of 3 items, `start` -5 and `count` 3 is the first.
    """
    last = start + count - 1
    if start < 0 <= last:
        last = -1
    if count == 0:
        return Span(1, 0)
    return Span(start, last)
