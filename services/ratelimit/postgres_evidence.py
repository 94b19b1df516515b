"""Evidence on its way to PostgreSQL, which may be away for as long as it likes.

What there is waits here, bounded, and nobody waits for it. A batch carries an id that is stored
with it, so one whose commit was not acknowledged is sent again and still counted once.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import structlog

from services.ratelimit import metrics
from services.ratelimit.database import Database
from services.ratelimit.ports import NowUs
from services.ratelimit.tallies import OTHER, Counted, Group, Tally
from services.ratelimit.violations import Violation
from services.ratelimit.writing import (
    DELETED_AT_ONCE,
    FAILURES,
    FAREWELL,
    KEPT,
    REFUSED,
    moment,
    write_again_and_again,
)
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS

MAX_BUCKETS = 10_000
MAX_VIOLATIONS = 20_000
INTERVAL = 1.0

_MINUTE = 60_000_000
_BATCH = 1_000
_MAX_TENANTS = 1_000
_QUERIES = load_queries("services.ratelimit", "sql/evidence.sql")

log = structlog.get_logger()


class Bucket(NamedTuple):
    """One row: a group within a minute since 1970."""

    group: Group
    minute: int


Row = tuple[Bucket, Tally]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What is written together, and the id that keeps it from being added twice."""

    batch_id: UUID
    rows: Sequence[Row]
    violations: Sequence[Violation]


class PostgresEvidence:
    """A resource and an `EvidenceKeeper`: writes every second, once PostgreSQL lets it.

    What exceeds the bounds is dropped, the oldest first, and counted: in a metric, and with the
    tenant's next evidence, so that whoever reads it knows.
    """

    name = "evidence"

    def __init__(
        self,
        database: Database,
        now_us: NowUs,
        *,
        max_buckets: int = MAX_BUCKETS,
        max_violations: int = MAX_VIOLATIONS,
    ) -> None:
        self._database = database
        self._now_us = now_us
        self._max_buckets = max_buckets
        self._max_violations = max_violations
        self._buckets: OrderedDict[Bucket, Tally] = OrderedDict()
        self._violations: deque[Violation] = deque()
        self._lost: Counter[str] = Counter()
        self._batch: _Batch | None = None
        self._writing = asyncio.Lock()
        self._reachable = True  # as far as is known

    def add(self, counted: Sequence[Counted], violations: Sequence[Violation]) -> None:
        """Take what was counted and denied just now; without a database nothing is kept."""
        if not self._database.present:
            return
        minute = self._now_us() // _MINUTE
        for group, tally in counted:
            self._buckets.setdefault(Bucket(group, minute), Tally()).add(tally)
        self._violations.extend(violations)
        self._drop_what_is_too_much()
        metrics.evidence_waiting.set(len(self._buckets) + len(self._violations))

    async def start(self) -> None:
        """Do nothing: nobody waits for PostgreSQL."""

    async def close(self) -> None:
        """Write what is left, if PostgreSQL is there."""
        if self._reachable and self._database.connected:
            with suppress(TimeoutError, *FAILURES):
                await asyncio.wait_for(self.write_once(), FAREWELL)

    async def write_once(self) -> None:
        """Write all there is; raises DatabaseError, and loses nothing then."""
        async with self._writing:
            try:
                while self._batch or self._take():
                    await self._write_batch()
            finally:
                metrics.evidence_waiting.set(len(self._buckets) + len(self._violations))

    async def clean_once(self) -> int:
        """Delete some of what is older than 90 days; returns how many rows it was."""

        async def work(connection: Connection) -> int:
            query = _QUERIES["delete_old_evidence"]
            return int(await connection.fetchval(query, KEPT, DELETED_AT_ONCE))

        return await self._database.run(ALL_TENANTS, work)

    async def run(self) -> None:
        """Write, and delete what is old, again and again. For a background task."""
        if not self._database.present:
            await asyncio.Event().wait()
        await self._database.wait_connected()
        await write_again_and_again(
            self._write_noting, self.clean_once, what="evidence", interval=INTERVAL
        )

    async def _write_noting(self) -> None:
        self._reachable = False
        await self.write_once()
        self._reachable = True

    async def _write_batch(self) -> None:
        try:
            await self._database.run(ALL_TENANTS, self._add_batch)
        except REFUSED as error:
            log.warning("evidence_refused", error=str(error))
            if self._batch is not None:
                self._lose(self._batch)
        self._batch = None

    async def _add_batch(self, connection: Connection) -> None:
        assert self._batch is not None
        await connection.execute(
            _QUERIES["add_evidence"],
            self._batch.batch_id,
            *_statistics_columns(self._batch.rows),
            *_violation_columns(self._batch.violations),
        )

    def _take(self) -> bool:
        """Make the next batch; False when there is nothing left."""
        self._tell_what_was_lost()
        buckets = list(islice(self._buckets, _BATCH))
        rows = [(bucket, self._buckets.pop(bucket)) for bucket in buckets]
        violations = [self._violations.popleft() for _ in range(min(_BATCH, len(self._violations)))]
        if rows or violations:
            self._batch = _Batch(batch_id=uuid4(), rows=rows, violations=violations)
        return self._batch is not None

    def _drop_what_is_too_much(self) -> None:
        while len(self._violations) > self._max_violations:
            self._lose_one(self._violations.popleft().offence.tenant)
        while len(self._buckets) > self._max_buckets:
            bucket, _ = self._buckets.popitem(last=False)
            self._lose_one(bucket.group.tenant)

    def _lose(self, batch: _Batch) -> None:
        for bucket, _ in batch.rows:
            self._lose_one(bucket.group.tenant)
        for violation in batch.violations:
            self._lose_one(violation.offence.tenant)

    def _lose_one(self, tenant: str) -> None:
        metrics.evidence_dropped.inc()
        if len(self._lost) >= _MAX_TENANTS and tenant not in self._lost:
            tenant = OTHER
        self._lost[tenant] += 1

    def _tell_what_was_lost(self) -> None:
        lost, self._lost = self._lost, Counter()
        minute = self._now_us() // _MINUTE
        for tenant, count in lost.items():
            bucket = Bucket(Group(tenant, "", ""), minute)
            self._buckets.setdefault(bucket, Tally()).dropped += count


def _statistics_columns(rows: Sequence[Row]) -> list[list[Any]]:
    """Return the rows as the arrays that the statement takes."""
    return [
        [bucket.group.tenant for bucket, _ in rows],
        [bucket.group.rule for bucket, _ in rows],
        [bucket.group.plan for bucket, _ in rows],
        [moment(bucket.minute * _MINUTE) for bucket, _ in rows],
        [tally.allowed for _, tally in rows],
        [tally.denied for _, tally in rows],
        [tally.shadow_denied for _, tally in rows],
        [tally.degraded for _, tally in rows],
        [tally.dropped for _, tally in rows],
    ]


def _violation_columns(violations: Sequence[Violation]) -> list[list[Any]]:
    offences = [violation.offence for violation in violations]
    return [
        [offence.tenant for offence in offences],
        [offence.subject for offence in offences],
        [offence.rule for offence in offences],
        [offence.endpoint for offence in offences],
        [offence.plan for offence in offences],
        [offence.reason.value for offence in offences],
        [offence.shadow for offence in offences],
        [violation.count for violation in violations],
        [moment(violation.first_at) for violation in violations],
        [moment(violation.last_at) for violation in violations],
        [violation.request_id for violation in violations],
        [violation.limit for violation in violations],
    ]
