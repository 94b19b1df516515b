"""One job in memory: turns at its function, and what the service would do in between."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainstay.errors import ConfigurationError
from mainstay.jobs.assignment import AssignedJob, Failed, Outcome, Succeeded, Suspended, Token
from mainstay.jobs.durations import in_seconds
from mainstay.jobs.errors import StepRejectedError
from mainstay.jobs.execution import Execution
from mainstay.jobs.function import Function
from mainstay.jobs.json_text import decode
from mainstay.jobs.model import Failure, JobState, StepKind
from mainstay.jobs.registry import Registry
from mainstay.jobs.step_threads import StepThreads
from mainstay.jobs.v1 import worker_service_pb2 as pb
from mainstay.testing.clock import FakeClock
from mainstay.testing.faults import FaultyCalls
from mainstay.testing.memory import Child, MemoryJob
from mainstay.testing.record import FunctionRun, Incoming
from mainstay.testing.sent import SentEvents

JOB_ID = "00000000-0000-7000-8000-000000000001"
FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 300.0
MAX_LINEAGE = 10
MAX_TURNS = 1_000
# As long as a function takes to go on from one step to the next, which in memory is no time.
SETTLE_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a run of a function shares with those of its children.

    `began` is when the first of them did, in seconds of the clock.
    """

    events: Sequence[Incoming]
    began: float
    children: Mapping[str, Function]
    tenant: str
    threads: StepThreads


class JobRun:
    """One job: turns at its function, and what the service would do in between."""

    def __init__(
        self,
        world: World,
        function: Function,
        clock: FakeClock,
        *,
        signals: Sequence[Incoming] = (),
        faults: Mapping[str, Exception | Sequence[Exception]] | None = None,
        event_name: str = "",
        job_id: str = JOB_ID,
        lineage: tuple[str, ...] = (),
    ) -> None:
        self._world = world
        self._function = function
        self._clock = clock
        self._event_name = event_name
        self._job_id = job_id
        self._lineage = (*lineage, function.name)
        self._job = MemoryJob(
            clock, world.began, events=world.events, signals=signals, invoke=self._invoke
        )
        self._sent = SentEvents()
        self._turns = 0
        self._max_attempts = function.retries + 1
        self._failures = 0
        self._failure: Failure | None = None
        self._invoked = 0
        registry = Registry()
        registry.add(function)
        calls = FaultyCalls(world.threads, clock, faults or {}, self._lose)
        self._execution = Execution(registry, calls, self._sent, settle_seconds=SETTLE_SECONDS)

    async def to_end(self, data_json: str) -> FunctionRun:
        """Run turns until the job is over."""
        began = self._clock.passed
        self._job.attempt = 1
        while True:
            outcome = await self._turn(data_json)
            match outcome:
                case None:
                    self._job.attempt += 1
                    self._max_attempts += 1
                case Suspended():
                    self._job.wake()
                case Succeeded(result_json=text):
                    return self._record(began, JobState.SUCCEEDED, result=decode(text))
                case Failed() if self._gives_up(outcome):
                    undoing = await self._roll_back(data_json)
                    return self._record(began, JobState.DEAD_LETTERED, rollback_failure=undoing)
                case Failed():
                    self._pause(outcome)
                    self._job.attempt += 1
                case _:
                    raise AssertionError(f"nobody stops or releases a job in memory: {outcome}")

    async def _roll_back(self, data_json: str) -> Failure | None:
        """Undo what can be undone; return why that failed for good, if it did."""
        self._failures = 0
        while undoing := tuple(reversed(self._job.compensable)):
            outcome = await self._turn(data_json, rollback=undoing)
            if not isinstance(outcome, Failed):
                continue
            # A turn that undid something does not count: there may be as many again.
            some = len(self._job.compensable) < len(undoing)
            self._failures = 0 if some else self._failures + 1
            if outcome.permanent or self._failures >= self._max_attempts:
                return _failure(outcome)
            self._pause(outcome)
        return None

    async def _turn(
        self, data_json: str, *, rollback: tuple[str, ...] | None = None
    ) -> Outcome | None:
        """Return how the turn ended; None for a worker that was lost."""
        self._turns += 1
        if self._turns > MAX_TURNS:
            raise ConfigurationError(
                f"function {self._function.name} has had {MAX_TURNS:,} turns and comes to no end"
            )
        self._job.lost = False
        timeout = self._function.timeout
        job = AssignedJob(
            token=Token(b""),
            job_id=self._job_id,
            function=self._function.name,
            attempt=self._job.attempt,
            max_attempts=self._max_attempts,
            event_name=self._event_name,
            data_json=data_json,
            memo=dict(self._job.memo),
            request_id="test",
            traceparent="",
            tenant=self._world.tenant,
            timeout=None if timeout is None else in_seconds(timeout),
            rollback=rollback,
            version=self._function.version,
            kinds={
                step.key: step.kind
                for step in self._job.steps.values()
                if step.kind is not StepKind.RUN
            },
        )
        # A task of its own: whoever calls may be cancelled, and is not the function.
        turn = asyncio.ensure_future(self._execution(job, self._job))
        try:
            await asyncio.wait((turn,))
        finally:
            turn.cancel()
            await asyncio.gather(turn, return_exceptions=True)
        if self._job.lost:
            return None
        if turn.cancelled():
            return Failed(kind="CancelledError", message="the function cancelled itself")
        return turn.result()

    def _lose(self) -> None:
        self._job.lost = True

    def _gives_up(self, failed: Failed) -> bool:
        self._failures += 1
        self._failure = _failure(failed)
        return failed.permanent or self._job.attempt >= self._max_attempts

    def _pause(self, failed: Failed) -> None:
        """Let the time pass until the next attempt: without jitter, so that tests can tell it."""
        function = self._function
        initial = (
            function.initial_backoff if function.initial_backoff is not None else FIRST_BACKOFF
        )
        longest = function.max_backoff if function.max_backoff is not None else LONGEST_BACKOFF
        doubled = in_seconds(initial) * 2.0 ** min(max(self._failures - 1, 0), 60)
        pause = min(doubled, in_seconds(longest))
        if failed.retry_after is not None:
            pause = failed.retry_after
        self._clock.advance_to(self._clock.passed + pause)

    async def _invoke(self, key: str, wait: pb.InvokeWait) -> Child:
        name = wait.function
        if name not in self._world.children:
            raise StepRejectedError(
                f"the wait of step {key!r} was refused: no function {name} is known; name it among "
                "the children of run_function"
            )
        if name in self._lineage:
            way = " → ".join((*self._lineage, name))
            raise StepRejectedError(f"the wait of step {key!r} was refused: cyclic: {way}")
        if len(self._lineage) >= MAX_LINEAGE:
            raise StepRejectedError(
                f"the wait of step {key!r} was refused: more than {MAX_LINEAGE} jobs in a row"
            )
        self._invoked += 1
        child_id = f"{self._job_id}/{self._invoked}"
        clock = self._clock.copy()
        run = JobRun(
            self._world,
            self._world.children[name],
            clock,
            job_id=child_id,
            lineage=self._lineage,
        )
        ended = await run.to_end(wait.data_json)
        failure = ended.failure if ended.state is not JobState.SUCCEEDED else None
        return Child(
            ended_at=clock.passed,
            result={
                "job_id": child_id,
                "state": ended.state.value,
                "result": ended.result,
                "failure": {"kind": failure.kind, "message": failure.message} if failure else None,
            },
        )

    def _record(
        self,
        began: float,
        state: JobState,
        *,
        result: Any = None,
        rollback_failure: Failure | None = None,
    ) -> FunctionRun:
        return FunctionRun(
            state=state,
            result=result,
            failure=self._failure,
            rollback_failure=rollback_failure,
            attempts=self._job.attempt,
            turns=self._turns,
            steps=tuple(self._job.steps.values()),
            progress=tuple(self._job.progresses),
            events=tuple(self._sent.events.values()),
            slept=self._clock.passed - began,
        )


def _failure(failed: Failed) -> Failure:
    return Failure(kind=failed.kind, message=failed.message, permanent=failed.permanent)
