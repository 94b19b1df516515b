"""What happens by the clock, in PostgreSQL."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any

from services.jobs import endings
from services.jobs.endings import Ending
from services.jobs.frames import Directive
from services.jobs.job import Failure, JobId, SessionId
from services.jobs.postgres_turns import close_leases, find_undoable, lock_leases
from services.jobs.postgres_waits import after_ends, finish_waits
from services.jobs.states import JobState
from services.jobs.timer_ports import NOT_STARTED, Due, Swept, UnstartedJob
from services.jobs.token import Token
from services.jobs.waiting import Done, EndedChild
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS

TIMED_OUT = "TimedOut"

_QUERIES = load_queries("services.jobs", "sql/timers.sql")


class PostgresTimers:
    """Implements TimerStore and DirectiveStore; `random` spreads retries."""

    def __init__(self, postgres: Postgres, random: Callable[[], float]) -> None:
        self._postgres = postgres
        self._random = random

    async def look(self) -> Due:
        """Return when to sweep."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            return Due(**dict(await connection.fetchrow(_QUERIES["look"])))

    async def finish_due_waits(self, limit: int) -> Swept:
        """End waits whose time has come."""

        async def work(connection: Connection) -> Swept:
            rows = await connection.fetch(_QUERIES["lock_due_waits"], limit)
            moved = await finish_waits(
                connection,
                [Done(job_id=row["job_id"], key=row["key"], result="null") for row in rows],
            )
            return Swept(count=len(rows), jobs=moved.jobs, work=bool(moved.woken))

        return await self._postgres.run(ALL_TENANTS, work)

    async def end_expired_turns(self, limit: int) -> Swept:
        """Take jobs from workers that had long enough."""

        async def work(connection: Connection) -> Swept:
            lasted: dict[SessionId, dict[JobId, float]] = defaultdict(dict)
            locked = await connection.fetch(_QUERIES["lock_expired"], limit)
            rows = await connection.fetch(
                _QUERIES["expired_leases"], [row["job_id"] for row in locked]
            )
            for row in rows:
                lasted[row["session_id"]][row["job_id"]] = row["lasted"]
            ended: list[Ending] = []
            for session_id, jobs in lasted.items():
                ended += await self._end(connection, session_id, jobs)
            moved = await close_leases(connection, ended)
            return Swept(
                count=len(rows), jobs=moved.jobs, work=bool(moved.woken), endings=tuple(ended)
            )

        return await self._postgres.run(ALL_TENANTS, work)

    async def _end(
        self, connection: Connection, session_id: SessionId, lasted: Mapping[JobId, float]
    ) -> list[Ending]:
        undoable = await find_undoable(connection, lasted)
        ended = []
        for lease in await lock_leases(connection, session_id, lasted):
            undo = lease.job_id in undoable
            if lease.cancelled:
                # The worker had its time to comply.
                ended.append(endings.released(lease, undoable=undo))
                continue
            message = f"the turn had not ended after {lasted[lease.job_id]:.0f} s"
            failure = Failure(kind=TIMED_OUT, message=message)
            ended.append(
                endings.failed(
                    lease, failure, asked_wait=None, random=self._random(), undoable=undo
                )
            )
        return ended

    async def bury_unstarted(self, limit: int) -> Swept:
        """Make dead letters of jobs that have waited too long for their first attempt."""

        async def work(connection: Connection) -> Swept:
            rows = await connection.fetch(_QUERIES["find_unstarted"], limit)
            due = [row["job_id"] for row in rows]
            locked: list[JobId] = []
            for query in ("lock_unstarted_delayed", "lock_unstarted_ready"):
                locked += [row["job_id"] for row in await connection.fetch(_QUERIES[query], due)]
            buried = await connection.fetch(
                _QUERIES["bury_unstarted"], sorted(locked), NOT_STARTED.message
            )
            moved = await after_ends(
                connection,
                [_child_from(row) for row in buried if row["parent_job_id"] is not None],
            )
            jobs = frozenset(row["job_id"] for row in buried)
            return Swept(
                count=len(buried),
                jobs=jobs | moved.jobs,
                work=bool(moved.woken),
                unstarted=tuple(map(_unstarted_from, buried)),
            )

        return await self._postgres.run(ALL_TENANTS, work)

    async def directives(
        self, sessions: Collection[SessionId], jobs: Collection[JobId] | None
    ) -> list[tuple[SessionId, Directive]]:
        """Return what sessions are to do about jobs."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            if jobs is None:
                rows = await connection.fetch(_QUERIES["find_all_directives"], list(sessions))
            else:
                rows = await connection.fetch(
                    _QUERIES["find_directives"], list(sessions), list(jobs)
                )
        return [(row["session_id"], _directive_from(row)) for row in rows]


def _directive_from(row: Mapping[str, Any]) -> Directive:
    token = Token(job_id=row["job_id"], epoch=row["epoch"])
    return Directive(token=token, reason=row["cancel_reason"])


def _unstarted_from(row: Mapping[str, Any]) -> UnstartedJob:
    return UnstartedJob(
        job_id=row["job_id"],
        function=row["function"],
        tenant=row["tenant"],
        request_id=row["request_id"],
        traceparent=row["traceparent"],
    )


def _child_from(row: Mapping[str, Any]) -> EndedChild:
    return EndedChild(
        job_id=row["job_id"],
        parent=row["parent_job_id"],
        parent_key=row["parent_key"],
        state=JobState.DEAD_LETTERED,
        result=None,
        failure=NOT_STARTED,
    )
