"""Calls that start jobs, in PostgreSQL: read what is known, decide, write what follows."""

from collections.abc import Callable, Sequence

import asyncpg

from mainstay.errors import (
    AlreadyExistsError,
    DatabaseError,
    MainstayError,
    NotFoundError,
    QueueFullError,
    ValidationError,
)
from services.jobs import postgres_accepting as accepting
from services.jobs.acceptance import Acceptance, questions
from services.jobs.event import AcceptedEvent, NewCall
from services.jobs.job import JobId
from services.jobs.ports import ShedJob, Stored
from services.jobs.postgres_accepting import OvertakenError
from services.jobs.postgres_functions import find_functions
from services.jobs.postgres_starting import insert_jobs
from services.jobs.postgres_waits import finish_waits
from services.jobs.waiting import Moved
from services.jobs.wakeups import Change
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import Tenant

MAX_RACES = 5

_QUERIES = load_queries("services.jobs", "sql/events.sql")


class PostgresEvents:
    """Implements EventStore."""

    def __init__(self, postgres: Postgres, new_job_id: Callable[[], JobId]) -> None:
        self._postgres = postgres
        self._new_job_id = new_job_id

    async def accept(self, tenant: Tenant, calls: Sequence[NewCall]) -> Stored:
        """Start the jobs of calls, in one transaction."""
        for _ in range(MAX_RACES):
            work = _Work(tenant, calls, self._new_job_id)
            try:
                return await self._postgres.run(tenant, work.run)
            except OvertakenError:
                # Somebody else has taken a key since we looked: now it is there to be read.
                continue
            except asyncpg.DataError as error:
                raise ValidationError(
                    f"the payload cannot be stored: {error}",
                    fields={"events": "a payload is JSON that PostgreSQL does not take"},
                ) from error
        raise DatabaseError(
            f"the keys of the call were taken by others {MAX_RACES} times while it was being "
            "stored; send it again"
        )

    async def has_function(self, tenant: Tenant, name: str) -> bool:
        """Return whether a function can be started for a tenant."""
        async with self._postgres.transaction(tenant) as connection:
            return bool(await find_functions(connection, tenant, [name]))


class _Work:
    """One transaction, which may have to be tried again because its commit was not answered."""

    def __init__(
        self, tenant: Tenant, calls: Sequence[NewCall], new_job_id: Callable[[], JobId]
    ) -> None:
        self._tenant = tenant
        self._calls = calls
        self._new_job_id = new_job_id
        self._transaction: str | None = None
        self._stored: Stored | None = None

    async def run(self, connection: Connection) -> Stored:
        """Do it, unless an earlier attempt did."""
        if await self._has_committed(connection) and self._stored is not None:
            return self._stored
        functions = await accepting.find_functions_of(connection, self._tenant, self._calls)
        asked = questions(self._calls, functions)
        known, stale = await accepting.answer(connection, self._tenant, asked)
        acceptance = Acceptance(functions, known, self._new_job_id)
        outcomes = tuple([_taken(acceptance, call) for call in self._calls])
        change, shed = await self._write(connection, acceptance, stale)
        self._stored = Stored(outcomes=outcomes, change=change, shed=shed)
        return self._stored

    async def _has_committed(self, connection: Connection) -> bool:
        if self._transaction is None:
            return False
        status = await connection.fetchval(_QUERIES["transaction_status"], self._transaction)
        if status == "in progress":
            raise DatabaseError("whether the events were stored is not known yet; send them again")
        return bool(status == "committed")

    async def _write(
        self, connection: Connection, acceptance: Acceptance, stale: Sequence[JobId]
    ) -> tuple[Change, tuple[ShedJob, ...]]:
        if not acceptance.events:
            return Change(), ()
        tenant = self._tenant
        await accepting.write_keys(connection, tenant, acceptance, stale)
        jobs = list(acceptance.jobs.values())
        names = {event.name for event in acceptance.events if event.name}
        inserted = await insert_jobs(connection, tenant, jobs, events=names)
        self._transaction = inserted.transaction
        await accepting.fold(connection, acceptance.folded.values())
        shed, done = await accepting.shed(connection, tenant, acceptance.excess())
        done += await accepting.ended_waits(
            connection, tenant, acceptance.events, inserted.waited_for
        )
        moved = await finish_waits(connection, done) if done else Moved()
        delays = [job.delay for job in jobs if job.delay > 0]
        # One that was held up for long enough is due, and delayed until it is promoted.
        delays += [job.delay for job in acceptance.folded.values()]
        change = Change(
            jobs=moved.jobs.union(acceptance.folded, (job.job_id for job in shed)),
            work=bool(moved.woken) or any(job.delay <= 0 for job in jobs),
            due_in=min(delays, default=None),
        )
        return change, tuple(shed)


def _taken(acceptance: Acceptance, call: NewCall) -> tuple[AcceptedEvent, ...] | MainstayError:
    try:
        return acceptance.take(call)
    except (AlreadyExistsError, NotFoundError, QueueFullError) as error:
        return error
