"""Rows become values, and values become columns, in one place."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from services.jobs.dealing import Lane
from services.jobs.endings import Ending, Lease
from services.jobs.job import Assignment, Failure, Job, Memo, Progress, Step
from services.jobs.retry import Backoff
from services.jobs.states import Attempts, JobState

Row = Mapping[str, Any]


def job_from(row: Row) -> Job:
    """Return a job from a row of `find_job`."""
    return Job(
        job_id=row["job_id"],
        tenant=row["tenant"],
        function=row["function"],
        event_id=row["event_id"],
        state=JobState(row["state"]),
        revision=row["revision"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"] + row["crash_count"],
        steps=_steps_from(row),
        progress=_progress_from(row),
        result=row["result"],
        failure=_failure_from(row),
        request_id=row["request_id"],
        worker=row["worker"] or "",
        create_time=row["create_time"],
        start_time=row["start_time"],
        ready_time=row["ready_time"],
        end_time=row["end_time"],
    )


def _steps_from(row: Row) -> tuple[Step, ...]:
    columns = (row["keys"] or (), row["results"] or (), row["attempts"] or (), row["end_times"])
    return tuple(
        Step(key=key, result=result, attempt=attempt, end_time=end_time)
        for key, result, attempt, end_time in zip(*(c or () for c in columns), strict=True)
    )


def _progress_from(row: Row) -> Progress | None:
    if row["progress_fraction"] is None:
        return None
    return Progress(fraction=row["progress_fraction"], message=row["progress_message"])


def _failure_from(row: Row) -> Failure | None:
    if row["failure_kind"] is None:
        return None
    return Failure(
        kind=row["failure_kind"],
        message=row["failure_message"],
        permanent=row["failure_permanent"],
    )


def lease_from(row: Row) -> Lease:
    """Return a lease from a row of `lock_leases`."""
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
    )


def assignment_from(row: Row) -> Assignment:
    """Return an assignment from a row of `assign`."""
    memo = zip(row["keys"] or (), row["results"] or (), strict=True)
    return Assignment(
        job_id=row["job_id"],
        epoch=row["epoch"],
        session_id=row["session_id"],
        tenant=row["tenant"],
        function=row["function"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        event_name=row["event_name"],
        data=row["data"],
        memo=tuple(Memo(key=key, result=result) for key, result in memo),
        request_id=row["request_id"],
        traceparent=row["traceparent"],
        waited=row["waited"],
    )


def lanes_from(rows: Iterable[Row]) -> list[Lane]:
    """Return lanes from rows of `find_lanes`, each once: it may be found in both ways."""
    return list({Lane(row["function"], row["tenant"]) for row in rows})


def ending_columns(
    endings: Sequence[Ending], progress: Mapping[Any, Progress] | None = None
) -> list[list[Any]]:
    """Return the columns of `close_leases`; `progress` is the last news of jobs, by id."""
    rows = [_ending_row(ending, (progress or {}).get(ending.lease.job_id)) for ending in endings]
    return [list(column) for column in zip(*rows, strict=True)]


def _ending_row(ending: Ending, progress: Progress | None) -> tuple[Any, ...]:
    lease, failure = ending.lease, ending.failure
    return (
        lease.job_id,
        lease.epoch,
        lease.session_id,
        ending.state.value,
        ending.wait,
        ending.attempts_given_back,
        ending.crashes,
        ending.result,
        failure.kind if failure else None,
        failure.message if failure else None,
        failure.permanent if failure else None,
        ending.sequence,
        progress.fraction if progress else None,
        progress.message if progress else None,
    )


def seconds_of(interval: timedelta) -> float:
    """Return an interval as seconds."""
    return interval.total_seconds()


def interval_of(seconds: float) -> timedelta:
    """Return seconds as an interval."""
    return timedelta(seconds=seconds)
