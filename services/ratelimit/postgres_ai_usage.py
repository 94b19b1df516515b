"""AI calls in PostgreSQL: written while their caller waits, or later when it is away."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import asyncpg
import structlog

from mainstay.errors import DatabaseError
from services.ratelimit import metrics
from services.ratelimit.ai_call import AiUsage
from services.ratelimit.ai_usage_summary import (
    Dimension,
    UsageGroup,
    UsagePlace,
    UsageQuery,
    UsageSum,
)
from services.ratelimit.database import Database
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
from shared.rpc.call import ALL_TENANTS, Tenant

MAX_WAITING = 10_000
INTERVAL = 1.0
PATIENCE = 1.0
"""Seconds that a caller waits for PostgreSQL before its call waits without it."""

_BATCH = 500
_QUERIES = load_queries("services.ratelimit", "sql/ai_usage.sql")
_COLUMN_OF = {
    Dimension.DAY: "day",
    Dimension.PROVIDER: "by_provider",
    Dimension.MODEL: "by_model",
    Dimension.SUBJECT: "by_subject",
    Dimension.OPERATION: "by_operation",
}
# Before the first: nothing costs that much.
_FIRST = UsagePlace(2**62, "")

log = structlog.get_logger()


class PostgresAiUsage:
    """A resource; the `AiUsageLog` and `UsageSums` of production and of the tests.

    Without a database calls are charged and not kept.
    """

    name = "AI usage"

    def __init__(self, database: Database, *, max_waiting: int = MAX_WAITING) -> None:
        self._database = database
        self._max_waiting = max_waiting
        self._waiting: deque[AiUsage] = deque()
        self._writing = asyncio.Lock()
        self._adding: set[asyncio.Task[bool]] = set()

    async def start(self) -> None:
        """Do nothing: nobody waits for PostgreSQL."""

    async def close(self) -> None:
        """Write what waits, if PostgreSQL is there, and tell what is lost."""
        with suppress(TimeoutError, *FAILURES):
            if self._waiting and self._database.connected:
                await asyncio.wait_for(self.write_once(), FAREWELL)
        if self._waiting:
            self._lose(list(self._waiting))
        adding = list(self._adding)
        for task in adding:
            task.cancel()
        await asyncio.gather(*adding, return_exceptions=True)

    async def keep(self, usage: AiUsage) -> bool:
        if not self._database.present:
            return True
        if not self._waiting:
            new = await self._add_at_once(usage)
            if new is not None:
                return new
        # It has an id of its own: should it be written just now too, that is all it ever is.
        if len(self._waiting) >= self._max_waiting:
            raise DatabaseError(
                f"{self._max_waiting:,} AI calls wait for PostgreSQL already; record this one "
                "again later, with the same request id",
                retry_after=INTERVAL,
            )
        self._waiting.append(usage)
        metrics.ai_usage_waiting.set(len(self._waiting))
        return True

    async def write_once(self) -> None:
        """Write all that waits; raises DatabaseError, and loses nothing then."""
        async with self._writing:
            while self._waiting:
                some = list(islice(self._waiting, _BATCH))
                try:
                    await self._add(ALL_TENANTS, some)
                except REFUSED as error:
                    log.warning("ai_usage_refused", error=str(error))
                    self._lose(some)
                for _ in some:
                    self._waiting.popleft()
                metrics.ai_usage_waiting.set(len(self._waiting))

    async def clean_once(self) -> int:
        """Delete some of what is older than 90 days; returns how many rows it was."""

        async def work(connection: Connection) -> int:
            query = _QUERIES["delete_old_usage"]
            return int(await connection.fetchval(query, KEPT, DELETED_AT_ONCE))

        return await self._database.run(ALL_TENANTS, work)

    async def run(self) -> None:
        """Write what waits, and delete what is old, again and again. For a background task."""
        if not self._database.present:
            await asyncio.Event().wait()
        await self._database.wait_connected()
        await write_again_and_again(
            self.write_once, self.clean_once, what="ai_usage", interval=INTERVAL
        )

    async def sums(
        self, tenant: Tenant, query: UsageQuery, *, after: UsagePlace | None, size: int
    ) -> tuple[UsageSum, Sequence[UsageGroup]]:
        async def work(connection: Connection) -> list[asyncpg.Record]:
            await connection.execute(_QUERIES["plan_for_values"])
            found: list[asyncpg.Record] = await connection.fetch(
                _QUERIES["sum_usage"],
                [dimension.value for dimension in query.group_by],
                tenant,
                moment(query.start),
                moment(query.end),
                query.subject,
                query.provider,
                query.model,
                *(after or _FIRST),
                size,
            )
            return found

        rows = await self._database.run(tenant, work)
        total = next(row for row in rows if not row["name"])
        return _sum(total), [_group(row, query.group_by) for row in rows if row["name"]]

    async def _add_at_once(self, usage: AiUsage) -> bool | None:
        """Write a call as `_add_one` does, or return None if that takes too long or fails."""
        # Not cancelled after a while: to end what PostgreSQL does not answer takes longer still.
        adding = asyncio.create_task(self._add_one(usage), name="record an AI call")
        self._adding.add(adding)
        adding.add_done_callback(self._added)
        done, _ = await asyncio.wait({adding}, timeout=PATIENCE)
        with suppress(DatabaseError):  # told by `_added`
            if done:
                return adding.result()
        log.info("ai_usage_waits", usage_id=str(usage.usage_id))
        return None

    def _added(self, adding: asyncio.Task[bool]) -> None:
        self._adding.discard(adding)
        if not adding.cancelled() and (error := adding.exception()):
            log.debug("ai_usage_not_written", error=str(error))

    async def _add_one(self, usage: AiUsage) -> bool:
        """Write a call; False if its request was recorded before."""
        if await self._add(usage.tenant, [usage]) or not usage.call.request_id:
            return True

        async def work(connection: Connection) -> bool:
            request = (usage.tenant, usage.call.request_id)
            known = await connection.fetchval(_QUERIES["find_request"], *request)
            # Its own: the answer to the first attempt was lost.
            return bool(known == usage.usage_id)

        return await self._database.run(usage.tenant, work)

    async def _add(self, tenant: Tenant, usages: Sequence[AiUsage]) -> int:
        """Write calls that are not there yet; returns how many that was."""

        async def work(connection: Connection) -> int:
            return len(await connection.fetch(_QUERIES["add_usage"], *_columns(usages)))

        return await self._database.run(tenant, work)

    def _lose(self, usages: Sequence[AiUsage]) -> None:
        metrics.ai_usage_lost.inc(len(usages))
        for usage in usages:
            log.error(
                "ai_usage_lost",
                usage_id=str(usage.usage_id),
                tenant=usage.tenant,
                provider=usage.call.provider,
                model=usage.call.model,
                tokens=usage.call.tokens._asdict(),
                cost_micros=usage.cost,
            )


def _columns(usages: Sequence[AiUsage]) -> list[list[Any]]:
    """Return the calls as the arrays that the statement takes."""
    calls = [usage.call for usage in usages]
    return [
        [usage.usage_id for usage in usages],
        [usage.tenant for usage in usages],
        [call.subject for call in calls],
        [usage.plan for usage in usages],
        [call.provider for call in calls],
        [call.model for call in calls],
        [call.operation for call in calls],
        [call.tokens.input for call in calls],
        [call.tokens.output for call in calls],
        [call.tokens.cached_input for call in calls],
        [call.latency for call in calls],
        [usage.cost for usage in usages],
        [call.error_line for call in calls],
        [call.request_id for call in calls],
        [moment(usage.recorded_at) for usage in usages],
    ]


def _group(row: asyncpg.Record, group_by: Sequence[Dimension]) -> UsageGroup:
    return UsageGroup(
        UsagePlace(row["cost_micros"], row["name"]),
        [row[_COLUMN_OF[dimension]] for dimension in group_by],
        _sum(row),
    )


def _sum(row: asyncpg.Record) -> UsageSum:
    return UsageSum(
        calls=row["calls"],
        failed_calls=row["failed_calls"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cached_input_tokens=row["cached_input_tokens"],
        cost=row["cost_micros"],
        unpriced_calls=row["unpriced_calls"],
        mean_latency=row["mean_latency_us"],
    )
