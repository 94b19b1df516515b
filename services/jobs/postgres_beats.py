"""Heartbeats in PostgreSQL: what both sides think a worker has, compared."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from services.jobs import endings
from services.jobs.endings import Ending
from services.jobs.frames import Directive, Heartbeat
from services.jobs.intervals import interval_of
from services.jobs.job import Failure, JobId, SessionId
from services.jobs.ports import RenewedSession
from services.jobs.postgres_turns import close_leases, find_undoable, lock_leases, release_leases
from services.jobs.terms import Terms
from services.jobs.token import Token
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries

HUNG = "Hung"

_QUERIES = load_queries("services.jobs", "sql/beats.sql")

_Held = Mapping[Token, Mapping[str, Any]]


async def hear(
    connection: Connection,
    session_id: SessionId,
    beat: Heartbeat,
    *,
    undelivered: Collection[JobId],
    terms: Terms,
    random: Callable[[], float],
) -> RenewedSession:
    """Give back what the worker has forgotten, and end what hangs in its hands."""
    rows = await connection.fetch(_QUERIES["held_jobs"], session_id, interval_of(terms.lease))
    held = {Token(job_id=row["job_id"], epoch=row["epoch"]): row for row in rows}
    expected = {each.token for each in beat.tokens}
    forgotten = [
        token
        for token, row in held.items()
        if row["settled"] and token not in expected and token.job_id not in undelivered
    ]
    hung = _hung(beat, held, terms)
    given_back = await release_leases(connection, session_id, forgotten)
    failed = await _fail(connection, session_id, hung, random)
    return RenewedSession(
        lost=tuple(
            each.raw
            for each in beat.tokens
            if each.token is None or each.token not in held or each.token in hung
        ),
        endings=(*given_back, *failed),
        directives=tuple(_directives(held, hung)),
    )


def _hung(beat: Heartbeat, held: _Held, terms: Terms) -> dict[Token, Failure]:
    """Return the turns in which nothing has moved for too long."""
    hung = {}
    for job in beat.jobs:
        if job.token in held:
            longest = held[job.token]["hang_timeout"] or terms.hang_timeout
            if job.idle > longest:
                message = f"nothing of it moved for {job.idle:g} s, longer than {longest:g} s"
                hung[job.token] = Failure(kind=HUNG, message=message)
    return hung


async def _fail(
    connection: Connection,
    session_id: SessionId,
    hung: Mapping[Token, Failure],
    random: Callable[[], float],
) -> list[Ending]:
    if not hung:
        return []
    failures = {token.job_id: failure for token, failure in hung.items()}
    undoable = await find_undoable(connection, failures)
    ended = [
        endings.failed(
            lease,
            failures[lease.job_id],
            asked_wait=None,
            random=random(),
            undoable=lease.job_id in undoable,
        )
        for lease in await lock_leases(connection, session_id, failures)
    ]
    await close_leases(connection, ended)
    return ended


def _directives(held: _Held, hung: Collection[Token]) -> Iterable[Directive]:
    for token, row in held.items():
        if row["cancel_reason"] is not None and token not in hung:
            yield Directive(token=token, reason=row["cancel_reason"])
