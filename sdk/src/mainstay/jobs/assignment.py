"""A job in a worker's hands, and the ways an attempt ends."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NewType, Protocol, TypeAlias

from mainstay.jobs.v1 import worker_service_pb2 as pb

Token = NewType("Token", bytes)
"""The right to report on one assignment; a new one with every assignment."""

MAX_KIND = 200
MAX_MESSAGE = 2_000
MAX_PROGRESS_MESSAGE = 500
MAX_RETRY_AFTER = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedJob:
    """One attempt to make, as the service handed it out."""

    token: Token
    job_id: str
    function: str
    attempt: int
    max_attempts: int
    event_name: str
    data_json: str
    memo: Mapping[str, str]
    request_id: str
    traceparent: str
    tenant: str

    @classmethod
    def parse(cls, job: pb.AssignedJob) -> "AssignedJob":
        """Return the wire's job as ours."""
        return cls(
            token=Token(job.token),
            job_id=job.job_id,
            function=job.function,
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            event_name=job.event_name,
            data_json=job.data_json,
            memo={step.key: step.result_json for step in job.memo},
            request_id=job.request_id,
            traceparent=job.traceparent,
            tenant=job.tenant,
        )

    def log_fields(self) -> dict[str, str | int]:
        """Return what every log line about this job carries."""
        return {
            "job_id": self.job_id,
            "function": self.function,
            "attempt": self.attempt,
            "request_id": self.request_id,
            "tenant": self.tenant,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The function returned."""

    result_json: str

    def report(self) -> pb.Report:
        """Return the outcome for the wire."""
        return pb.Report(completed=pb.Completed(result_json=self.result_json))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The function raised. `retry_after` is in seconds; None leaves the wait to the backoff."""

    kind: str
    message: str
    permanent: bool = False
    retry_after: float | None = None

    def report(self) -> pb.Report:
        """Return the outcome for the wire, cut to what it may carry."""
        failed = pb.Failed(
            kind=wire_text(self.kind, MAX_KIND),
            message=wire_text(self.message, MAX_MESSAGE),
            permanent=self.permanent,
        )
        if self.retry_after is not None:
            failed.retry_after.FromMilliseconds(round(self.retry_after * 1000))
        return pb.Report(failed=failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The worker gives the job back; no attempt is burnt."""

    def report(self) -> pb.Report:
        """Return the outcome for the wire."""
        return pb.Report(released=pb.Released())


Outcome: TypeAlias = Succeeded | Failed | Released


class Reporter(Protocol):
    """Where a running function tells how it fares."""

    async def step_completed(self, key: str, result_json: str) -> None:
        """Return when the step is stored durably; raise StepRejectedError when it will not be."""

    def check(self) -> None:
        """Raise CancelledError when the attempt is over or no longer this worker's."""

    def progress(self, fraction: float, message: str) -> None:
        """Pass the news on soon, perhaps folded with later ones."""


def wire_wait(seconds: float | None) -> float | None:
    """Return a wait that can be waited: up to 30 days, and None for what is no time at all."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, MAX_RETRY_AFTER)


def wire_text(text: str, length: int) -> str:
    """Return `text` as UTF-8 and PostgreSQL can hold it; exceptions may say anything."""
    readable = text[:length].replace("\0", "\\0")
    return readable.encode(errors="backslashreplace").decode()[:length]
