"""New jobs in PostgreSQL, whatever starts them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from services.jobs.starting import NewJob
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries
from shared.rpc.call import Tenant

_QUERIES = load_queries("services.jobs", "sql/events.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inserted:
    """The number of the transaction, and which of the events that were named steps wait for."""

    transaction: str
    waited_for: frozenset[str]


async def insert_jobs(
    connection: Connection,
    tenant: Tenant,
    jobs: Sequence[NewJob],
    *,
    events: Collection[str] = (),
) -> Inserted:
    """Store jobs of a tenant, ready or delayed; `events` are names to look for waits of.

    Their debounces, keys and bounds of queues are the caller's business.
    """
    row = await connection.fetchrow(
        _QUERIES["insert_jobs"], tenant, *_columns(jobs), *_ancestry(jobs), list(events)
    )
    return Inserted(transaction=row["transaction"], waited_for=frozenset(row["waited_for"]))


def _columns(jobs: Sequence[NewJob]) -> list[list[Any]]:
    return [
        [job.job_id for job in jobs],
        [job.function for job in jobs],
        [job.event_id for job in jobs],
        [job.event_name for job in jobs],
        [job.data for job in jobs],
        [job.size for job in jobs],
        [job.key for job in jobs],
        [job.priority for job in jobs],
        [job.delay for job in jobs],
        [job.max_attempts for job in jobs],
        [job.backoff.initial for job in jobs],
        [job.backoff.maximum for job in jobs],
        [job.start_timeout for job in jobs],
        [job.request_id for job in jobs],
        [job.traceparent for job in jobs],
        [job.schedule for job in jobs],
    ]


def _ancestry(jobs: Sequence[NewJob]) -> list[list[Any] | None]:
    if all(job.parent is None for job in jobs):
        return [None, None, None]
    return [
        [job.parent for job in jobs],
        [job.parent_key for job in jobs],
        # An array of arrays would have to be rectangular; names of functions need no quotes.
        ["{" + ",".join(job.lineage) + "}" for job in jobs],
    ]
