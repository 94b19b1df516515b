"""A job in a worker's hands, and the ways an attempt ends."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NewType, Protocol, TypeAlias

from google.protobuf.duration_pb2 import Duration

from mainstay.jobs.job_messages import step_kind
from mainstay.jobs.model import StepKind
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb

Token = NewType("Token", bytes)
"""The right to report on one assignment; a new one with every assignment."""

MAX_KIND = 200
MAX_MESSAGE = 2_000
MAX_PROGRESS_MESSAGE = 500
MAX_RETRY_AFTER = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedJob:
    """One attempt to make, as the service handed it out.

    Attributes:
        memo: The stored results of finished steps, JSON, by key.
        kinds: What kind of step those are that did not run code.
        timeout: How long this turn may take, in seconds; None for any time.
        hang_timeout: How long the job may give no sign of life, in seconds; None for any time.
        rollback: Set when steps are to be undone instead of going on: their keys, in order.
        version: The version of the function that began the job; empty for none.

    """

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
    timeout: float | None = None
    hang_timeout: float | None = None
    rollback: tuple[str, ...] | None = None
    version: str = ""
    kinds: Mapping[str, StepKind] = field(default_factory=dict)

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
            timeout=_seconds_of(job, "timeout"),
            hang_timeout=_seconds_of(job, "hang_timeout"),
            rollback=tuple(job.rollback.keys) if job.HasField("rollback") else None,
            version=job.version,
            kinds={
                step.key: step_kind(step.kind)
                for step in job.memo
                if step.kind > job_pb2.STEP_KIND_RUN
            },
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended:
    """Nothing is left to do before one of the steps `keys` has what it waits for."""

    keys: tuple[str, ...]

    def report(self) -> pb.Report:
        """Return the outcome for the wire."""
        return pb.Report(suspended=pb.Suspended(keys=self.keys))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The function has ended because the service asked for it."""

    def report(self) -> pb.Report:
        """Return the outcome for the wire."""
        return pb.Report(stopped=pb.Stopped())


Outcome: TypeAlias = Succeeded | Failed | Released | Suspended | Stopped


class Reporter(Protocol):
    """Where a running function tells how it fares."""

    @property
    def cancel_reason(self) -> str | None:
        """Return why the service asked for an end; None when it has not."""

    async def step_completed(self, key: str, result_json: str, *, compensable: bool) -> None:
        """Return when the step is stored durably; raise StepRejectedError when it will not be."""

    async def wait_begun(self, wait: pb.WaitBegun) -> None:
        """Return when the wait is stored durably; raise StepRejectedError when it will not be."""

    async def step_compensated(self, key: str) -> None:
        """Return when it is stored that the step was undone."""

    def check(self) -> None:
        """Raise CancelledError when the attempt is over or no longer this worker's."""

    def progress(self, fraction: float, message: str, partial_json: str) -> None:
        """Pass the news on soon, perhaps folded with later ones; raise as `check` does.

        No partial result leaves the one before.
        """

    def alive(self) -> None:
        """Note that the job moves; raise as `check` does."""


def wire_wait(seconds: float | None) -> float | None:
    """Return a wait that can be waited: up to 30 days, and None for what is no time at all."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, MAX_RETRY_AFTER)


def wire_text(text: str, length: int) -> str:
    """Return `text` as UTF-8 and PostgreSQL can hold it; exceptions may say anything."""
    readable = text[:length].replace("\0", "\\0")
    return readable.encode(errors="backslashreplace").decode()[:length]


def _seconds_of(job: pb.AssignedJob, name: str) -> float | None:
    if not job.HasField(name):  # type: ignore[arg-type]
        return None
    duration: Duration = getattr(job, name)
    return duration.ToTimedelta().total_seconds()
