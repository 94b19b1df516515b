"""What a function gets to know about its job, and what it can do with it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mainstay.jobs.assignment import AssignedJob
from mainstay.jobs.json_text import decode, encode_partial
from mainstay.jobs.steps import Steps
from mainstay.jobs.turn import Turn


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
        version: The version of the function that began the job; empty for none.
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
    version: str
    step: Steps
    _turn: Turn = field(repr=False)

    @classmethod
    def begin(cls, job: AssignedJob, turn: Turn, step: Steps) -> "JobContext":
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
            version=job.version,
            step=step,
            _turn=turn,
        )

    @property
    def cancelled(self) -> bool:
        """Whether somebody has asked for the end of this job.

        A function learns of that by `asyncio.CancelledError`, whose text says why. A plain function
        that runs in a thread cannot be cancelled: it may look here now and then.
        """
        return self._turn.cancelled

    async def progress(self, fraction: float, message: str = "", *, partial: object = None) -> None:
        """Tell watchers how far the job is, from 0 to 1, with a message of up to 500 characters.

        `partial` is what there is of a result already, up to 64 KiB of JSON; None leaves what was
        said before. Does not wait for the service, and news that comes faster than it travels is
        folded. Raises ValueError for a fraction outside of 0 to 1, and ResultError for a partial
        result that is no JSON or too large.
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"progress is a fraction from 0 to 1, not {fraction}")
        text = "" if partial is None else encode_partial(partial)
        self._turn.progress(fraction, message, text)
        # A long computation that reports its progress lets other jobs of the worker run here.
        await asyncio.sleep(0)

    async def alive(self) -> None:
        """Give a sign of life, where nothing else does: for functions with a `hang_timeout`.

        Steps and progress are signs of life, too.
        """
        self._turn.alive()
        await asyncio.sleep(0)
