"""Follows the log of one tenant for all who watch it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

import structlog

from mainstay.errors import CacheError, MainstayError, UnavailableError
from services.cache.history import Change, Head, Sequel, sequel
from services.cache.redis_log import RedisLog
from services.cache.watcher import Watcher
from shared.rpc.call import Tenant

log = structlog.get_logger()


class Broken(Exception):  # noqa: N818 - says what happened to a chain; nobody else sees it
    """What the store says does not go on from what was known."""

    def __init__(self, how: Sequel) -> None:
        super().__init__(how.value)
        self.how = how


async def changes_after(
    store: RedisLog, tenant: Tenant, known: Head
) -> AsyncGenerator[Sequence[Change]]:
    """Yield the changes since, page by page, to the end; raises Broken and CacheError.

    After the last page everything is told that was acknowledged before the iteration began.
    """
    while True:
        tail = await store.tail(tenant, known.sequence)
        how = sequel(known, tail.head, tail.changes)
        if how is not Sequel.CONTINUES:
            raise Broken(how)
        if not tail.is_readable:
            raise Broken(Sequel.TRIMMED)
        if tail.changes:
            known = Head(known.epoch, tail.changes[-1].sequence)
            yield tail.changes
        if tail.is_complete:
            if tail.head is not None and known.sequence < tail.head.sequence:
                raise Broken(Sequel.TRIMMED)
            return


class Feed:
    """A task that follows a log as long as somebody watches; `users` counts who does, or will.

    `error` is what it has ended with: whoever comes then needs another feed.
    """

    def __init__(self, store: RedisLog, tenant: Tenant, *, interval: float) -> None:
        self.tenant = tenant
        self.watchers: set[Watcher] = set()
        self.users = 0
        self.error: MainstayError | None = None
        self._store = store
        self._interval = interval
        self._head: Head | None = None
        self._hinted = asyncio.Event()
        self._checking = asyncio.Lock()
        self.task = asyncio.create_task(self._run(), name="invalidation-feed")

    def hint(self) -> None:
        """Look soon: something may have been added."""
        self._hinted.set()

    async def check(self) -> Head:
        """Tell everything that was acknowledged before this call; returns the end of it.

        Raises CacheError when the store is gone.
        """
        async with self._checking:
            if self._head is None:
                self._head = await self._store.begin(self.tenant)
                return self._head
            try:
                async for changes in changes_after(self._store, self.tenant, self._head):
                    self._tell(self._head, changes)
            except Broken as broken:
                await self._start_over(self._head, broken.how)
            return self._head

    def _tell(self, known: Head, changes: Sequence[Change]) -> None:
        self._head = Head(known.epoch, changes[-1].sequence)
        for change in changes:
            for watcher in self.watchers:
                watcher.tell(known.epoch, change)

    async def _start_over(self, known: Head, how: Sequel) -> None:
        # A history that lost what was acknowledged must not be relied on by anybody.
        lost = None if how is Sequel.TRIMMED else known
        self._head = head = await self._store.begin(self.tenant, lost=lost)
        log.warning("invalidation_feed_interrupted", tenant=self.tenant, cause=how.value)
        for watcher in self.watchers:
            watcher.interrupt(head, f"what was invalidated meanwhile is not known ({how.value})")

    async def _run(self) -> None:
        try:
            await self._follow()
        except CacheError as error:
            self.end(error)
        except Exception:
            log.exception("invalidation_feed_failed", tenant=self.tenant)
            self.end(UnavailableError("the feed of invalidations has failed; watch again"))

    async def _follow(self) -> None:
        now, told, beat_at = asyncio.get_running_loop().time, self._head, 0.0
        while True:
            # Not wait_for: it may swallow a cancellation that comes together with the hint.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._hinted.wait()
            # Before looking: what is added during the look is looked at again.
            self._hinted.clear()
            head = await self.check()
            # While changes are told one after the other, not every one needs a heartbeat behind it.
            if head == told or now() - beat_at >= self._interval:
                beat_at = now()
                for watcher in self.watchers:
                    watcher.beat(head)
            told = head

    def end(self, error: MainstayError) -> None:
        """End all streams, and this feed with them."""
        self.error = error
        for watcher in self.watchers:
            watcher.end(error)
