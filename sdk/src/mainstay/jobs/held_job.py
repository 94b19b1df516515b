"""One job in a worker's hands: its task, and what it waits to have stored.

Belongs to the handlers' loop, as does everything a function can reach.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from mainstay.jobs.assignment import (
    MAX_PROGRESS_MESSAGE,
    AssignedJob,
    Failed,
    Outcome,
    Released,
    Reporter,
    Stopped,
    Succeeded,
    Suspended,
    Token,
    wire_text,
)
from mainstay.jobs.errors import StepRejectedError
from mainstay.jobs.ledger import Answer
from mainstay.jobs.outbox import Letter
from mainstay.jobs.v1 import worker_service_pb2 as pb

log = logging.getLogger("mainstay.worker")

Execute = Callable[[AssignedJob, Reporter], Coroutine[Any, Any, Outcome]]


class Keeper(Protocol):
    """Who keeps held jobs, and where what they have to say goes."""

    def post(self, letter: Letter) -> None:
        """Have a letter sent soon."""

    def move(self, token: Token) -> None:
        """Note a sign of life."""

    def vacate(self) -> None:
        """Make room for another job: this one's task has ended, or will not begin."""

    def over(self, held: "HeldJob") -> None:
        """Forget a job: nothing is left to do or to say."""


class HeldJob:
    """A job from its arrival until its end is stored (`settled`) or it is somebody else's (`lost`).

    `stored` tells whether it is settled by the service's word, not for want of one. `cancel_reason`
    says why the service wants it to end; None when it does not.
    """

    __slots__ = (
        "_keeper",
        "_outcome",
        "_releasing",
        "_task",
        "_waiters",
        "cancel_reason",
        "job",
        "lost",
        "settled",
        "stored",
    )

    def __init__(self, job: AssignedJob, keeper: Keeper) -> None:
        self.job = job
        self.settled = False
        self.stored = False
        self.lost = False
        self.cancel_reason: str | None = None
        self._keeper = keeper
        self._releasing = False
        self._task: asyncio.Task[Outcome] | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._outcome: Outcome | None = None

    def start(self, execute: Execute) -> None:
        """Run the job in a task of its own."""
        self._task = asyncio.create_task(execute(self.job, self), name=f"job {self.job.job_id}")
        self._task.add_done_callback(self._task_ended)

    def release(self) -> None:
        """Give the job back, unless its end is already known."""
        self._releasing = True
        if self._task is not None:
            self._task.cancel()
        elif self._outcome is None:
            self._keeper.vacate()
            self._conclude(Released())

    def cancel(self, reason: str) -> None:
        """End as soon as the function lets itself be ended; the first time counts.

        A job whose steps are being undone goes on with that.
        """
        begun = self.cancel_reason is not None or self.lost or self._outcome is not None
        if begun or self.job.rollback is not None:
            return
        self.cancel_reason = reason
        if self._task is not None:
            self._task.cancel(f"job {self.job.job_id} was cancelled: {reason or 'no reason given'}")
        log.info(
            "job to be cancelled: %s request_id=%s: %s",
            self.job.function,
            self.job.request_id,
            reason,
            extra=self.job.log_fields(),
        )

    def lose(self) -> None:
        """Stop at once: the job is somebody else's now."""
        if self.lost or self.settled:
            return
        self.lost = True
        self._dismiss_waiters()
        if self._task is not None:
            self._task.cancel()
        log.warning(
            "job lost: %s request_id=%s; its handler is cancelled",
            self.job.function,
            self.job.request_id,
            extra=self.job.log_fields(),
        )
        if self._task is None or self._task.done():
            self._keeper.over(self)

    async def step_completed(self, key: str, result_json: str, *, compensable: bool) -> None:
        """Report the step and wait until it is stored."""
        step = pb.StepCompleted(key=key, result_json=result_json, compensable=compensable)
        await self._store(pb.Report(step_completed=step), f"the result of step {key!r}")

    async def wait_begun(self, wait: pb.WaitBegun) -> None:
        """Report that a step waits, and return when that is stored."""
        await self._store(pb.Report(wait_begun=wait), f"the wait of step {wait.key!r}")

    async def step_compensated(self, key: str) -> None:
        """Report that a step was undone, and return when that is stored."""
        undone = pb.StepCompensated(key=key)
        await self._store(pb.Report(step_compensated=undone), f"the undoing of step {key!r}")

    def check(self) -> None:
        """Refuse whatever comes from an attempt that is over."""
        # A handler that swallowed its cancellation, or left steps behind that it had begun in
        # parallel, must not go on as if nothing had happened.
        if (
            self.lost
            or self._releasing
            or self._outcome is not None
            or self.cancel_reason is not None
        ):
            raise asyncio.CancelledError(f"this attempt of job {self.job.job_id} is over")

    def alive(self) -> None:
        """Note a sign of life, or refuse it as `check` does."""
        self.check()
        if self.job.hang_timeout is not None:
            self._keeper.move(self.job.token)

    def progress(self, fraction: float, message: str, partial_json: str) -> None:
        """Report progress without waiting."""
        self.check()
        text = wire_text(message, MAX_PROGRESS_MESSAGE)
        news = pb.ProgressReported(fraction=fraction, message=text, partial_json=partial_json)
        report = pb.Report(progress=news)
        self._keeper.post(Letter(token=self.job.token, report=report, folds=True))

    def answer(self, answer: Answer) -> None:
        """Take the service's word on one letter."""
        if answer.state == pb.ACK_STATE_FENCED:
            self.lose()
        elif (letter := answer.letter) is None:
            return
        elif answer.state in {pb.ACK_STATE_STORED, pb.ACK_STATE_DUPLICATE}:
            self._stored(letter)
        else:
            self._refused(letter, answer.message or f"acknowledgement state {answer.state}")

    async def _store(self, report: pb.Report, what: str) -> None:
        """Send a report and wait until it is stored; raise StepRejectedError if it will not be."""
        self.check()
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        self._keeper.post(Letter(token=self.job.token, report=report, waiter=waiter))
        try:
            await waiter
        except _RefusedError as error:
            raise StepRejectedError(f"{what} was refused: {error}") from None
        finally:
            self._waiters.discard(waiter)

    def _task_ended(self, task: asyncio.Task[Outcome]) -> None:
        # The task's error is always fetched, or asyncio would complain about it later.
        outcome = self._outcome_of(task)
        self._keeper.vacate()
        if self.lost:
            self._keeper.over(self)
        else:
            self._conclude(outcome)

    def _outcome_of(self, task: asyncio.Task[Outcome]) -> Outcome:
        if task.cancelled():
            if self.cancel_reason is not None:
                return Stopped()
            if self._releasing:
                return Released()
            # Nobody here cancelled it: the function let a cancellation of its own escape.
            return Failed(kind="CancelledError", message="the function cancelled itself")
        if (error := task.exception()) is not None:
            outcome: Outcome = Failed(kind=type(error).__name__, message=str(error))
        else:
            outcome = task.result()
        # What fails because it is cancelled to be given back has not failed: no attempt is burnt.
        return Released() if self._releasing and isinstance(outcome, Failed) else outcome

    def _conclude(self, outcome: Outcome) -> None:
        self._outcome = outcome
        report = self._report_of(outcome)
        self._keeper.post(Letter(token=self.job.token, report=report, ends=True))

    def _stored(self, letter: Letter) -> None:
        if letter.ends:
            self.stored = True
            self._settle()
        elif letter.waiter is not None and not letter.waiter.done():
            letter.waiter.set_result(None)

    def _refused(self, letter: Letter, why: str) -> None:
        if letter.ends:
            self._conclude_otherwise(why)
        elif letter.waiter is not None and not letter.waiter.done():
            letter.waiter.set_exception(_RefusedError(why))

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
            case Failed() | Suspended() | Stopped():
                self._conclude(Released())
            case _:
                self._settle()

    def _settle(self) -> None:
        self.settled = True
        self._dismiss_waiters()
        self._keeper.over(self)

    def _dismiss_waiters(self) -> None:
        # Steps that ran beside the one that ended the job: nobody will answer them any more.
        for waiter in self._waiters:
            waiter.cancel()

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


class _RefusedError(Exception):
    """The service will not store a report; the message says why."""
