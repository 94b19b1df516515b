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
        return Held(
            leases=leases,
            finished_keys=await self._finished_keys(connection, held, reports),
            closed=await self._closed(connection, session_id, wanted - held),
        )

    async def _finished_keys(
        self, connection: Connection, held: Collection[JobId], reports: Sequence[Report]
    ) -> dict[JobId, set[str]]:
        """Return which of the reported steps are stored, of jobs that the session holds."""
        stepped = _steps_of(held, reports)
        if not stepped:
            return {}
        # Not all keys of a job: with many steps, each report would cost more than the one before.
        keys = set[str]().union(*stepped.values())
        found: dict[JobId, set[str]] = defaultdict(set)
        query = self._queries["find_finished_steps"]
        for row in await connection.fetch(query, list(stepped), list(keys)):
            found[row["job_id"]].add(row["key"])
        return found

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


def _steps_of(held: Collection[JobId], reports: Sequence[Report]) -> dict[JobId, set[str]]:
    steps: dict[JobId, set[str]] = defaultdict(set)
    for report in reports:
        match report.news:
            # A NUL is refused by the database, also as a mere question.
            case StepCompleted(key=key) if "\0" not in key:
                if report.token is not None and report.token.job_id in held:
                    steps[report.token.job_id].add(key)
    return steps
