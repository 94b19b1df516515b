"""Rows of claimed jobs become assignments."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from services.jobs.job import Assignment, Failure, Memo, StepKind
from services.jobs.states import JobState

VERSION_CHANGED = "VersionChanged"

Row = Mapping[str, Any]


def assignment_from(row: Row, timeout: timedelta | None, hang: timedelta | None) -> Assignment:
    """Return an assignment from a row of `assign`; times are those of the function."""
    undoing = row["left_state"] == JobState.ROLLING_BACK.value
    return Assignment(
        job_id=row["job_id"],
        epoch=row["epoch"],
        session_id=row["session_id"],
        tenant=row["tenant"],
        function=row["function"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        event_name=row["event_name"],
        data=row["data"] or "{}",
        memo=_memo(row) if row["keys"] else (),
        request_id=row["request_id"],
        traceparent=row["traceparent"],
        waited=row["waited"],
        timeout=_seconds(timeout),
        hang_timeout=_seconds(hang),
        rollback=tuple(row["undo"] or ()) if undoing else None,
        version=row["version"],
    )


def _seconds(interval: timedelta | None) -> float | None:
    return None if interval is None else interval.total_seconds()


def _memo(row: Row) -> tuple[Memo, ...]:
    steps = zip(row["keys"], row["results"], row["kinds"], strict=True)
    return tuple(Memo(key=key, result=result, kind=StepKind(kind)) for key, result, kind in steps)


def version_changed(row: Row) -> bool:
    """Return whether a job with finished steps has come to code of another version."""
    return bool(
        row["keys"]
        and row["version"]
        and row["version"] != row["worker_version"]
        and row["left_state"] != JobState.ROLLING_BACK.value
    )


def changed_version(row: Row) -> Failure:
    """Return why such a job ends, where its function does not allow other code to go on."""
    other = row["worker_version"] or "one that is not named"
    return Failure(
        kind=VERSION_CHANGED,
        message=f"began with version {row['version']} and cannot go on with {other}, since its "
        "function's version_policy is FAIL; retry it to run it anew, or start workers of that one",
        permanent=True,
    )
