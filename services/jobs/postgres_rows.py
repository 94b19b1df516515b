"""Rows become values, and values become columns, in one place."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from services.jobs.job import Failure, Job, Progress, Step
from services.jobs.states import JobState

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


def seconds_of(interval: timedelta) -> float:
    """Return an interval as seconds."""
    return interval.total_seconds()


def interval_of(seconds: float) -> timedelta:
    """Return seconds as an interval."""
    return timedelta(seconds=seconds)
