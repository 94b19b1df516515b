"""Steps that wait, in PostgreSQL: how they begin, and how they end."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from services.jobs.function import FunctionDefinition
from services.jobs.intervals import interval_of
from services.jobs.job import JobId
from services.jobs.reports import MAX_STEPS_BYTES, STEP_OVERHEAD, WAIT_OVERHEAD
from services.jobs.starting import key_of
from services.jobs.waiting import (
    Done,
    EndedChild,
    EventWait,
    Invoke,
    Moved,
    SignalWait,
    Waited,
    ends_of,
    limit_of,
    signal_done,
)
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries

_QUERIES = load_queries("services.jobs", "sql/waits.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A step that begins to wait; `child` is the function that it invokes, if it does."""

    job_id: JobId
    tenant: str
    attempt: int
    key: str
    wait: Waited
    child: FunctionDefinition | None


async def find_ancestors(
    connection: Connection, job_ids: Collection[JobId]
) -> dict[JobId, tuple[str, ...]]:
    """Return the functions that led to jobs, their own last."""
    rows = await connection.fetch(_QUERIES["find_ancestors"], list(job_ids))
    return {row["job_id"]: tuple(row["ancestors"]) for row in rows}


async def begin_waits(connection: Connection, begun: Sequence[Begun]) -> None:
    """Store steps that begin to wait, and start the jobs that some of them wait for."""
    others = [each for each in begun if not isinstance(each.wait, Invoke)]
    if others:
        rows = [_wait_row(each) for each in others]
        await connection.execute(_QUERIES["insert_waits"], *_columns(rows))
    children = [
        _child_row(each, each.wait, each.child)
        for each in begun
        if isinstance(each.wait, Invoke) and each.child is not None
    ]
    if children:
        await connection.execute(_QUERIES["insert_children"], *_columns(children))


async def take_signals(connection: Connection, begun: Sequence[Begun]) -> Moved:
    """Give signals that came before to the steps that have begun to wait for them.

    The last of a transaction, which holds the jobs' locks: a job that was just parked is woken.
    """
    waits = [(each, each.wait.name) for each in begun if isinstance(each.wait, SignalWait)]
    if not waits:
        return Moved()
    rows = await connection.fetch(
        _QUERIES["take_signals"],
        [each.job_id for each, _ in waits],
        [each.key for each, _ in waits],
        [name for _, name in waits],
    )
    return await finish_waits(
        connection,
        [signal_done(row["job_id"], row["key"], row["data"]) for row in rows],
    )


def _wait_row(begun: Begun) -> tuple[Any, ...]:
    subject, wanted = "", None
    match begun.wait:
        case EventWait(name=subject, match=match):
            wanted = match or "{}"
        case SignalWait(name=subject):
            pass
    return (
        begun.job_id,
        begun.key,
        begun.tenant,
        begun.wait.kind.value,
        subject,
        wanted,
        limit_of(begun.wait),
        begun.attempt,
    )


def _child_row(begun: Begun, wait: Invoke, function: FunctionDefinition) -> tuple[Any, ...]:
    limit = function.start_timeout
    return (
        begun.job_id,
        begun.key,
        begun.attempt,
        function.name,
        wait.data,
        key_of(function, orjson.loads(wait.data)) if function.key_pointer else "",
        function.priority if wait.priority is None else wait.priority,
        function.max_attempts,
        interval_of(function.backoff.initial),
        interval_of(function.backoff.maximum),
        None if limit is None else interval_of(limit),
    )


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


async def finish_waits(connection: Connection, done: Sequence[Done]) -> Moved:
    """Turn waits into finished steps and make parked jobs ready; those that are gone are skipped.

    Locks the jobs' rows in the order of their ids. A job in a worker's hands finds the result when
    it is suspended, one that is not waiting at its next attempt.
    """
    if not done:
        return Moved()
    job_ids = [each.job_id for each in done]
    await connection.execute(_QUERIES["lock_jobs"], job_ids)
    rows = await connection.fetch(
        _QUERIES["finish_waits"],
        job_ids,
        [each.key for each in done],
        [each.result for each in done],
        [each.result if each.reduced is None else each.reduced for each in done],
        MAX_STEPS_BYTES,
        STEP_OVERHEAD,
        WAIT_OVERHEAD,
    )
    return Moved(
        jobs=frozenset(row["job_id"] for row in rows),
        woken=frozenset(row["job_id"] for row in rows if row["woken"]),
    )


async def after_ends(connection: Connection, ended: Iterable[EndedChild]) -> Moved:
    """Give the ends of jobs to those that wait for them; in the transaction that ends the jobs.

    For every end: success, dead letter, cancellation; whatever brought it about.
    """
    return await finish_waits(connection, ends_of(ended))
