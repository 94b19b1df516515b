"""Reports of workers in PostgreSQL: one transaction for a batch."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from services.jobs.endings import Lease, Success
from services.jobs.function import FunctionDefinition
from services.jobs.job import Compensation, JobId, Progress, SessionId
from services.jobs.postgres_functions import find_functions
from services.jobs.postgres_turns import (
    complete,
    find_compensations,
    lock_leases,
    write_turns,
)
from services.jobs.postgres_waits import find_ancestors
from services.jobs.reports import (
    Completed,
    News,
    Report,
    StepCompleted,
    Suspended,
    WaitBegun,
)
from services.jobs.settlement import Closed, Held, Random, Settlement, joined, plain_ends, settle
from services.jobs.waiting import Invoke
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import Tenant

_QUERIES = load_queries("services.jobs", "sql/turns.sql")
_GOES_ON = StepCompleted | WaitBegun | Progress


class PostgresReports:
    """Implements ReportStore; `random` spreads retries."""

    def __init__(self, postgres: Postgres, random: Random) -> None:
        self._postgres = postgres
        self._random = random

    async def apply(
        self, tenant: Tenant, session_id: SessionId, reports: Sequence[Report]
    ) -> Settlement:
        """Settle reports against the locked leases and store what follows."""

        async def work(connection: Connection) -> Settlement:
            successes = await complete(connection, session_id, plain_ends(reports))
            rest = [each for each in reports if not _is_of(each, successes)]
            if not rest:
                return joined(reports, successes, Settlement(acks=[], turns=[]))
            held = await _lock(connection, session_id, rest)
            settlement = settle(rest, held, self._random)
            await write_turns(connection, settlement.turns)
            return joined(reports, successes, settlement)

        return await self._postgres.run(tenant, work)


def _is_of(report: Report, successes: Mapping[JobId, Success]) -> bool:
    return report.token is not None and report.token.job_id in successes


async def _lock(connection: Connection, session_id: SessionId, reports: Sequence[Report]) -> Held:
    news = _by_job(reports)
    leases = await lock_leases(connection, session_id, news.keys())
    held = {lease.job_id: lease for lease in leases}
    ours = {job_id: each for job_id, each in news.items() if job_id in held}
    finished, waiting = await _steps(connection, ours)
    return Held(
        leases=leases,
        finished=finished,
        closed=await _closed(connection, session_id, news.keys() - held.keys()),
        waiting=waiting,
        compensations=await _compensations(connection, held, ours),
        ancestors=await _ancestors(connection, ours),
        functions=await _functions(connection, held, ours),
    )


_News = Mapping[JobId, Sequence[News]]


def _by_job(reports: Iterable[Report]) -> _News:
    news: dict[JobId, list[News]] = defaultdict(list)
    for report in reports:
        if report.token is not None:
            each = news[report.token.job_id]
            if report.news is not None:
                each.append(report.news)
    return news


def _keys(news: _News) -> dict[JobId, set[str]]:
    """Return the keys of steps that reports name."""
    found: dict[JobId, set[str]] = defaultdict(set)
    for job_id, some in news.items():
        for each in some:
            match each:
                case StepCompleted(key=key) | WaitBegun(key=key):
                    found[job_id].add(key)
                case Suspended(keys=keys):
                    found[job_id].update(keys)
    # A NUL is refused by the database, also as a mere question.
    return {job_id: clean for job_id, keys in found.items() if (clean := _without_nul(keys))}


def _without_nul(texts: Iterable[str]) -> set[str]:
    return {text for text in texts if "\0" not in text}


_Steps = dict[JobId, set[str]]


async def _steps(connection: Connection, news: _News) -> tuple[_Steps, _Steps]:
    """Return which of the reported steps have finished, and which wait or have waited."""
    finished: _Steps = defaultdict(set)
    waiting: _Steps = defaultdict(set)
    if named := _keys(news):
        # Not all keys of a job: with many steps, each report would cost more than the one before.
        keys = list(set[str]().union(*named.values()))
        for row in await connection.fetch(_QUERIES["find_steps"], list(named), keys):
            if row["finished"]:
                finished[row["job_id"]].add(row["key"])
            if row["waits"]:
                waiting[row["job_id"]].add(row["key"])
    return finished, waiting


async def _closed(
    connection: Connection, session_id: SessionId, job_ids: Collection[JobId]
) -> dict[JobId, Closed]:
    if not job_ids:
        return {}
    rows = await connection.fetch(_QUERIES["find_closed"], session_id, list(job_ids))
    return {
        row["job_id"]: Closed(epoch=row["epoch"], sequence=row["closed_sequence"]) for row in rows
    }


async def _compensations(
    connection: Connection, held: Mapping[JobId, Lease], news: _News
) -> dict[JobId, dict[str, Compensation]]:
    """Return what there is to undo, of jobs of which it may be asked."""
    asked = [
        job_id
        for job_id, each in news.items()
        if held[job_id].rollback or (held[job_id].steps_bytes and _may_roll_back(each))
    ]
    return await find_compensations(connection, asked) if asked else {}


def _may_roll_back(news: Iterable[News]) -> bool:
    return not all(isinstance(each, _GOES_ON | Completed) for each in news)


def _invocations(news: _News) -> dict[JobId, set[str]]:
    found: dict[JobId, set[str]] = defaultdict(set)
    for job_id, some in news.items():
        for each in some:
            if isinstance(each, WaitBegun) and isinstance(each.wait, Invoke):
                found[job_id].add(each.wait.function)
    return found


async def _ancestors(connection: Connection, news: _News) -> dict[JobId, tuple[str, ...]]:
    invoking = _invocations(news)
    return await find_ancestors(connection, invoking) if invoking else {}


async def _functions(
    connection: Connection, held: Mapping[JobId, Lease], news: _News
) -> dict[str, dict[str, FunctionDefinition]]:
    """Return what reports want to invoke, by tenant and name."""
    names: dict[str, set[str]] = defaultdict(set)
    for job_id, functions in _invocations(news).items():
        names[held[job_id].tenant] |= _without_nul(functions)
    found = {}
    for tenant, wanted in names.items():
        declared = await find_functions(connection, Tenant(tenant), wanted)
        found[tenant] = {name: each.definition for name, each in declared.items()}
    return found
