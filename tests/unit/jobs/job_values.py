"""Values that tests of jobs need many of."""

from typing import Any
from uuid import UUID

from services.jobs.endings import Lease
from services.jobs.job import Assignment, JobId, SessionId
from services.jobs.reports import News, Report
from services.jobs.retry import Backoff
from services.jobs.states import Attempts
from services.jobs.token import Token, encode

SESSION = SessionId(UUID(int=1))


def job_id(number: int = 1) -> JobId:
    """Return the id of a job."""
    return JobId(UUID(int=1000 + number))


def lease(
    number: int = 1,
    *,
    epoch: int = 1,
    last_sequence: int = 0,
    steps_bytes: int = 0,
    begun: int = 1,
    crashed: int = 0,
    allowed: int = 3,
    **more: Any,
) -> Lease:
    """Return a turn at a job; `more` are further attributes of it."""
    return Lease(
        job_id=job_id(number),
        epoch=epoch,
        session_id=SESSION,
        last_sequence=last_sequence,
        steps_bytes=steps_bytes,
        attempts=Attempts(begun=begun, crashed=crashed, allowed=allowed),
        backoff=Backoff(initial=1.0, maximum=60.0),
        tenant="acme",
        function="process-video",
        worker="raw-1",
        request_id="req-1",
        traceparent="",
        **more,
    )


def report(news: News | None, sequence: int = 1, *, number: int = 1, epoch: int = 1) -> Report:
    """Return a report on a job."""
    token = Token(job_id=job_id(number), epoch=epoch)
    return Report(raw_token=encode(token), token=token, sequence=sequence, news=news)


def assignment(number: int = 1, *, data: str = "{}") -> Assignment:
    """Return a job that was claimed."""
    return assignment_for(SESSION, number, data=data)


def assignment_for(session_id: SessionId, number: int = 1, *, data: str = "{}") -> Assignment:
    """Return a job that was claimed for a session."""
    return Assignment(
        job_id=job_id(number),
        epoch=1,
        session_id=session_id,
        tenant="acme",
        function="process-video",
        attempt=1,
        max_attempts=3,
        event_name="video/upload.completed",
        data=data,
        memo=(),
        request_id="req-1",
        traceparent="",
        waited=0.0,
    )
