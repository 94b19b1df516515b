"""What a function gets to know about its job, and what it can do with it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mainstay.jobs.assignment import AssignedJob, Reporter
from mainstay.jobs.json_text import decode
from mainstay.jobs.step_threads import StepThreads
from mainstay.jobs.steps import Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """One attempt of one job.

    Attributes:
        id: The job's id, the same in every attempt.
        function: The function's registered name.
        attempt: Which attempt this is, from 1.
        max_attempts: How many there may be.
        event: The name of the event that started the job.
        data: The event's payload.
        request_id: The request id of the call that sent the event; SDK calls made here carry it.
        tenant: Whose job it is; SDK calls made here are made for this tenant.
        step: Runs the steps of the job.

    """

    id: str
    function: str
    attempt: int
    max_attempts: int
    event: str
    data: Mapping[str, Any]
    request_id: str
    tenant: str
    step: Steps
    _reporter: Reporter = field(repr=False)

    @classmethod
    def begin(cls, job: AssignedJob, reporter: Reporter, threads: StepThreads) -> "JobContext":
        """Return the context of an attempt that begins."""
        return cls(
            id=job.job_id,
            function=job.function,
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            event=job.event_name,
            data=decode(job.data_json),
            request_id=job.request_id,
            tenant=job.tenant,
            step=Steps(job, reporter, threads),
            _reporter=reporter,
        )

    async def progress(self, fraction: float, message: str = "") -> None:
        """Tell watchers how far the job is, from 0 to 1, with a message of up to 500 characters.

        Does not wait for the service, and news that comes faster than it travels is folded. Raises
        ValueError for a fraction outside of 0 to 1.
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"progress is a fraction from 0 to 1, not {fraction}")
        self._reporter.progress(fraction, message)
        # A long computation that reports its progress lets the worker send heartbeats here.
        await asyncio.sleep(0)
