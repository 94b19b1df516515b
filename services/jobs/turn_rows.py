"""Rows of leases become values, and the ends of turns become columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.jobs.endings import Ending, Lease
from services.jobs.intervals import seconds_of
from services.jobs.job import JobId, Progress
from services.jobs.retry import Backoff
from services.jobs.states import Attempts, JobState

Row = Mapping[str, Any]
News = Mapping[JobId, Progress]


def lease_from(row: Row) -> Lease:
    """Return a lease from a row of `lock_leases`."""
    outcome = row["rollback_outcome"]
    return Lease(
        job_id=row["job_id"],
        epoch=row["epoch"],
        session_id=row["session_id"],
        last_sequence=row["last_sequence"],
        steps_bytes=row["steps_bytes"],
        attempts=Attempts(
            begun=row["attempt"], crashed=row["crash_count"], allowed=row["max_attempts"]
        ),
        backoff=Backoff(
            initial=seconds_of(row["initial_backoff"]), maximum=seconds_of(row["max_backoff"])
        ),
        tenant=row["tenant"],
        function=row["function"],
        worker=row["worker"],
        request_id=row["request_id"],
        traceparent=row["traceparent"],
        resumed=row["resumed"],
        rollback=row["rollback"],
        rollback_attempt=row["rollback_attempt"],
        rollback_outcome=JobState(outcome) if outcome else None,
        cancel_rollback=row["cancel_rollback"],
        parent=row["parent_job_id"],
    )


def archive_columns(endings: Sequence[Ending], news: News) -> list[list[Any]]:
    """Return the columns of `archive_jobs`; `news` is the last progress of jobs."""
    return _columns(
        (
            *_turn(ending),
            ending.state.value,
            ending.result,
            ending.crashes,
            *_failure(ending),
            ending.sequence,
            *progress_columns(news.get(ending.lease.job_id)),
        )
        for ending in endings
    )


def put_back_columns(endings: Sequence[Ending], news: News) -> list[list[Any]]:
    """Return the columns of `put_back`; `news` is the last progress of jobs."""
    return _columns(
        (
            *_turn(ending),
            ending.state.value,
            ending.wait,
            ending.attempts_given_back,
            ending.crashes,
            *_failure(ending),
            ending.sequence,
            *progress_columns(news.get(ending.lease.job_id)),
            ending.rollback_outcome.value if ending.rollback_outcome else None,
            ending.rollback_failure.kind if ending.rollback_failure else None,
            ending.rollback_failure.message if ending.rollback_failure else None,
            ending.rollback_attempt,
        )
        for ending in endings
    )


def progress_columns(progress: Progress | None) -> tuple[float | None, str | None, str | None]:
    """Return fraction, message and partial result."""
    if progress is None:
        return None, None, None
    return progress.fraction, progress.message, progress.partial


def _turn(ending: Ending) -> tuple[Any, ...]:
    lease = ending.lease
    return lease.job_id, lease.epoch, lease.session_id


def _failure(ending: Ending) -> tuple[Any, ...]:
    failure = ending.failure
    if failure is None:
        return None, None, None
    return failure.kind, failure.message, failure.permanent


def _columns(rows: Any) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
