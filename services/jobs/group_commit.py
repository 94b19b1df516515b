"""Calls of one tenant that come at the same time are stored together.

While a transaction of a tenant runs, its further calls gather; the next transaction takes them all.
One at a time for each tenant: with two, batches were half as large and a call cost a third more.
Nobody waits for a timer: a call that comes alone is stored alone. A caller that leaves takes its
call along unless that is being stored already; the others do not notice.
"""

import asyncio
import copy
from collections import deque
from contextvars import Context
from dataclasses import dataclass, field

import structlog

from mainstay.errors import DatabaseError, MainstayError, UnavailableError
from services.jobs import metrics
from services.jobs.event import AcceptedEvent, NewCall
from services.jobs.journal import note_shed
from services.jobs.ports import EventStore, Stored
from services.jobs.wakeups import Change, Wakeups
from shared.rpc.call import Tenant
from shared.telemetry.tracing import on_behalf_of

MAX_EVENTS = 500
MAX_BYTES = 4 * 1024 * 1024
"""What one transaction takes, unless a single call is larger."""
MAX_WAITING = 1_000
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""What may wait of one tenant; more is refused, to be sent again."""
RETRY_AFTER = 0.2

log = structlog.get_logger()

Answers = tuple[AcceptedEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Waiting:
    """A call and who waits for it."""

    call: NewCall
    answers: asyncio.Future[Answers]


@dataclass(slots=True, kw_only=True)
class _Line:
    """The calls of one tenant that wait."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    size: int = 0
    running: bool = False

    def add(self, one: _Waiting) -> None:
        self.waiting.append(one)
        self.size += one.call.size

    def batch(self) -> list[_Waiting]:
        """Take the next calls that somebody still waits for."""
        taken: list[_Waiting] = []
        events = size = 0
        while self.waiting:
            call = self.waiting[0].call
            events += len(call.events)
            size += call.size
            if taken and (events > MAX_EVENTS or size > MAX_BYTES):
                break
            one = self.waiting.popleft()
            self.size -= call.size
            if not one.answers.done():
                taken.append(one)
        return taken


class GroupCommit:
    """A resource: stores calls, many in one transaction, and tells of what became ready."""

    name = "group commit"

    def __init__(self, store: EventStore, wakeups: Wakeups) -> None:
        self._store = store
        self._wakeups = wakeups
        self._lines: dict[Tenant, _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Do nothing: tasks begin with calls."""

    async def close(self) -> None:
        """End what is still running; whoever waits is told to try another replica."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def accept(self, call: NewCall) -> Answers:
        """Return what became of a call's events; waits as long as the caller does.

        Raises what EventStore says of one call, and UnavailableError (`TOO_MANY_WAITING`) when so
        many of the tenant wait that this one would wait too long.
        """
        tenant = call.origin.tenant
        line = self._lines.setdefault(tenant, _Line())
        if len(line.waiting) >= MAX_WAITING or line.size + call.size > MAX_WAITING_BYTES:
            raise UnavailableError(
                f"{len(line.waiting):,} calls of {tenant} wait to be stored; send more events in "
                "each call, and this one again with backoff",
                reason="TOO_MANY_WAITING",
                retry_after=RETRY_AFTER,
            )
        one = _Waiting(call=call, answers=asyncio.get_running_loop().create_future())
        line.add(one)
        if not line.running:
            self._spawn(tenant, line)
        return await one.answers

    def _spawn(self, tenant: Tenant, line: _Line) -> None:
        line.running = True
        # In a context of its own: what it does is nobody's call in particular.
        task = asyncio.create_task(
            self._run(tenant, line), name=f"store events of {tenant}", context=Context()
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, tenant: Tenant, line: _Line) -> None:
        """Store until nothing waits."""
        batch: list[_Waiting] = []
        try:
            while batch := line.batch():
                await self._store_batch(tenant, batch)
        except BaseException:
            # Not an error of the store, which reaches the callers: this task is being cancelled.
            for one in (*batch, *line.waiting):
                _fail(one, UnavailableError("the service is stopping; send it again"))
            line.waiting.clear()
            raise
        finally:
            line.running = False
            del self._lines[tenant]

    async def _store_batch(self, tenant: Tenant, batch: list[_Waiting]) -> None:
        try:
            with on_behalf_of(one.call.origin.traceparent for one in batch):
                stored = await self._store.accept(tenant, [one.call for one in batch])
        except DatabaseError as error:
            for one in batch:
                _fail(one, copy.copy(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told to the callers
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            # Something about one of them; alone, only that one fails.
            metrics.batches_split.inc()
            log.warning("events_split", tenant=tenant, calls=len(batch), error=repr(error))
            for one in batch:
                await self._store_batch(tenant, [one])
        else:
            self._answer(batch, stored)

    def _answer(self, batch: list[_Waiting], stored: Stored) -> None:
        if stored.change != _NOTHING:
            self._wakeups.announce(stored.change)
        note_shed(stored.shed)
        metrics.batch_calls.observe(len(batch))
        for one, outcome in zip(batch, stored.outcomes, strict=True):
            if isinstance(outcome, MainstayError):
                _fail(one, outcome)
            elif not one.answers.done():
                one.answers.set_result(outcome)


_NOTHING = Change()


def _fail(one: _Waiting, error: Exception) -> None:
    if not one.answers.done():
        one.answers.set_exception(error)
