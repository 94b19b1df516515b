"""The use case of counters."""

from typing import NamedTuple, Protocol

from mainstay.errors import ValidationError
from services.cache.collecting import Collections
from services.cache.collection import Changed, Creation, Target, Unchanged
from services.cache.entry import Kind
from services.cache.keys import EntryName
from services.cache.policy import Expiry
from shared.rpc.call import Tenant

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


class Counter(NamedTuple):
    """A counter after a change."""

    value: int
    expiry_ms: int | None
    created: bool


class CounterStore(Protocol):
    """Changes counters, each in one step."""

    async def increment(self, target: Target, delta: int) -> Changed | Unchanged:
        """Add to a counter, or create it with the value of `target.entry`; raises CacheError."""
        ...


class Counters:
    """Adds to counters for tenants."""

    def __init__(self, collections: Collections, store: CounterStore) -> None:
        self._collections = collections
        self._store = store

    async def increment(
        self,
        tenant: Tenant,
        namespace: str,
        key: str,
        *,
        delta: int,
        initial: int,
        expiry: Expiry = None,
        tags: tuple[str, ...] = (),
    ) -> Counter:
        """Add `delta` to a counter, which begins with `initial`, and return it."""
        name = EntryName(tenant, namespace, key)
        # Refused only when it is not there; a living one does not begin.
        start = initial + delta
        creation = Creation(expiry=expiry, tags=tags, start=b"%d" % start)
        self._collections.check(name, {}, creation)

        async def change(target: Target) -> Changed | Unchanged:
            if target.living is None and not _LOWEST <= start <= _HIGHEST:
                return Unchanged.OVERFLOW
            return await self._store.increment(target, delta)

        found = await self._collections.change(name, Kind.COUNTER, change, creation=creation)
        assert found is not None, "what is not there is created"
        target, result = found
        if isinstance(result, Unchanged):
            raise _overflow()
        return Counter(result.value, target.entry.expiry_ms, target.living is None)


def _overflow() -> ValidationError:
    what = "would take the counter beyond 64 bits; nothing was changed: add less, or begin anew"
    return ValidationError(f"delta {what}", fields={"delta": what}, reason="COUNTER_OVERFLOW")
