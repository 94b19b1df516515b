"""A reporter that stores at once, a job to report on, and what its steps go through."""

import asyncio
import random
from collections.abc import Mapping
from datetime import UTC, datetime

from mainstay.jobs import AcceptedEvent, JsonValue, StepKind, Steps
from mainstay.jobs.assignment import AssignedJob, Reporter, Token
from mainstay.jobs.step_calls import StepCalls
from mainstay.jobs.step_threads import StepThreads
from mainstay.jobs.turn import ForwardTurn
from mainstay.jobs.v1 import worker_service_pb2 as pb

SETTLE_SECONDS = 0.01


class RecordedReports:
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, str]] = []
        self.compensable: list[str] = []
        self.waits: list[pb.WaitBegun] = []
        self.undone: list[str] = []
        self.progresses: list[tuple[float, str]] = []
        self.partials: list[str] = []
        self.signs_of_life = 0
        self.refuse_with: Exception | None = None
        self.cancel_reason: str | None = None
        self.over = False

    async def step_completed(self, key: str, result_json: str, *, compensable: bool) -> None:
        """Store the step, or refuse it as the test says."""
        if self.refuse_with is not None:
            raise self.refuse_with
        self.steps.append((key, result_json))
        if compensable:
            self.compensable.append(key)

    async def wait_begun(self, wait: pb.WaitBegun) -> None:
        """Store the wait, or refuse it as the test says."""
        if self.refuse_with is not None:
            raise self.refuse_with
        self.waits.append(wait)

    async def step_compensated(self, key: str) -> None:
        """Keep what is undone."""
        self.undone.append(key)

    def check(self) -> None:
        """Refuse everything once the test says that the attempt is over."""
        if self.over:
            raise asyncio.CancelledError

    def alive(self) -> None:
        """Count it, or refuse it as `check` does."""
        self.check()
        self.signs_of_life += 1

    def progress(self, fraction: float, message: str, partial_json: str) -> None:
        """Keep the news."""
        self.progresses.append((fraction, message))
        self.partials.append(partial_json)


class StillClock:
    """Lets no time pass but what is slept, and remembers that."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    @staticmethod
    def now() -> datetime:
        """Return midnight."""
        return datetime(2026, 1, 1, tzinfo=UTC)

    async def sleep(self, seconds: float) -> None:
        """Remember the time and return at once."""
        self.slept.append(seconds)


class SentEvents:
    """Accepts events and keeps them, each once for each idempotency key."""

    def __init__(self) -> None:
        self.sent: dict[str | None, tuple[str, Mapping[str, JsonValue], int]] = {}

    async def send_event(
        self,
        name: str,
        data: Mapping[str, JsonValue],
        *,
        version: int = 0,
        idempotency_key: str | None = None,
    ) -> AcceptedEvent:
        """Keep the event."""
        duplicate = idempotency_key in self.sent
        self.sent[idempotency_key] = (name, data, version)
        return AcceptedEvent(event_id="event-1", job_ids=("job-2",), duplicate=duplicate)


def step_calls(clock: StillClock | None = None) -> StepCalls:
    """Return calls in up to two threads, by a clock that stands still."""
    return StepCalls(StepThreads(2), clock or StillClock(), random.Random(1))


def steps_of(
    job: AssignedJob,
    reporter: Reporter,
    *,
    clock: StillClock | None = None,
    events: SentEvents | None = None,
) -> Steps:
    """Return the steps of a job in a turn that begins."""
    turn = ForwardTurn(job, reporter, asyncio.timeout(None), settle_seconds=SETTLE_SECONDS)
    return Steps(job, turn, step_calls(clock), events or SentEvents())


def assigned_job(
    *,
    function: str = "process-video",
    data_json: str = '{"path":"/a.mp4"}',
    memo: Mapping[str, str] | None = None,
    traceparent: str = "",
    attempt: int = 1,
    token: bytes = b"token",
    hang_timeout: float | None = None,
    timeout: float | None = None,
    rollback: tuple[str, ...] | None = None,
    kinds: Mapping[str, StepKind] | None = None,
) -> AssignedJob:
    """Return a job as a worker gets it."""
    return AssignedJob(
        token=Token(token),
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
        hang_timeout=hang_timeout,
        timeout=timeout,
        rollback=rollback,
        kinds=kinds or {},
    )
