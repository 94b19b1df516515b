"""The use case behind WatchInvalidations: tells those who keep copies what becomes stale.

A tenant that is watched has one feed in this process. It follows the tenant's log: at every hint
that something was added, and every second in any case, so that a lost hint costs a moment and no
more. A heartbeat is sent only after the store was asked.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager

from mainstay.errors import UnavailableError
from services.cache.checks import refuse
from services.cache.feed import Broken, Feed, changes_after
from services.cache.history import Change, Head
from services.cache.invalidation_metrics import discontinuities, watch_delay, watchers
from services.cache.limits import epoch_fault
from services.cache.ports import NowMs
from services.cache.redis_log import RedisLog
from services.cache.watcher import (
    MAX_BUFFERED,
    Discontinuity,
    Heartbeat,
    Message,
    Started,
    Told,
    Watcher,
    concerns_copies,
)
from shared.rpc.call import Tenant

MAX_WATCHERS = 1_000
CHECK_INTERVAL = 0.8
"""Seconds between two looks; a heartbeat is promised every second."""


class Watching:
    """A resource: the streams of this process."""

    name = "watchers"

    def __init__(
        self,
        store: RedisLog,
        now_ms: NowMs,
        *,
        interval: float = CHECK_INTERVAL,
        max_watchers: int = MAX_WATCHERS,
        max_buffered: int = MAX_BUFFERED,
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self._interval = interval
        self._max_watchers = max_watchers
        self._max_buffered = max_buffered
        self._feeds: dict[Tenant, Feed] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._watchers = 0
        self._draining = False

    async def start(self) -> None:
        """Do nothing: feeds begin with those who watch."""

    async def close(self) -> None:
        """End all feeds."""
        await self.drain()
        for feed in list(self._feeds.values()):
            self._retire(feed)
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def drain(self) -> None:
        """End all streams; their readers go on at another replica."""
        self._draining = True
        for feed in self._feeds.values():
            feed.end(_draining())

    def hear(self, tenant: bytes) -> None:
        """Look at a tenant's log, whose name came with a hint."""
        feed = self._feeds.get(Tenant(tenant.decode("utf-8", "replace")))
        if feed is not None:
            feed.hint()

    def look(self) -> None:
        """Look at every log: hints may have been missed."""
        for feed in self._feeds.values():
            feed.hint()

    async def watch(self, tenant: Tenant, resume: Head | None) -> AsyncGenerator[Message]:
        """Yield what becomes stale, from `resume` on or from now on, until the reader closes.

        Raises ValidationError for what no stream has told, UnavailableError (`TOO_MANY_WATCHERS`,
        `DRAINING`), and CacheError as soon as the store turns out to be gone.
        """
        if resume is not None:
            refuse({"epoch": epoch_fault(resume.epoch)})
        with self._place(), self._feed(tenant) as feed:
            known = await feed.check()
            if feed.error is not None:
                raise feed.error
            # Nothing is awaited from there to here: all that the feed finds later is told.
            with _joined(feed, Watcher(known, max_buffered=self._max_buffered)) as watcher:
                async with aclosing(self._beginning(tenant, known, resume)) as beginning:
                    async for message in beginning:
                        yield message
                while True:
                    message = await watcher.next()
                    if isinstance(message, Told):
                        delay = self._now_ms() - message.change.time_ms
                        watch_delay.observe(max(0, delay) / 1000)
                    yield message

    async def _beginning(
        self, tenant: Tenant, known: Head, resume: Head | None
    ) -> AsyncGenerator[Message]:
        """Yield what leads from `resume` to `known`, or that nobody knows."""
        if resume is None:
            yield Started(head=known, previous=known.sequence)
            return
        yield Started(head=resume, previous=resume.sequence)
        told = resume.sequence
        try:
            async with aclosing(changes_after(self._store, tenant, resume)) as pages:
                async for changes in pages:
                    for change in _up_to(known, changes):
                        head = Head(known.epoch, change.sequence)
                        yield Told(head=head, previous=told, change=change)
                        told = change.sequence
        except Broken as broken:
            discontinuities.inc()
            cause = f"what came since is not known any more ({broken.how.value})"
            yield Discontinuity(head=known, previous=told, cause=cause)
        else:
            # The messages to come count from here.
            yield Heartbeat(head=known, previous=told)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._draining:
            raise _draining()
        if self._watchers >= self._max_watchers:
            raise UnavailableError(
                f"this replica serves {self._max_watchers} watchers, which is all it can; watch at "
                "another one, or go on without copies",
                reason="TOO_MANY_WATCHERS",
                retry_after=1.0,
            )
        self._watchers += 1
        watchers.inc()
        try:
            yield
        finally:
            self._watchers -= 1
            watchers.dec()

    @contextmanager
    def _feed(self, tenant: Tenant) -> Iterator[Feed]:
        """Share the tenant's feed; it ends with the last who does."""
        feed = self._feeds.get(tenant)
        if feed is None or feed.error is not None:
            feed = self._feeds[tenant] = Feed(self._store, tenant, interval=self._interval)
        feed.users += 1
        try:
            yield feed
        finally:
            feed.users -= 1
            if not feed.users:
                self._retire(feed)

    def _retire(self, feed: Feed) -> None:
        if self._feeds.get(feed.tenant) is feed:
            del self._feeds[feed.tenant]
        feed.task.cancel()
        self._ending.add(feed.task)
        feed.task.add_done_callback(self._ending.discard)


@contextmanager
def _joined(feed: Feed, watcher: Watcher) -> Iterator[Watcher]:
    feed.watchers.add(watcher)
    try:
        yield watcher
    finally:
        feed.watchers.discard(watcher)


def _up_to(known: Head, changes: Sequence[Change]) -> Sequence[Change]:
    """Return what is to be told of a part of the log; what is later comes by the feed."""
    return [
        change
        for change in changes
        if change.sequence <= known.sequence and concerns_copies(change)
    ]


def _draining() -> UnavailableError:
    return UnavailableError(
        "the service is shutting down; drop every copy and watch again", reason="DRAINING"
    )
