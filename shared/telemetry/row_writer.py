"""Writes rows about the service to PostgreSQL, behind the back of the calls they are about.

    add()  ──►  buffer (bounded, drops the oldest)  ──►  COPY, every few seconds or so many rows

Nobody waits: neither the calls for PostgreSQL nor the start of the service for its tables, which
the health service makes. While they cannot be written rows wait, the oldest go when there are too
many, and a metric counts those. Nothing to write is no transaction.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import islice
from typing import Any

import asyncpg
import structlog
from prometheus_client import Counter, Gauge

from mainstay.errors import MainstayError
from shared.postgres.copying import BatchTable, copy_rows
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import ALL_TENANTS

MAX_ROWS = 10_000
"""Rows of one table that wait at most, unless it is told otherwise."""
BATCH = 200
"""Rows of one transaction: making them holds up the event loop for a millisecond."""
INTERVAL = 5.0
LONGEST_BACKOFF = 60.0
FAREWELL = 1.5
"""Seconds that a service which stops gives to the last write."""
DISCONNECT = 0.5
"""Seconds that it then gives to the connection."""

FAILURES = (MainstayError, asyncpg.PostgresError, OSError)
_NO_TABLE = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)
_REFUSED = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    TypeError,
    ValueError,
)
"""What does not get better when it is tried again, and would hold up all that comes after."""

rows_written = Counter(
    "mainstay_telemetry_rows_written_total", "Rows about this service that were stored.", ["table"]
)
rows_dropped = Counter(
    "mainstay_telemetry_rows_dropped_total",
    "Rows about this service that were given up: PostgreSQL was away for too long, or refused.",
    ["table"],
)
rows_waiting = Gauge(
    "mainstay_telemetry_rows_waiting", "Rows about this service yet to be stored.", ["table"]
)

Row = tuple[Any, ...]

log = structlog.get_logger()


class RowBuffer:
    """Rows of one table that wait to be written, as the facts that rows are made of."""

    __slots__ = ("_dropped", "_enough", "_facts", "_gone", "_make", "_max_rows", "_nudge", "table")

    def __init__(
        self,
        table: BatchTable,
        make: Callable[[Any], Row],
        *,
        nudge: Callable[[], None],
        max_rows: int = MAX_ROWS,
        enough: int = BATCH,
    ) -> None:
        self.table = table
        self._make = make
        self._nudge = nudge
        self._max_rows = max_rows
        self._enough = enough
        self._facts: deque[Any] = deque()
        self._gone = 0  # facts that have left, in whatever way
        self._dropped = rows_dropped.labels(table.name)
        rows_waiting.labels(table.name).set_function(self.__len__)

    def __len__(self) -> int:
        return len(self._facts)

    def add(self, facts: Any) -> None:
        """Take the facts of a row; costs less than a microsecond and never waits."""
        waiting = self._facts
        if len(waiting) >= self._max_rows:
            waiting.popleft()
            self._gone += 1
            self._dropped.inc()
        waiting.append(facts)
        if len(waiting) == self._enough:
            self._nudge()

    def first(self, count: int) -> tuple[list[Row], int]:
        """Make the oldest rows, and say what to call `settle` with once they are stored."""
        facts = list(islice(self._facts, count))
        return [self._make(each) for each in facts], self._gone + len(facts)

    def settle(self, up_to: int) -> None:
        """Forget what was stored; meanwhile the oldest may have been dropped."""
        while self._gone < up_to:
            self._facts.popleft()
            self._gone += 1

    def drop(self, up_to: int) -> None:
        """Give up what will never be stored."""
        self._dropped.inc(max(0, up_to - self._gone))
        self.settle(up_to)

    def drop_all(self) -> int:
        """Give up everything; returns how many rows it was."""
        lost = len(self._facts)
        self.drop(self._gone + lost)
        return lost


class RowWriter:
    """Writes the buffers of a service, with one connection of its own."""

    def __init__(
        self,
        postgres: Postgres,
        *,
        interval: float = INTERVAL,
        longest_backoff: float = LONGEST_BACKOFF,
    ) -> None:
        self._postgres = postgres
        self._interval = interval
        self._longest_backoff = longest_backoff
        self._buffers: list[RowBuffer] = []
        self._enough = asyncio.Event()
        self._connected = False
        self._reachable = True  # as far as is known
        self._warned = False
        self._writing: asyncio.Task[None] | None = None

    def buffer(
        self, table: BatchTable, make: Callable[[Any], Row], *, max_rows: int = MAX_ROWS
    ) -> RowBuffer:
        """Return a place for the rows of a table; `make` makes one of the facts that are added."""
        buffer = RowBuffer(table, make, nudge=self._enough.set, max_rows=max_rows)
        self._buffers.append(buffer)
        return buffer

    async def run(self) -> None:
        """Write again and again, less often while that fails. For a background task."""
        pause = self._interval
        while True:
            await self._rest(pause)
            try:
                # Not cancelled with this: `close` knows how long to wait for a PostgreSQL that is
                # frozen, which a cancelled transaction would ask for a ROLLBACK.
                self._writing = asyncio.create_task(self.write_once(), name="telemetry-write")
                await asyncio.shield(self._writing)
            except FAILURES as error:
                self._reachable = False
                self._warn(error)
                pause = self._backoff(pause, error)
            except Exception:
                # A fault in here must not end the service.
                log.exception("telemetry_rows_lost", rows=self._drop_all())
            else:
                self._reachable, self._warned, pause = True, False, self._interval

    def _backoff(self, pause: float, error: BaseException) -> float:
        if isinstance(error, _NO_TABLE):
            # For as long as nobody starts the service that makes it: each try is a transaction.
            return self._longest_backoff
        return min(pause * 2, self._longest_backoff)

    async def _rest(self, pause: float) -> None:
        jittered = pause * random.uniform(0.8, 1.2)  # noqa: S311
        if not self._reachable:
            await asyncio.sleep(jittered)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(jittered):
                await self._enough.wait()
        self._enough.clear()

    def _warn(self, error: BaseException) -> None:
        """Say so once for as long as it lasts: the metrics tell how bad it is."""
        if self._warned:
            return
        self._warned = True
        reason = str(error) or type(error).__name__
        if isinstance(error, _NO_TABLE):
            reason += "; the health service makes it: start it, or run `mainstay migrate`"
        log.warning("telemetry_rows_waiting", error=reason)

    async def write_once(self) -> None:
        """Write what there is; raises one of `FAILURES` if that is impossible now."""
        failures = []
        for buffer in self._buffers:
            try:
                await self._write(buffer)
            except _NO_TABLE:
                raise  # they are made together
            except FAILURES as error:
                failures.append(error)  # a right that lacks for one does not hold up the others
        if failures:
            raise failures[0]

    async def _write(self, buffer: RowBuffer) -> None:
        if buffer and not self._connected:
            await self._connect()
        while buffer:
            rows, up_to = buffer.first(BATCH)
            try:
                await self._postgres.run(ALL_TENANTS, _copying(buffer.table, rows))
            except _REFUSED as error:
                log.warning("telemetry_rows_refused", table=buffer.table.name, error=str(error))
                buffer.drop(up_to)
                continue
            rows_written.labels(buffer.table.name).inc(len(rows))
            buffer.settle(up_to)

    async def _connect(self) -> None:
        await self._postgres.start()
        self._connected = True

    async def close(self) -> None:
        """Write what is left, if PostgreSQL is there, and disconnect; takes 2 s at most."""
        last = asyncio.create_task(self._write_last(), name="telemetry-farewell")
        await asyncio.wait({last}, timeout=FAREWELL)
        # Before the tasks end: to a frozen PostgreSQL they would go on to send a ROLLBACK.
        with suppress(TimeoutError):
            async with asyncio.timeout(DISCONNECT):
                await self._postgres.close()
        tasks = [task for task in (last, self._writing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if lost := self._drop_all():
            log.warning("telemetry_rows_lost", rows=lost)

    async def _write_last(self) -> None:
        with suppress(*FAILURES):
            if self._writing is not None:
                await asyncio.shield(self._writing)
            if self._reachable:
                await self.write_once()

    def _drop_all(self) -> int:
        return sum(buffer.drop_all() for buffer in self._buffers)


def _copying(table: BatchTable, rows: list[Row]) -> Callable[[Connection], Awaitable[None]]:
    async def work(connection: Connection) -> None:
        await copy_rows(connection, table, rows)

    return work
