"""One job in a worker's hands: its task, and what it waits to have acknowledged."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from mainstay.jobs.assignment import (
    MAX_PROGRESS_MESSAGE,
    AssignedJob,
    Failed,
    Outcome,
    Released,
    Reporter,
    Succeeded,
    wire_text,
)
from mainstay.jobs.errors import StepRejectedError
from mainstay.jobs.outbox import Outbox
from mainstay.jobs.v1 import worker_service_pb2 as pb

log = logging.getLogger("mainstay.worker")

Execute = Callable[[AssignedJob, Reporter], Awaitable[Outcome]]


class HeldJob:
    """A job from its arrival until its end is stored (`settled`) or it is somebody else's (`lost`).

    `on_change` is called whenever there is something to send or the job may be over.
    """

    def __init__(self, job: AssignedJob, outbox: Outbox, on_change: Callable[[], None]) -> None:
        self.job = job
        self.settled = False
        self.lost = False
        self._outbox = outbox
        self._on_change = on_change
        self._releasing = False
        self._task: asyncio.Task[Outcome] | None = None
        self._steps: dict[int, asyncio.Future[None]] = {}
        self._outcome: Outcome | None = None
        self._outcome_sequence = 0
        outbox.open(job.token)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do or to say."""
        ended = self._task is None or self._task.done()
        return ended and (self.settled or self.lost)

    def start(self, execute: Execute) -> None:
        """Run the job in a task of its own."""

        async def run() -> Outcome:
            return await execute(self.job, self)

        self._task = asyncio.create_task(run(), name=f"job {self.job.job_id}")
        self._task.add_done_callback(self._task_ended)

    def release(self) -> None:
        """Give the job back, unless its end is already known."""
        self._releasing = True
        if self._task is not None:
            self._task.cancel()
        elif self._outcome is None:
            self._conclude(Released())

    def lose(self) -> None:
        """Stop at once: the job is somebody else's now."""
        if self.lost or self.settled:
            return
        self.lost = True
        self._forget_reports()
        if self._task is not None:
            self._task.cancel()
        log.warning(
            "job lost: %s request_id=%s; its handler is cancelled",
            self.job.function,
            self.job.request_id,
            extra=self.job.log_fields(),
        )
        self._on_change()

    async def step_completed(self, key: str, result_json: str) -> None:
        """Report the step and wait until it is stored."""
        self.check()
        report = pb.Report(step_completed=pb.StepCompleted(key=key, result_json=result_json))
        sequence = self._outbox.add(self.job.token, report)
        stored = self._steps[sequence] = asyncio.get_running_loop().create_future()
        self._on_change()
        try:
            await stored
        finally:
            del self._steps[sequence]

    def check(self) -> None:
        """Refuse whatever comes from an attempt that is over."""
        # A handler that swallowed its cancellation, or left steps behind that it had begun in
        # parallel, must not go on as if nothing had happened.
        if self.lost or self._releasing or self._outcome is not None:
            raise asyncio.CancelledError(f"this attempt of job {self.job.job_id} is over")

    def progress(self, fraction: float, message: str) -> None:
        """Report progress without waiting."""
        self.check()
        text = wire_text(message, MAX_PROGRESS_MESSAGE)
        news = pb.ProgressReported(fraction=fraction, message=text)
        self._outbox.add_progress(self.job.token, news)
        self._on_change()

    def acknowledge(self, sequence: int, state: pb.AckState.ValueType, message: str) -> None:
        """Take the service's word on one report."""
        report = self._outbox.acknowledge(self.job.token, sequence)
        if state == pb.ACK_STATE_FENCED:
            self.lose()
        elif report is None:
            return  # a repeat: the first answer counted
        elif state in {pb.ACK_STATE_STORED, pb.ACK_STATE_DUPLICATE}:
            self._stored(sequence)
        else:
            self._refused(sequence, report, message or f"acknowledgement state {state}")

    def _task_ended(self, task: asyncio.Task[Outcome]) -> None:
        # The task's error is always fetched, or asyncio would complain about it later.
        outcome = self._outcome_of(task)
        if self.lost:
            self._on_change()
        else:
            self._conclude(outcome)

    def _outcome_of(self, task: asyncio.Task[Outcome]) -> Outcome:
        if task.cancelled():
            if self._releasing:
                return Released()
            # Nobody here cancelled it: the function let a cancellation of its own escape.
            return Failed(kind="CancelledError", message="the function cancelled itself")
        if (error := task.exception()) is not None:
            return Failed(kind=type(error).__name__, message=str(error))
        return task.result()

    def _conclude(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._outcome_sequence = self._outbox.add(self.job.token, self._report_of(outcome))
        self._on_change()

    def _stored(self, sequence: int) -> None:
        if sequence == self._outcome_sequence:
            self._settle()
        elif (step := self._steps.get(sequence)) is not None and not step.done():
            step.set_result(None)

    def _refused(self, sequence: int, report: pb.Report, why: str) -> None:
        if sequence == self._outcome_sequence:
            self._conclude_otherwise(why)
        elif (step := self._steps.get(sequence)) is not None and not step.done():
            key = report.step_completed.key
            step.set_exception(StepRejectedError(f"the result of step {key!r} was refused: {why}"))

    def _conclude_otherwise(self, why: str) -> None:
        """End in the next best way: a job whose end is refused must not stay open for ever."""
        log.error(
            "end of job refused: %s request_id=%s: %s",
            self.job.function,
            self.job.request_id,
            why,
            extra=self.job.log_fields(),
        )
        match self._outcome:
            case Succeeded():
                refusal = f"the result of {self.job.function} was refused: {why}"
                self._conclude(Failed(kind="ResultError", message=refusal, permanent=True))
            case Failed():
                self._conclude(Released())
            case _:
                self._settle()

    def _settle(self) -> None:
        self.settled = True
        self._forget_reports()
        self._on_change()

    def _forget_reports(self) -> None:
        self._outbox.close(self.job.token)
        # Steps that ran beside the one that ended the job: nobody will answer them any more.
        for step in self._steps.values():
            step.cancel()

    def _report_of(self, outcome: Outcome) -> pb.Report:
        """Return the report of an end, or of one that can be told: a job must not hang unended."""
        try:
            return outcome.report()
        except Exception as error:
            log.exception(
                "end of job cannot be reported: %s request_id=%s",
                self.job.function,
                self.job.request_id,
                extra=self.job.log_fields(),
            )
            kind = type(error).__name__
            return Failed(kind=kind, message="the end of the job cannot be reported").report()
