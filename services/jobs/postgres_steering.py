"""Jobs that somebody steers, in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mainstay.errors import DatabaseError
from services.jobs.intervals import interval_of
from services.jobs.job import Failure, JobId
from services.jobs.job_filter import JobFilter
from services.jobs.postgres_turns import find_undoable
from services.jobs.postgres_waits import after_ends, finish_waits
from services.jobs.states import JobState
from services.jobs.steering_ports import MAX_SIGNALS, Cancelled, Chosen, Signalled
from services.jobs.waiting import EndedChild, signal_done
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import Tenant

MAX_TRIES = 5
_QUERIES = load_queries("services.jobs", "sql/steering.sql")


class _MovedError(Exception):
    """A job went elsewhere before it was locked."""


class PostgresSteering:
    """Implements SteeringStore."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def cancel(
        self, tenant: Tenant, job_id: JobId, *, reason: str, rollback: bool, grace: float
    ) -> Cancelled | None:
        """Let a job and its descendants end."""

        async def work(connection: Connection) -> Cancelled | None:
            family = await _lock_family(connection, tenant, job_id)
            if job_id not in family.states or family.states[job_id].is_over:
                return None
            return await _cancel(connection, family, reason, rollback=rollback, grace=grace)

        for _ in range(MAX_TRIES):
            try:
                return await self._postgres.run(tenant, work)
            except _MovedError:
                continue
        raise DatabaseError(f"job {job_id} moves faster than it can be locked; try again")

    async def signal(self, tenant: Tenant, job_id: JobId, *, name: str, data: str) -> Signalled:
        """Give a signal to the step that waits for it, or keep it."""

        async def work(connection: Connection) -> Signalled:
            found = await connection.fetchval(_QUERIES["lock_job"], tenant, job_id)
            if found is None or JobState(found).is_over:
                return Signalled(state=found and JobState(found))
            key = await connection.fetchval(_QUERIES["find_signal_wait"], job_id, name)
            if key is not None:
                moved = await finish_waits(connection, [signal_done(job_id, key, data)])
                return Signalled(
                    state=JobState(found), waiting=-1, jobs=moved.jobs, work=bool(moved.woken)
                )
            waiting = await connection.fetchval(_QUERIES["count_signals"], job_id)
            if waiting < MAX_SIGNALS:
                await connection.execute(_QUERIES["insert_signal"], job_id, tenant, name, data)
            return Signalled(state=JobState(found), waiting=waiting)

        async with self._postgres.transaction(tenant) as connection:
            # Not repeated after an error: what an unanswered commit has stored would be told twice.
            return await work(connection)

    async def revive(
        self, tenant: Tenant, wanted: Collection[JobId] | JobFilter, *, limit: int
    ) -> Chosen:
        """Let dead letters go on."""

        async def work(connection: Connection) -> Chosen:
            chosen = await _lock_dead_letters(connection, tenant, wanted, limit)
            if chosen.jobs:
                await connection.execute(_QUERIES["revive_dead_letters"], chosen.jobs)
            return chosen

        return await self._postgres.run(tenant, work)

    async def discard(
        self, tenant: Tenant, wanted: Collection[JobId] | JobFilter, *, limit: int
    ) -> Chosen:
        """Put dead letters away."""

        async def work(connection: Connection) -> Chosen:
            chosen = await _lock_dead_letters(connection, tenant, wanted, limit)
            if chosen.jobs:
                discarded = JobState.DISCARDED.value
                await connection.execute(
                    _QUERIES["archive_parked"], chosen.jobs, discarded, None, None
                )
            return chosen

        return await self._postgres.run(tenant, work)


class _Family:
    """A job and its descendants, locked: where each stands, and which of them workers have."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], held: Collection[JobId]) -> None:
        self.states = {row["job_id"]: JobState(row["state"]) for row in rows}
        self.held = held

    def parked(self) -> list[JobId]:
        """Return those that can end at once."""
        return [
            job_id
            for job_id, state in self.states.items()
            if job_id not in self.held and not state.is_over and state is not JobState.ROLLING_BACK
        ]

    def going_on(self) -> list[JobId]:
        """Return those that a worker has to end."""
        return [
            job_id
            for job_id, state in self.states.items()
            if not state.is_over and (job_id in self.held or state is JobState.ROLLING_BACK)
        ]


async def _lock_family(connection: Connection, tenant: Tenant, job_id: JobId) -> _Family:
    """Lock a job and its descendants; raises _MovedError when one was somewhere else by then."""
    parents = await _find_family(connection, tenant, job_id)
    ids = list(parents)
    locked = set()
    for place, query in (("delayed", "lock_delayed"), ("ready", "lock_ready_jobs")):
        rows = await connection.fetch(_QUERIES[query], ids)
        locked |= {(row["job_id"], place) for row in rows}
    # With the job that waits for it, whose row is written if this one ends.
    others = [parent for parent in parents.values() if parent and parent not in parents]
    records = await connection.fetch(_QUERIES["lock_records"], [*ids, *others])
    rows = await connection.fetch(_QUERIES["find_places"], ids)
    held = {row["job_id"] for row in rows if row["place"] == "held"}
    queued = {(row["job_id"], row["place"]) for row in rows if row["place"] != "held"}
    if queued - locked or await _find_family(connection, tenant, job_id) != parents:
        raise _MovedError
    return _Family([row for row in records if row["job_id"] in parents], held)


async def _find_family(
    connection: Connection, tenant: Tenant, job_id: JobId
) -> dict[JobId, JobId | None]:
    """Return a job and its descendants, each with the job that invoked it."""
    rows = await connection.fetch(_QUERIES["find_family"], tenant, job_id)
    return {row["job_id"]: row["parent_job_id"] for row in rows}


async def _cancel(
    connection: Connection, family: _Family, reason: str, *, rollback: bool, grace: float
) -> Cancelled:
    parked, going_on = family.parked(), family.going_on()
    undoable = await find_undoable(connection, parked) if rollback else set()
    ending = [job_id for job_id in parked if job_id not in undoable]
    rows = await connection.fetch(
        _QUERIES["archive_parked"], ending, JobState.CANCELLED.value, reason, rollback
    )
    await connection.execute(_QUERIES["undo_parked"], list(undoable), reason)
    await connection.execute(_QUERIES["queue_jobs"], list(undoable))
    told = await connection.fetch(
        _QUERIES["mark_cancelled"], going_on, reason, rollback, interval_of(grace)
    )
    children = [_child_from(row) for row in rows if row["parent_job_id"] is not None]
    moved = await after_ends(connection, children)
    return Cancelled(
        jobs=frozenset(family.states) | moved.jobs,
        ended=frozenset(ending),
        held=bool(told),
        work=bool(undoable or moved.woken),
    )


def _child_from(row: Mapping[str, Any]) -> EndedChild:
    kind = row["failure_kind"]
    return EndedChild(
        job_id=row["job_id"],
        parent=row["parent_job_id"],
        parent_key=row["parent_key"],
        state=JobState.CANCELLED,
        result=None,
        failure=None if kind is None else Failure(kind=kind, message=row["failure_message"]),
    )


async def _lock_dead_letters(
    connection: Connection, tenant: Tenant, wanted: Collection[JobId] | JobFilter, limit: int
) -> Chosen:
    if not isinstance(wanted, JobFilter):
        rows = await connection.fetch(_QUERIES["lock_dead_letters"], tenant, list(wanted))
        return Chosen(jobs=tuple(row["job_id"] for row in rows))
    rows = await connection.fetch(
        _QUERIES["lock_fitting_dead_letters"],
        tenant,
        # One more tells whether there are more.
        limit + 1,
        wanted.function,
        wanted.event_id,
        wanted.request_id,
        wanted.failure_kind,
        wanted.create_time_from,
        wanted.create_time_to,
    )
    return Chosen(jobs=tuple(row["job_id"] for row in rows[:limit]), more=len(rows) > limit)
