"""Jobs to show, as a service would return them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from mainstay.jobs import Job, JobState

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
JOB_ID = "0198f0a0-0000-7000-8000-0123456789ab"


def before(**length: float) -> datetime:
    """Return a moment that is so long ago."""
    return NOW - timedelta(**length)


def after(**length: float) -> datetime:
    """Return a moment that is so long ahead."""
    return NOW + timedelta(**length)


def job(**changed: Any) -> Job:
    """Return a job that was accepted an hour ago."""
    fields: dict[str, Any] = {
        "job_id": JOB_ID,
        "function": "process-video",
        "event_id": "0198f0a0-0000-7000-8000-000000000001",
        "state": JobState.QUEUED,
        "revision": 1,
        "attempt": 0,
        "max_attempts": 3,
        "steps": (),
        "progress": None,
        "result": None,
        "failure": None,
        "request_id": "r-1",
        "worker": "",
        "create_time": before(hours=1),
        "start_time": None,
        "end_time": None,
        "ready_time": None,
    }
    return Job(**fields | changed)
