"""What each tenant invalidated: remembered here, and compared with the store at every read.

A read asks for the head of its tenant's history along with the entry. If it is the head of what is
remembered, nothing was invalidated since; if not, the changes are fetched, once for all who wait.
So no feed has to be trusted, and a replica that was cut off, restarted or newly added is as right
as any other.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Sequence

import structlog

from mainstay.errors import CacheError
from services.cache.history import Head, History, Sequel, sequel
from services.cache.invalidation_metrics import history_reloads, remembered_marks
from services.cache.log_format import keys_record, mark_fields, marks_record, retirement_record
from services.cache.redis_log import Appended, RedisLog
from services.cache.store_errors import FAILURES, cache_error
from shared.rpc.call import Tenant

MAX_TENANTS = 1_000
MAX_REMEMBERED_MARKS = 1_000_000
"""Marks of all tenants together: a mark takes some 200 bytes."""
MAX_PAGES = 50
"""Pages of changes that are taken in before loading everything is less work."""
MAX_ATTEMPTS = 4

log = structlog.get_logger()


class RedisHistories:
    """A resource: the `Histories` and the `KeyLog` of production and of the tests.

    A history that it hands out goes on to change, always in one go: remember its sequence where a
    moment counts.
    """

    name = "histories"

    def __init__(
        self,
        store: RedisLog,
        *,
        max_tenants: int = MAX_TENANTS,
        max_marks: int = MAX_REMEMBERED_MARKS,
    ) -> None:
        self._store = store
        self._max_tenants = max_tenants
        self._max_marks = max_marks
        self._remembered: OrderedDict[Tenant, History] = OrderedDict()
        self._marks = 0
        self._asked: dict[Tenant, asyncio.Future[bytes | None]] = {}
        self._asked_batch = -1
        self._flights: dict[Tenant, asyncio.Task[History]] = {}

    async def start(self) -> None:
        """Do nothing: histories are fetched when they are asked for."""

    async def close(self) -> None:
        """End what is being fetched."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def ask(self, tenant: Tenant) -> "asyncio.Future[bytes | None]":
        """Ask for the head of a tenant's history, in one write with what else is queued now.

        All who ask before that write share the future: shield it where the caller may be cancelled.
        Raises and fails with what the Redis client raises.
        """
        # A GET may be shared only as long as it has not left: one that left before an invalidation
        # was acknowledged knows nothing of it, and a read that begins afterwards has to. Counting
        # writes tells; that a callback runs at the end of this turn of the loop does not, for the
        # write may stand before it in the queue, with other readers in between.
        if self._asked_batch != self._store.batch:
            self._asked.clear()
            self._asked_batch = self._store.batch
        asked = self._asked.get(tenant)
        # One that is done although it never left belongs to a connection that broke meanwhile.
        if asked is None or asked.done():
            asked = self._asked[tenant] = self._store.ask_head(tenant)
        return asked

    def known(self, tenant: Tenant, head: bytes | None) -> History | None:
        """Return what is remembered if it is up to date with a head that the store answered."""
        history = self._remembered.get(tenant)
        if history is None or history.head != head:
            return None
        self._remembered.move_to_end(tenant)
        return history

    async def catch_up(self, tenant: Tenant, head: bytes | None) -> History:
        """Return a history that has seen `head`, which the store answered to a question of ours.

        Raises CacheError when the store is gone.
        """
        flight = self._flight(tenant)
        if flight is not None:
            # It may have asked before we did. The next one has not, whoever begins it.
            history = await asyncio.shield(flight)
            if _has_seen(history, head):
                return history
        flight = self._flight(tenant) or self._take_off(tenant)
        return await asyncio.shield(flight)

    async def current(self, tenant: Tenant) -> History:
        """Return a history that holds every invalidation acknowledged before this call.

        Raises CacheError when the store is gone.
        """
        return await self._answered(tenant, self._ask(tenant))

    def stamp_soon(self, tenant: Tenant) -> Coroutine[None, None, int]:
        """Ask now, in one write with what else is queued, and return what waits for the answer.

        The answer is the last sequence at that time, whenever it is awaited. Close what is not
        wanted any more. Raises CacheError, now and then, when the store is gone.
        """
        return self._stamp(tenant, self._ask(tenant))

    def _ask(self, tenant: Tenant) -> "asyncio.Future[bytes | None]":
        try:
            asked = self.ask(tenant)
        except FAILURES as error:
            raise cache_error(error) from error
        # Others share it, and who closes what waits for it does not look at it.
        asked.add_done_callback(lambda done: done.cancelled() or done.exception())
        return asked

    async def _stamp(self, tenant: Tenant, asked: "asyncio.Future[bytes | None]") -> int:
        history = await self._answered(tenant, asked)
        head = Head.parse(asked.result())
        # What was invalidated since the answer is in the history too, but was not known by then.
        if head is None or head.epoch != history.epoch:
            return history.floor  # this history has begun since
        return min(head.sequence, history.sequence)

    async def _answered(self, tenant: Tenant, asked: "asyncio.Future[bytes | None]") -> History:
        try:
            head = await asyncio.shield(asked)
        except FAILURES as error:
            raise cache_error(error) from error
        return self.known(tenant, head) or await self.catch_up(tenant, head)

    async def append(
        self,
        tenant: Tenant,
        *,
        tags: Sequence[str] = (),
        prefixes: Sequence[tuple[str, str]] = (),
        namespaces: Sequence[str] = (),
        by_event: bool = False,
    ) -> int:
        """Invalidate tags, prefixes (each with its namespace) and namespaces; returns the sequence.

        Raises CacheError; then it may have been done or not.
        """
        appended = await self._store.append(
            tenant,
            marks_record(tags, prefixes, namespaces, by_event=by_event),
            fields=mark_fields(tags, prefixes, namespaces),
            by_event=by_event,
        )
        return self._learn(tenant, appended)

    async def append_keys(self, tenant: Tenant, namespace: str, keys: Sequence[str]) -> int:
        """Record that entries were removed or replaced; returns the sequence.

        Raises CacheError; then it may have been done or not.
        """
        return self._learn(tenant, await self._store.append(tenant, keys_record(namespace, keys)))

    async def retire(self, tenant: Tenant, *, retired: int, forgotten: int) -> int:
        """Say what must not be written any more and which marks are dropped; 0 for no news.

        Raises CacheError.
        """
        record = retirement_record(retired, forgotten)
        return self._learn(tenant, await self._store.append(tenant, record, retired=retired))

    def _learn(self, tenant: Tenant, appended: Appended) -> int:
        """Remember a change of our own, if it is the next one; else it comes with the others."""
        history, change = self._remembered.get(tenant), appended.change
        if history is not None and Head(history.epoch, history.sequence) == Head(
            appended.epoch, change.previous
        ):
            before = history.size
            history.apply(change)
            self._count(history.size - before)
        return change.sequence

    def _flight(self, tenant: Tenant) -> "asyncio.Task[History] | None":
        flight = self._flights.get(tenant)
        # One that is over answers nobody who comes now, though it may not have been cleared away.
        return None if flight is None or flight.done() else flight

    def _take_off(self, tenant: Tenant) -> "asyncio.Task[History]":
        flight = asyncio.create_task(self._fetch(tenant), name="history")
        self._flights[tenant] = flight
        flight.add_done_callback(lambda done: self._land(tenant, done))
        return flight

    def _land(self, tenant: Tenant, flight: "asyncio.Task[History]") -> None:
        if self._flights.get(tenant) is flight:
            del self._flights[tenant]
        if not flight.cancelled():
            # Those who waited were told; if all of them have gone, nobody needs to know.
            flight.exception()

    async def _fetch(self, tenant: Tenant) -> History:
        """Bring what is remembered up to date, or remember anew."""
        history = self._remembered.get(tenant)
        for _ in range(MAX_ATTEMPTS):
            if history is not None:
                known = Head(history.epoch, history.sequence)
                how = await self._follow(tenant, history)
                if how is Sequel.CONTINUES:
                    self._remember(tenant, history)
                    return history
                await self._start_over(tenant, known, how)
            history = await self._store.load(tenant)
        raise CacheError(
            f"the history of tenant {tenant} changes faster than it can be read; read from the "
            "source and go on, and invalidate less often: one tag for many entries",
            metadata={"dependency": "redis", "cause": "HISTORY_TOO_FAST"},
        )

    async def _follow(self, tenant: Tenant, history: History) -> Sequel:
        """Take in the changes since; each page at once, so that nobody sees half of one."""
        for _ in range(MAX_PAGES):
            known = Head(history.epoch, history.sequence)
            tail = await self._store.tail(tenant, known.sequence)
            how = sequel(known, tail.head, tail.changes)
            if how is not Sequel.CONTINUES:
                return how
            if not tail.is_readable:
                return Sequel.TRIMMED
            before = history.size
            for change in tail.changes:
                # Some may have come to be known while these were under way.
                if change.sequence > history.sequence:
                    history.apply(change)
            if self._remembered.get(tenant) is history:
                self._count(history.size - before)
            if tail.is_complete:
                assert tail.head is not None, "what continues has a head"
                return how if history.sequence >= tail.head.sequence else Sequel.TRIMMED
        return Sequel.TRIMMED

    async def _start_over(self, tenant: Tenant, known: Head, how: Sequel) -> None:
        """Say that what was remembered cannot be gone on with, and heal what the store has lost."""
        history_reloads.labels(how.value).inc()
        if how is Sequel.TRIMMED:
            log.info("history_reloading", tenant=tenant, cause=how.value)
            return
        log.warning("history_lost", tenant=tenant, cause=how.value, sequence=known.sequence)
        # Invalidations that were acknowledged are gone, and which entries they concerned is not
        # known: everything from before has to be dead. A history that began later is above it.
        await self._store.begin(tenant, lost=known)

    def _remember(self, tenant: Tenant, history: History) -> None:
        before = self._remembered.get(tenant)
        self._remembered[tenant] = history
        self._remembered.move_to_end(tenant)
        if before is not history:
            self._count(history.size - (before.size if before is not None else 0))
        while len(self._remembered) > 1 and (
            len(self._remembered) > self._max_tenants or self._marks > self._max_marks
        ):
            _, gone = self._remembered.popitem(last=False)
            self._count(-gone.size)

    def _count(self, marks: int) -> None:
        self._marks += marks
        remembered_marks.set(self._marks)


def _has_seen(history: History, head: bytes | None) -> bool:
    seen = Head.parse(head)
    return seen is not None and seen.epoch == history.epoch and seen.sequence <= history.sequence
