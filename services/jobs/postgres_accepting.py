"""The single steps of accepting calls, each one statement."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.jobs.acceptance import (
    Acceptance,
    Functions,
    Keyed,
    Known,
    KnownKey,
    Pending,
    Questions,
)
from services.jobs.event import NewCall, NewEvent
from services.jobs.function import FunctionDefinition
from services.jobs.job import EventId, Failure, JobId
from services.jobs.overflow import Excess, Fullness
from services.jobs.ports import ShedJob
from services.jobs.postgres_functions import find_functions, functions_for_events
from services.jobs.starting import NewJob
from services.jobs.states import JobState
from services.jobs.waiting import Done, EndedChild, ends_of, event_done
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries
from shared.rpc.call import Tenant

SHED = Failure(kind="Shed", message="gave way to newer jobs: its queue was full")

_QUERIES = load_queries("services.jobs", "sql/events.sql")
_AROUND = timedelta(minutes=1)
_BELOW_MILLISECONDS = 80


class OvertakenError(Exception):
    """Somebody else has written down a key since it was read."""


async def find_functions_of(
    connection: Connection, tenant: Tenant, calls: Iterable[NewCall]
) -> Functions:
    """Return the functions that calls start."""
    events = [event for call in calls for event in call.events]
    triggers = {event.name for event in events if not event.function}
    names = {event.function for event in events if event.function}
    by_event: dict[str, list[FunctionDefinition]] = defaultdict(list)
    by_name = {}
    if triggers:
        for declared in await functions_for_events(connection, tenant, triggers):
            by_event[declared.definition.trigger].append(declared.definition)
    if names:
        found = await find_functions(connection, tenant, names)
        by_name = {name: declared.definition for name, declared in found.items()}
    return Functions(by_event=by_event, by_name=by_name)


async def answer(
    connection: Connection, tenant: Tenant, asked: Questions
) -> tuple[Known, Sequence[JobId]]:
    """Return what is known, and jobs that debounces name and that wait no longer."""
    keys = await _find_keys(connection, tenant, asked.keys) if asked.keys else {}
    job_keys = await _find_job_keys(connection, tenant, asked.job_keys) if asked.job_keys else {}
    debounces: dict[Keyed, Pending] = {}
    stale: Sequence[JobId] = ()
    if asked.debounces:
        debounces, stale = await _lock_debounces(connection, tenant, asked.debounces)
    fullness = await _measure(connection, tenant, asked.bounded) if asked.bounded else {}
    known = Known(keys=keys, job_keys=job_keys, debounces=debounces, fullness=fullness)
    return known, stale


async def _find_keys(
    connection: Connection, tenant: Tenant, keys: Collection[str]
) -> dict[str, KnownKey]:
    rows = await connection.fetch(_QUERIES["find_keys"], tenant, list(keys))
    of_version_1 = {row["event_id"]: row["create_time"] for row in rows if row["job_ids"] is None}
    started = await _find_jobs(connection, tenant, of_version_1) if of_version_1 else {}
    return {
        row["key"]: KnownKey(
            event_id=row["event_id"],
            content_hash=row["content_hash"],
            job_ids=tuple(
                started.get(row["event_id"], ()) if row["job_ids"] is None else row["job_ids"]
            ),
        )
        for row in rows
    }


async def _find_jobs(
    connection: Connection, tenant: Tenant, events: Mapping[EventId, datetime]
) -> dict[EventId, list[JobId]]:
    rows = await connection.fetch(
        _QUERIES["find_jobs_of_events"],
        tenant,
        list(events),
        _first_id(min(events.values()) - _AROUND),
        _first_id(max(events.values()) + _AROUND),
    )
    started: dict[EventId, list[JobId]] = defaultdict(list)
    for row in rows:
        started[row["event_id"]].append(row["job_id"])
    # Ids sort by creation.
    return {event_id: sorted(job_ids) for event_id, job_ids in started.items()}


def _first_id(moment: datetime) -> UUID:
    return UUID(int=int(moment.timestamp() * 1000) << _BELOW_MILLISECONDS)


async def _find_job_keys(
    connection: Connection, tenant: Tenant, wanted: Collection[Keyed]
) -> dict[Keyed, JobId]:
    rows = await connection.fetch(_QUERIES["find_job_keys"], tenant, *_pairs(wanted))
    return {(row["function"], row["key"]): row["job_id"] for row in rows}


async def _lock_debounces(
    connection: Connection, tenant: Tenant, wanted: Collection[Keyed]
) -> tuple[dict[Keyed, Pending], list[JobId]]:
    rows = await connection.fetch(_QUERIES["lock_debounces"], tenant, *_pairs(wanted))
    if not rows:
        return {}, []
    job_ids = [row["job_id"] for row in rows]
    waiting = await connection.fetch(_QUERIES["lock_pending"], job_ids)
    still = {row["job_id"] for row in waiting}
    pending = {
        (row["function"], row["key"]): Pending(job_id=row["job_id"], waited=row["waited"])
        for row in rows
        if row["job_id"] in still
    }
    return pending, [job_id for job_id in job_ids if job_id not in still]


async def _measure(
    connection: Connection, tenant: Tenant, functions: Collection[str]
) -> dict[str, Fullness]:
    names = list(functions)
    await connection.fetch(_QUERIES["lock_queues"], tenant, names)
    # Another statement, so that it sees what was committed before the lock was had.
    rows = await connection.fetch(_QUERIES["measure_queues"], tenant, names)
    return {
        row["function"]: Fullness(depth=row["depth"], size=row["bytes"], oldest=row["oldest"])
        for row in rows
    }


def _pairs(wanted: Collection[Keyed]) -> tuple[list[str], list[str]]:
    ordered = list(wanted)
    return [function for function, _ in ordered], [key for _, key in ordered]


async def write_keys(
    connection: Connection, tenant: Tenant, acceptance: Acceptance, stale: Sequence[JobId]
) -> None:
    """Write down keys and debounces; raises OvertakenError when somebody else was quicker.

    In the same order everywhere: events' keys, functions' keys, debounces.
    """
    if keys := acceptance.keys:
        await _claim(
            connection,
            "claim_keys",
            tenant,
            list(keys),
            [known.event_id for known in keys.values()],
            [known.content_hash for known in keys.values()],
            ["{" + ",".join(map(str, known.job_ids)) + "}" for known in keys.values()],
        )
    if job_keys := acceptance.job_keys:
        await _claim(
            connection, "claim_job_keys", tenant, *_pairs(job_keys), list(job_keys.values())
        )
    if debounces := acceptance.debounces:
        pairs, job_ids = _pairs(debounces), list(debounces.values())
        await _claim(connection, "claim_debounces", tenant, *pairs, job_ids, extra=[stale])


async def _claim(
    connection: Connection,
    query: str,
    tenant: Tenant,
    *columns: Sequence[Any],
    extra: Sequence[Any] = (),
) -> None:
    said = await connection.execute(_QUERIES[query], tenant, *columns, *extra)
    # "INSERT 0 n", with the number of rows.
    if int(said.split()[-1]) < len(columns[0]):
        raise OvertakenError


async def fold(connection: Connection, jobs: Collection[NewJob]) -> None:
    """Give delayed jobs the payloads of later events."""
    if not jobs:
        return
    await connection.execute(
        _QUERIES["fold_jobs"],
        [job.job_id for job in jobs],
        [job.event_id for job in jobs],
        [job.event_name for job in jobs],
        [job.data for job in jobs],
        [job.size for job in jobs],
        [job.key for job in jobs],
        [job.priority for job in jobs],
        [job.delay for job in jobs],
        [job.request_id for job in jobs],
        [job.traceparent for job in jobs],
    )


async def shed(
    connection: Connection, tenant: Tenant, excess: Mapping[str, Excess]
) -> tuple[list[ShedJob], list[Done]]:
    """Make room in queues; returns the jobs that gave way, and which waits end by that."""
    gone: list[ShedJob] = []
    children = []
    for function, much in sorted(excess.items()):
        rows = await connection.fetch(
            _QUERIES["shed_oldest"],
            tenant,
            function,
            much.jobs,
            much.size,
            much.max_age,
            SHED.message,
        )
        gone += [_shed_job(row, tenant, function) for row in rows]
        children += [_ended_child(row) for row in rows if row["parent_job_id"] is not None]
    return gone, ends_of(children)


def _shed_job(row: Mapping[str, Any], tenant: Tenant, function: str) -> ShedJob:
    return ShedJob(
        job_id=row["job_id"],
        function=function,
        tenant=tenant,
        request_id=row["request_id"],
        traceparent=row["traceparent"],
    )


def _ended_child(row: Mapping[str, Any]) -> EndedChild:
    return EndedChild(
        job_id=row["job_id"],
        parent=row["parent_job_id"],
        parent_key=row["parent_key"],
        state=JobState.DEAD_LETTERED,
        result=None,
        failure=SHED,
    )


async def ended_waits(
    connection: Connection,
    tenant: Tenant,
    events: Iterable[NewEvent],
    waited_for: Collection[str],
) -> list[Done]:
    """Return which steps have waited for one of the events, with their results."""
    wanted = [event for event in events if event.name in waited_for] if waited_for else []
    if not wanted:
        return []
    rows = await connection.fetch(
        _QUERIES["match_waits"],
        tenant,
        [event.name for event in wanted],
        # What PostgreSQL has no character for is compared as the one for what is unknown.
        [event.data.replace("\\u0000", "\\ufffd") for event in wanted],
    )
    done = []
    for row in rows:
        event = wanted[row["position"] - 1]
        done.append(event_done(row["job_id"], row["key"], event.event_id, event.name, event.data))
    return done
