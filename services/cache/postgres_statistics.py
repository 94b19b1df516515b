"""The history of what was counted, in PostgreSQL, by the minute.

PostgreSQL is no part of what the cache needs: a minute is kept here until it is written, ten
thousand buckets at most, and nobody waits for it. A batch carries an id that is stored with it, so
one whose commit was not acknowledged is sent again and still counted once.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import structlog

from mainstay.errors import MainstayError
from services.cache import metrics
from services.cache.ports import NowMs
from services.cache.statistics import Counted, Group, Tally, counters
from shared.postgres.migrations import Migrations
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS

MIGRATIONS = Migrations(service="cache", package="services.cache")
MAX_BUCKETS = 10_000
INTERVAL = 10.0
LONGEST_BACKOFF = 60.0
KEPT = timedelta(days=90)
CLEAN_EVERY = 3600.0

_MINUTE_MS = 60_000
_BATCH = 1_000
_DELETED_AT_ONCE = 5_000
_FAREWELL = 2.0
_COLUMNS = (
    "hits",
    "stale_hits",
    "computations",
    "computations_saved",
    "saved_ms",
    "fills_refused",
    "miss_cold",
    "miss_unreadable",
    "miss_expired",
    "miss_evicted",
    "miss_invalidated_by_key",
    "miss_invalidated_by_tag",
    "miss_invalidated_by_prefix",
    "miss_invalidated_by_namespace",
    "miss_invalidated_by_event",
    "miss_lease_lost",
    "miss_store_unavailable",
)
_QUERIES = load_queries("services.cache", "sql/queries.sql")

log = structlog.get_logger()


class Bucket(NamedTuple):
    """One row: a group within a minute since 1970."""

    group: Group
    minute: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Rows that are written together, and the id that keeps them from being added twice."""

    batch_id: UUID
    rows: Sequence[tuple[Bucket, Tally]]


class PostgresStatistics:
    """A resource: keeps what was counted and writes it, minute by minute, once PostgreSQL lets it.

    Starting does not wait for PostgreSQL. What exceeds `max_buckets` is dropped, the oldest first,
    and counted by a metric.
    """

    name = "statistics history"

    def __init__(
        self,
        postgres: Postgres,
        now_ms: NowMs,
        *,
        max_buckets: int = MAX_BUCKETS,
        interval: float = INTERVAL,
    ) -> None:
        self._postgres = postgres
        self._now_ms = now_ms
        self._max_buckets = max_buckets
        self._buckets: OrderedDict[Bucket, Tally] = OrderedDict()
        self._batch: _Batch | None = None
        self._interval = interval
        self._connected = False
        self._reachable = True  # as far as is known
        self._next_clean = 0.0

    def add(self, counted: Sequence[Counted]) -> None:
        """Take what was counted just now."""
        minute = self._now_ms() // _MINUTE_MS
        for group, tally in counted:
            self._buckets.setdefault(Bucket(group, minute), Tally()).add(tally)
        while len(self._buckets) > self._max_buckets:
            self._buckets.popitem(last=False)
            metrics.statistics_dropped.inc()

    async def start(self) -> None:
        """Do nothing: nobody waits for PostgreSQL."""

    async def close(self) -> None:
        """Write what is left, if PostgreSQL is there, and disconnect."""
        with suppress(TimeoutError, MainstayError, asyncpg.PostgresError):
            if self._reachable and (self._batch or self._buckets):
                await asyncio.wait_for(self.write_once(everything=True), _FAREWELL)
        await self._postgres.close()

    async def write_once(self, *, everything: bool = False) -> None:
        """Write the minutes that are over, or all of them; raises DatabaseError.

        A minute that has not ended would be written again and again.
        """
        if not self._connected:
            await self._connect()
        now = self._now_ms() // _MINUTE_MS
        while self._batch or self._take(now + 1 if everything else now):
            try:
                await self._postgres.run(ALL_TENANTS, self._add_batch)
            except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError):
                # It will not get better, and would hold up all that come after.
                metrics.statistics_dropped.inc(len(self._batch.rows) if self._batch else 0)
                self._batch = None
                raise
            self._batch = None

    async def _connect(self) -> None:
        await self._postgres.start()
        self._connected = True

    def _take(self, before: int) -> bool:
        """Make the next batch of minutes that begin before one; False when there are none."""
        over = [bucket for bucket in self._buckets if bucket.minute < before][:_BATCH]
        if over:
            rows = [(bucket, self._buckets.pop(bucket)) for bucket in over]
            self._batch = _Batch(batch_id=uuid4(), rows=rows)
        return bool(over)

    async def _add_batch(self, connection: Connection) -> None:
        assert self._batch is not None
        await connection.execute(
            _QUERIES["add_statistics"], self._batch.batch_id, *_columns(self._batch.rows)
        )

    async def clean_once(self) -> int:
        """Delete some of what is older than 90 days; returns how many rows it was."""

        async def work(connection: Connection) -> int:
            deleted = await connection.fetchval(
                _QUERIES["delete_old_statistics"], KEPT, _DELETED_AT_ONCE
            )
            return int(deleted)

        return await self._postgres.run(ALL_TENANTS, work)

    async def run(self) -> None:
        """Write, and delete what is old, again and again. For a background task."""
        pause = self._interval
        while True:
            try:
                await self.write_once()
                await self._clean()
                pause, self._reachable = self._interval, True
            except (MainstayError, asyncpg.PostgresError) as error:
                if pause == self._interval:
                    log.warning("statistics_not_written", error=str(error))
                self._reachable = False
                pause = min(pause * 2, LONGEST_BACKOFF)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311

    async def _clean(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next_clean and await self.clean_once() < _DELETED_AT_ONCE:
            self._next_clean = now + CLEAN_EVERY


def _columns(rows: Sequence[tuple[Bucket, Tally]]) -> list[list[Any]]:
    """Return the rows as the arrays that the statement takes."""
    numbers = [dict(counters(tally)) for _, tally in rows]
    return [
        [bucket.group.tenant for bucket, _ in rows],
        [bucket.group.namespace for bucket, _ in rows],
        [bucket.group.ttl_class for bucket, _ in rows],
        [bucket.minute for bucket, _ in rows],
        *([found.get(column, 0) for found in numbers] for column in _COLUMNS),
    ]
