"""Reports of workers in PostgreSQL: one transaction for a batch."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from services.jobs.job import JobId, SessionId
from services.jobs.postgres_turns import lock_leases, write_turns
from services.jobs.reports import Report, StepCompleted
from services.jobs.settlement import Closed, Held, Random, Settlement, settle
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import Tenant


class PostgresReports:
    """Implements ReportStore; `random` spreads retries."""

    def __init__(self, postgres: Postgres, queries: Mapping[str, str], random: Random) -> None:
        self._postgres = postgres
        self._queries = queries
        self._random = random

    async def apply(
        self, tenant: Tenant, session_id: SessionId, reports: Sequence[Report]
    ) -> Settlement:
        """Settle reports against the locked leases and store what follows."""

        async def work(connection: Connection) -> Settlement:
            held = await self._lock(connection, session_id, reports)
            settlement = settle(reports, held, self._random)
            await write_turns(connection, self._queries, settlement.turns)
            return settlement

        return await self._postgres.run(tenant, work)

    async def _lock(
        self, connection: Connection, session_id: SessionId, reports: Sequence[Report]
    ) -> Held:
        wanted = {report.token.job_id for report in reports if report.token is not None}
        leases = await lock_leases(connection, self._queries, session_id, wanted)
        held = {lease.job_id for lease in leases}
        stepped = held & {
            report.token.job_id
            for report in reports
            if report.token is not None and isinstance(report.news, StepCompleted)
        }
        return Held(
            leases=leases,
            finished_keys=await self._finished_keys(connection, stepped),
            closed=await self._closed(connection, session_id, wanted - held),
        )

    async def _finished_keys(
        self, connection: Connection, job_ids: Collection[JobId]
    ) -> dict[JobId, set[str]]:
        keys: dict[JobId, set[str]] = defaultdict(set)
        if job_ids:
            rows = await connection.fetch(self._queries["find_finished_steps"], list(job_ids))
            for row in rows:
                keys[row["job_id"]].add(row["key"])
        return keys

    async def _closed(
        self, connection: Connection, session_id: SessionId, job_ids: Collection[JobId]
    ) -> dict[JobId, Closed]:
        if not job_ids:
            return {}
        rows = await connection.fetch(self._queries["find_closed"], session_id, list(job_ids))
        return {
            row["job_id"]: Closed(epoch=row["epoch"], sequence=row["closed_sequence"])
            for row in rows
        }
