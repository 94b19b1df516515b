"""Turns at jobs in PostgreSQL: locking leases, writing how they go on, ending them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from services.jobs import endings
from services.jobs.endings import Ending, Lease, Success
from services.jobs.job import Compensation, Failure, JobId, Progress, SessionId
from services.jobs.postgres_waits import Begun, after_ends, begin_waits, take_signals
from services.jobs.reports import Completed, Report
from services.jobs.states import JobState
from services.jobs.token import Token
from services.jobs.turn import Turn
from services.jobs.turn_rows import archive_columns, lease_from, progress_columns, put_back_columns
from services.jobs.waiting import EndedChild, Invoke, Moved
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries

_QUERIES = load_queries("services.jobs", "sql/turns.sql")
_ARCHIVED = frozenset({JobState.SUCCEEDED, JobState.CANCELLED})


async def lock_leases(
    connection: Connection, session_id: SessionId, job_ids: Collection[JobId]
) -> list[Lease]:
    """Lock those of the jobs that the session has; until the commit nobody else changes them.

    Nor those that wait for them, so that the ends of both can be stored in one transaction.
    """
    rows = await connection.fetch(_QUERIES["lock_leases"], session_id, list(job_ids))
    return [lease_from(row) for row in rows]


async def complete(
    connection: Connection, session_id: SessionId, ends: Mapping[JobId, Report]
) -> dict[JobId, Success]:
    """End turns that ended well, without looking at them first; others stay as they are."""
    tokens = [report.token for report in ends.values() if report.token is not None]
    if not tokens:
        return {}
    rows = await connection.fetch(
        _QUERIES["complete_jobs"],
        [token.job_id for token in tokens],
        [token.epoch for token in tokens],
        [report.sequence for report in ends.values()],
        [report.news.result for report in ends.values() if isinstance(report.news, Completed)],
        session_id,
    )
    return {row["job_id"]: Success(*row.values()) for row in rows}


async def write_turns(connection: Connection, turns: Sequence[Turn]) -> None:
    """Store what was settled: what steps there are first, then the leases that go on or end."""
    await _insert_steps(connection, turns)
    await _note_undone(connection, turns)
    begun = [each for turn in turns for each in _begun(turn)]
    await begin_waits(connection, begun)
    await _advance(connection, [turn for turn in turns if turn.ending is None])
    await close_leases(
        connection,
        [turn.ending for turn in turns if turn.ending is not None],
        {turn.lease.job_id: turn.progress for turn in turns if turn.progress is not None},
    )
    await take_signals(connection, begun)


async def _insert_steps(connection: Connection, turns: Sequence[Turn]) -> None:
    steps = [(turn.lease, step) for turn in turns for step in turn.steps]
    if not steps:
        return
    await connection.execute(
        _QUERIES["insert_steps"],
        [lease.job_id for lease, _ in steps],
        [lease.tenant for lease, _ in steps],
        [step.key for _, step in steps],
        [step.result for _, step in steps],
        [lease.attempts.begun for lease, _ in steps],
        [int(step.compensable) for _, step in steps],
    )


async def _note_undone(connection: Connection, turns: Sequence[Turn]) -> None:
    undone = [(turn.lease.job_id, key) for turn in turns for key in turn.undone]
    if undone:
        await connection.execute(
            _QUERIES["note_undone"], [job_id for job_id, _ in undone], [key for _, key in undone]
        )


def _begun(turn: Turn) -> list[Begun]:
    return [
        Begun(
            job_id=turn.lease.job_id,
            tenant=turn.lease.tenant,
            attempt=turn.lease.attempts.begun,
            key=begun.key,
            wait=begun.wait,
            child=(turn.functions[begun.wait.function] if isinstance(begun.wait, Invoke) else None),
        )
        for begun in turn.waits
        if begun.wait is not None
    ]


async def _advance(connection: Connection, turns: Sequence[Turn]) -> None:
    if not turns:
        return
    progress = [progress_columns(turn.progress) for turn in turns]
    await connection.execute(
        _QUERIES["advance_leases"],
        [turn.lease.job_id for turn in turns],
        [turn.lease.epoch for turn in turns],
        [turn.last_sequence for turn in turns],
        [turn.steps_bytes for turn in turns],
        *([row[column] for row in progress] for column in range(3)),
        [bool(turn.undone) for turn in turns],
    )


async def close_leases(
    connection: Connection,
    ended: Sequence[Ending],
    progress: Mapping[JobId, Progress] | None = None,
) -> Moved:
    """End turns: put back what goes on, keep what is over, and tell the jobs that wait for it."""
    news = progress or {}
    over = [ending for ending in ended if ending.state in _ARCHIVED]
    other = [ending for ending in ended if ending.state not in _ARCHIVED]
    rows: list[Mapping[str, Any]] = []
    if over:
        rows += await connection.fetch(_QUERIES["archive_jobs"], *archive_columns(over, news))
    if other:
        rows += await connection.fetch(_QUERIES["put_back"], *put_back_columns(other, news))
    return await after_ends(connection, map(_child_from, rows))


def _child_from(row: Mapping[str, Any]) -> EndedChild:
    kind = row["failure_kind"]
    return EndedChild(
        job_id=row["job_id"],
        parent=row["parent_job_id"],
        parent_key=row["parent_key"],
        state=JobState(row["state"]),
        result=row["result"],
        failure=None if kind is None else Failure(kind=kind, message=row["failure_message"]),
    )


async def release_leases(
    connection: Connection, session_id: SessionId, tokens: Collection[Token]
) -> tuple[Ending, ...]:
    """Put back jobs of a session as if they had not been assigned, unless in later turns."""
    if not tokens:
        return ()
    turns = {token.job_id: token.epoch for token in tokens}
    locked = await lock_leases(connection, session_id, turns.keys())
    leases = [lease for lease in locked if lease.epoch == turns[lease.job_id]]
    undoable = await find_undoable(connection, [lease.job_id for lease in leases])
    ended = tuple(endings.released(lease, undoable=lease.job_id in undoable) for lease in leases)
    await close_leases(connection, ended)
    return ended


async def find_undoable(connection: Connection, job_ids: Collection[JobId]) -> set[JobId]:
    """Return which of the jobs have steps to undo."""
    if not job_ids:
        return set()
    rows = await connection.fetch(_QUERIES["find_undoable"], list(job_ids))
    return {row["job_id"] for row in rows}


async def find_compensations(
    connection: Connection, job_ids: Collection[JobId]
) -> dict[JobId, dict[str, Compensation]]:
    """Return the steps of jobs that can be undone or were."""
    found: dict[JobId, dict[str, Compensation]] = {}
    for row in await connection.fetch(_QUERIES["find_compensations"], list(job_ids)):
        steps = found.setdefault(row["job_id"], {})
        steps[row["key"]] = Compensation(row["compensation"])
    return found
