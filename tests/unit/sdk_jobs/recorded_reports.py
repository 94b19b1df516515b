"""A reporter that stores at once, and a job to report on."""

import asyncio
from collections.abc import Mapping

from mainstay.jobs.assignment import AssignedJob, Token


class RecordedReports:
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, str]] = []
        self.progresses: list[tuple[float, str]] = []
        self.refuse_with: Exception | None = None
        self.over = False

    async def step_completed(self, key: str, result_json: str) -> None:
        """Store the step, or refuse it as the test says."""
        if self.refuse_with is not None:
            raise self.refuse_with
        self.steps.append((key, result_json))

    def check(self) -> None:
        """Refuse everything once the test says that the attempt is over."""
        if self.over:
            raise asyncio.CancelledError

    def progress(self, fraction: float, message: str) -> None:
        """Keep the news."""
        self.progresses.append((fraction, message))


def assigned_job(
    *,
    function: str = "process-video",
    data_json: str = '{"path":"/a.mp4"}',
    memo: Mapping[str, str] | None = None,
    traceparent: str = "",
    attempt: int = 1,
) -> AssignedJob:
    """Return a job as a worker gets it."""
    return AssignedJob(
        token=Token(b"token"),
        job_id="0192d3c0-0000-7000-8000-000000000001",
        function=function,
        attempt=attempt,
        max_attempts=3,
        event_name="video/upload.completed",
        data_json=data_json,
        memo=memo or {},
        request_id="request-1",
        traceparent=traceparent,
        tenant="acme",
    )
