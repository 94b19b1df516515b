"""Copies of entries in this process, kept coherent by the stream of invalidations.

A read of such a copy costs no network. Which entries may be kept, and for how long, the operators
say in the cache policy (`near_max_age` of a class).
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

from mainstay.cache.near_copies import Reading
from mainstay.cache.near_store import SILENCE_SECONDS, NearStore
from mainstay.cache.results import Hit, Result
from mainstay.cache.watching import Invalidation, Started, Watched
from mainstay.context import RequestContext, new_request_id, use
from mainstay.errors import MainstayError

_log = logging.getLogger("mainstay.cache")

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NearCacheOptions:
    """How much may be kept near.

    Attributes:
        max_bytes: What all copies together may take up; the least recently used make room.
        max_tenants: Tenants that have copies, each with a stream of its own; others are served by
            the service alone.
        idle_seconds: After which time without a read a tenant makes room for another.

    """

    max_bytes: int = 64 * 1024 * 1024
    max_tenants: int = 16
    idle_seconds: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NearStatistics:
    """What a near cache did since it was made, and what it holds.

    Attributes:
        hits: Reads that a copy answered.
        misses: Reads that none could answer.
        flushes: Times that all copies of a tenant were dropped, because something may have been
            missed.
        copies: How many it holds; unfit ones count until they are noticed.
        bytes: What those take up, about.
        streams: Tenants whose invalidations are being watched.
        delay: Seconds from the last invalidation until it was received; None before the first.
            For so long an old value may have been served. Taken between the store's clock and
            ours, so it is off by what those differ, and may be negative.
        longest_delay: The longest of all.

    """

    hits: int
    misses: int
    flushes: int
    copies: int
    bytes: int
    streams: int
    delay: float | None
    longest_delay: float | None


Watch = Callable[[], AsyncGenerator[Watched, None]]


class NearCache:
    """Copies of entries of up to some tenants, each of which it watches the invalidations of.

    A tenant is watched from the first answer on that may be kept. While its stream is not up, or
    silent, nothing is served from copies, and when it has broken all of them are dropped.
    """

    def __init__(self, watch: Watch, options: NearCacheOptions) -> None:
        """Use `watch` to open the stream of the tenant of the current request."""
        self._watch = watch
        self._options = options
        self._store = NearStore(options.max_bytes)
        self._streams: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._delay: float | None = None
        self._longest_delay: float | None = None
        self._closed = False

    def get(self, tenant: str, namespace: str, key: str) -> Hit | None:
        """Return the copy of an entry, or None where there is none that may be served."""
        return self._store.get(tenant, namespace, key, time.monotonic())

    @contextmanager
    def reading(self, tenant: str) -> Iterator[Reading | None]:
        """Surround a read, whose answer may then be given to `keep`."""
        reading = self._store.begin(tenant, time.monotonic(), time.time())
        try:
            yield reading
        finally:
            if reading is not None:
                self._store.end(reading)

    def keep(
        self, reading: Reading | None, tenant: str, namespace: str, key: str, found: Result
    ) -> None:
        """Keep an answer where its class allows it, and nothing has made it unfit meanwhile."""
        if not isinstance(found, Hit) or found.near_max_age is None:
            return
        if reading is not None:
            self._store.keep(reading, tenant, namespace, key, found, time.monotonic())
        elif tenant not in self._streams:
            self._begin(tenant)

    def apply(self, tenant: str, change: Invalidation) -> None:
        """Drop the copies that a change of our own concerns."""
        self._store.apply(tenant, change)

    def statistics(self) -> NearStatistics:
        """Return what it did and holds."""
        return NearStatistics(
            hits=self._store.hits,
            misses=self._store.misses,
            flushes=self._store.flushes,
            copies=len(self._store),
            bytes=self._store.held_bytes,
            streams=len(self._streams),
            delay=self._delay,
            longest_delay=self._longest_delay,
        )

    async def close(self) -> None:
        """End the streams and drop all copies."""
        self._closed = True
        for tenant in list(self._streams):
            self._end(tenant)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _begin(self, tenant: str) -> None:
        if self._closed or not self._has_room():
            return
        self._store.open(tenant, time.monotonic())
        task = asyncio.create_task(self._follow(tenant), name=f"near cache stream {tenant}")
        task.add_done_callback(lambda ended: self._notice_end(tenant, ended))
        self._streams[tenant] = task

    def _has_room(self) -> bool:
        """Tell whether one more tenant may be watched, giving up one that is idle for it."""
        if len(self._streams) < self._options.max_tenants:
            return True
        tenant, used = min(self._store.last_used().items(), key=lambda item: item[1])
        if time.monotonic() - used < self._options.idle_seconds:
            return False
        self._end(tenant)
        return True

    def _end(self, tenant: str) -> None:
        task = self._streams.pop(tenant)
        self._store.close(tenant)
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _notice_end(self, tenant: str, task: asyncio.Task[None]) -> None:
        """Drop the copies of a tenant that, against all expectation, nobody follows any more."""
        if task.cancelled() or self._streams.get(tenant) is not task:
            return
        del self._streams[tenant]
        self._store.close(tenant)
        _log.error("stopped watching tenant %r", tenant, exc_info=task.exception())

    async def _follow(self, tenant: str) -> None:
        """Watch a tenant until cancelled, beginning anew whenever its stream breaks."""
        failures = 0
        while True:
            context = RequestContext(request_id=new_request_id(), tenant=tenant or None)
            with use(context):
                cause, had_started = await self._follow_once(tenant)
            self._store.lose(tenant)
            failures = 1 if had_started else failures + 1
            pause = _pause(failures)
            _log.info(
                "dropped the near copies of tenant %r, %s; watching again in %.1f s",
                tenant,
                cause,
                pause,
            )
            await asyncio.sleep(pause)

    async def _follow_once(self, tenant: str) -> tuple[str, bool]:
        """Watch one stream to its end; return why it ended and whether it had started."""
        started = False
        try:
            async with aclosing(self._watch()) as stream:
                while True:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        message = await anext(stream)
                    self._hear(tenant, message)
                    started = started or isinstance(message.event, Started)
        except StopAsyncIteration:
            return "the stream has ended", started
        except TimeoutError:
            return f"the stream was silent for {SILENCE_SECONDS:g} s", started
        except MainstayError as error:
            return f"the stream has broken: {error.message}", started

    def _hear(self, tenant: str, message: Watched) -> None:
        wall = time.time()
        self._store.hear(tenant, message, time.monotonic(), wall)
        event = message.event
        if isinstance(event, Invalidation) and event.invalidate_time is not None:
            self._delay = wall - event.invalidate_time.timestamp()
            self._longest_delay = max(self._longest_delay or self._delay, self._delay)


def _pause(failures: int) -> float:
    """Return the seconds before the next attempt after so many failures in a row, from 1.

    They double up to 5 s; half of them are left to chance, so that the clients of a service that
    restarts do not all return at the same moment.
    """
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures - 1, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - not for secrets
