"""Rows of jobs become values."""

from collections.abc import Iterator, Mapping
from typing import Any

from services.jobs.job import (
    Cancellation,
    Compensation,
    Failure,
    Job,
    Progress,
    Rollback,
    Step,
    StepKind,
    Wait,
)
from services.jobs.states import JobState

Row = Mapping[str, Any]


def job_from(row: Row) -> Job:
    """Return a job from a row of `sql/reading.sql`; what the row leaves out, the job has not."""
    return Job(
        job_id=row["job_id"],
        tenant=row["tenant"],
        function=row["function"],
        event_id=row["event_id"],
        state=JobState(row["state"]),
        revision=row["revision"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"] + row["crash_count"],
        steps=tuple(_steps_from(row)),
        progress=_progress_from(row),
        result=row.get("result"),
        failure=_failure_from(row),
        request_id=row["request_id"],
        worker=row.get("worker") or "",
        create_time=row["create_time"],
        start_time=row["start_time"],
        ready_time=row.get("ready_time"),
        end_time=row["end_time"],
        waits=tuple(_waits_from(row)),
        rollback=_rollback_from(row),
        cancellation=_cancellation_from(row),
        priority=row["priority"],
        parent=row["parent_job_id"],
        version=row["version"],
        schedule=row["schedule"],
        event_name=row["event_name"],
        data=row.get("data") or "",
    )


def _together(row: Row, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Yield what parallel arrays hold; all are null where there is nothing."""
    return zip(*(row.get(column) or () for column in columns), strict=True)


def _steps_from(row: Row) -> Iterator[Step]:
    columns = ("keys", "kinds", "results", "attempts", "end_times")
    for key, kind, result, attempt, end_time, compensation, compensate_time in _together(
        row, *columns, "compensations", "compensate_times"
    ):
        yield Step(
            key=key,
            kind=StepKind(kind),
            result=result,
            attempt=attempt,
            end_time=end_time,
            compensation=Compensation(compensation),
            compensate_time=compensate_time,
        )


def _waits_from(row: Row) -> Iterator[Wait]:
    columns = ("wait_keys", "wait_kinds", "wait_subjects", "wait_due_times")
    for key, kind, subject, due_time in _together(row, *columns):
        yield Wait(key=key, kind=StepKind(kind), subject=subject, due_time=due_time)


def _progress_from(row: Row) -> Progress | None:
    if row["progress_fraction"] is None:
        return None
    return Progress(
        fraction=row["progress_fraction"],
        message=row["progress_message"],
        partial=row.get("progress_partial"),
    )


def _failure_from(row: Row) -> Failure | None:
    if row["failure_kind"] is None:
        return None
    return Failure(
        kind=row["failure_kind"],
        message=row["failure_message"],
        permanent=row["failure_permanent"],
    )


def _rollback_from(row: Row) -> Rollback | None:
    if row["rollback_outcome"] is None:
        return None
    kind = row["rollback_failure_kind"]
    return Rollback(
        outcome=JobState(row["rollback_outcome"]),
        attempt=row["rollback_attempt"],
        max_attempts=row["max_attempts"],
        failure=kind and Failure(kind=kind, message=row["rollback_failure_message"]),
    )


def _cancellation_from(row: Row) -> Cancellation | None:
    if row["cancel_time"] is None:
        return None
    return Cancellation(
        reason=row["cancel_reason"],
        rollback=row["cancel_rollback"],
        request_time=row["cancel_time"],
    )
