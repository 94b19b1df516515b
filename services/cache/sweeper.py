"""Removes what is dead and would lie there for long: permanent entries, above all.

Invalidating touches no entry, so dead ones stay until they end. The sweeper walks over all keys,
slowly, and removes those that their tenant's history says are dead. When a walk is through, marks
that were made long before it began concern nothing any more; they are dropped in two steps, so that
a computation that was begun before a mark cannot bring a dead value back after it:

    announce   what carries a stamp below `retired` is refused from now on
    forget     after another whole walk, the marks below it go
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from mainstay.errors import CacheError
from services.cache.entry import Entry, Kind
from services.cache.frame import Header
from services.cache.histories import RedisHistories
from services.cache.history import History
from services.cache.invalidation_metrics import sweep_seconds, swept_entries
from services.cache.keys import EntryName
from services.cache.redis_sweep import Page, RedisSweep
from shared.rpc.call import Tenant
from shared.telemetry import measured

PAUSE = 60.0
"""Seconds between two walks."""
SETTLED_AFTER = 600.0
"""Seconds after which nothing is written any more that does not know of a mark, but by a lease."""
ANNOUNCED_FOR = 30.0
"""Seconds after which everybody knows of an announcement: longer than a call may last."""
HOLD_MS = 30_000
PAGE = 100
"""Keys that one command looks at: it keeps Redis busy for some 100 microseconds."""
LONGEST_REST = 1.0

log = structlog.get_logger()


class Books(Protocol):
    """What tenants hold, as far as the sweeper can tell."""

    def settle(self, name: EntryName, gone: Header | Entry) -> None:
        """Take an entry off the books."""
        ...

    def found(self, name: EntryName, entry: Entry) -> None:
        """Book a permanent entry that was come across, unless it is booked."""
        ...


@dataclass(slots=True, kw_only=True)
class Walk:
    """What one walk has come across: `tenants` are those who have a history."""

    began_us: int
    seen: int = 0
    removed: int = 0
    tenants: set[Tenant] = field(default_factory=set)


class Sweeper:
    """Walks over all entries again and again; one replica at a time.

    That it is one only spares the work of the others: removing what is dead twice harms nobody.
    """

    def __init__(
        self,
        store: RedisSweep,
        histories: RedisHistories,
        books: Books,
        *,
        owner: str,
        keys_per_second: int,
        settled_after: float = SETTLED_AFTER,
        announced_for: float = ANNOUNCED_FOR,
    ) -> None:
        self._store = store
        self._histories = histories
        self._books = books
        self._owner = owner
        self._page = min(PAGE, keys_per_second)
        self._rest = min(LONGEST_REST, self._page / keys_per_second)
        self._settled_after_us = int(settled_after * 1_000_000)
        self._announced_for_us = int(announced_for * 1_000_000)

    async def run(self) -> None:
        """Sweep for ever; for a background task."""
        while True:
            await asyncio.sleep(PAUSE)
            try:
                await self.run_once()
            except CacheError as error:
                # What was not removed is dead all the same; the next walk begins anew.
                log.warning("sweep_abandoned", error=error.message)

    @measured("cache.sweep")
    async def run_once(self) -> Walk | None:
        """Walk over everything once; None if another replica does, or took over."""
        if not await self._store.hold(self._owner, HOLD_MS):
            return None
        began = asyncio.get_running_loop().time()
        walk = Walk(began_us=await self._store.now_us())
        async for page in self._store.pages(self._page):
            await self._sweep(walk, page)
            await asyncio.sleep(self._rest)
            if not await self._store.hold(self._owner, HOLD_MS):
                return None
        for tenant in walk.tenants:
            await self._retire(tenant, walk.began_us)
        sweep_seconds.set(asyncio.get_running_loop().time() - began)
        # Others need not begin as soon as this one has ended.
        await self._store.hold(self._owner, int(PAUSE * 1000))
        log.info("sweep_finished", seen=walk.seen, removed=walk.removed)
        return walk

    async def _sweep(self, walk: Walk, page: Page) -> None:
        walk.tenants.update(page.tenants)
        entries = await self._store.entries(page.names)
        # Asked for after the entries were read: they have seen every stamp.
        histories = {
            tenant: await self._histories.current(Tenant(tenant))
            for tenant in {name.tenant for name, _ in entries}
        }
        walk.seen += len(entries)
        dead = []
        for name, entry in entries:
            if _is_dead(name, entry, histories[name.tenant]):
                dead.append((name, entry))
            else:
                self._books.found(name, entry)
        await self._remove(walk, dead)

    async def _remove(self, walk: Walk, dead: Sequence[tuple[EntryName, Entry]]) -> None:
        for (name, entry), done in zip(dead, await self._store.reap(dead), strict=True):
            if done:
                walk.removed += 1
                swept_entries.inc()
                self._books.settle(name, entry)

    async def _retire(self, tenant: Tenant, began_us: int) -> None:
        """Forget what was announced long before the walk began, and announce what comes next."""
        history = await self._histories.current(tenant)
        before = await self._store.retirement(tenant)
        waits = history.has_marks(above=0, up_to=before.retired)
        ripe = before.announced + self._announced_for_us <= began_us
        forgotten = before.retired if waits and ripe else 0
        # Never above the head: whoever knows of all there is may write.
        retired = min(history.sequence, began_us - self._settled_after_us)
        if (waits and not ripe) or not history.has_marks(above=before.retired, up_to=retired):
            retired = 0
        if forgotten:
            await self._store.forget(tenant, forgotten)
        if forgotten or retired:
            await self._histories.retire(tenant, retired=retired, forgotten=forgotten)


def _is_dead(name: EntryName, entry: Entry, history: History) -> bool:
    # A tombstone says why something is gone, and ends by itself.
    return (
        entry.kind is not Kind.TOMBSTONE
        and history.verdict(name.namespace, name.key, entry.tags, entry.stamp) is not None
    )
