"""Turns at jobs in PostgreSQL: locking leases, writing how they go on, ending them."""

from collections.abc import Collection, Mapping, Sequence

from services.jobs import endings
from services.jobs.endings import Ending, Lease
from services.jobs.job import JobId, Progress, SessionId
from services.jobs.postgres_rows import ending_columns, lease_from
from services.jobs.settlement import Turn
from shared.postgres.pool import Connection

Queries = Mapping[str, str]


async def lock_leases(
    connection: Connection, queries: Queries, session_id: SessionId, job_ids: Collection[JobId]
) -> list[Lease]:
    """Lock those of the jobs that the session has; until the commit nobody else changes them."""
    rows = await connection.fetch(queries["lock_leases"], session_id, list(job_ids))
    return [lease_from(row) for row in rows]


async def write_turns(connection: Connection, queries: Queries, turns: Sequence[Turn]) -> None:
    """Store what was settled: steps first, then the leases that go on, then those that end."""
    steps = [(turn.lease, step) for turn in turns for step in turn.steps]
    if steps:
        await connection.execute(
            queries["insert_steps"],
            [lease.job_id for lease, _ in steps],
            [lease.tenant for lease, _ in steps],
            [step.key for _, step in steps],
            [step.result for _, step in steps],
            [lease.attempts.begun for lease, _ in steps],
        )
    await _advance(connection, queries, [turn for turn in turns if turn.ending is None])
    await close_leases(
        connection,
        queries,
        [turn.ending for turn in turns if turn.ending is not None],
        {turn.lease.job_id: turn.progress for turn in turns if turn.progress is not None},
    )


async def _advance(connection: Connection, queries: Queries, turns: Sequence[Turn]) -> None:
    if not turns:
        return
    await connection.execute(
        queries["advance_leases"],
        [turn.lease.job_id for turn in turns],
        [turn.lease.epoch for turn in turns],
        [turn.last_sequence for turn in turns],
        [turn.steps_bytes for turn in turns],
        [turn.progress.fraction if turn.progress else None for turn in turns],
        [turn.progress.message if turn.progress else None for turn in turns],
    )


async def close_leases(
    connection: Connection,
    queries: Queries,
    ended: Sequence[Ending],
    progress: Mapping[JobId, Progress] | None = None,
) -> None:
    """End turns and put back what is to be tried again."""
    if ended:
        await connection.execute(queries["close_leases"], *ending_columns(ended, progress))


async def release_leases(
    connection: Connection, queries: Queries, session_id: SessionId, job_ids: Collection[JobId]
) -> tuple[Ending, ...]:
    """Put back jobs of a session as if they had not been assigned."""
    if not job_ids:
        return ()
    leases = await lock_leases(connection, queries, session_id, job_ids)
    ended = tuple(endings.released(lease) for lease in leases)
    await close_leases(connection, queries, ended)
    return ended
