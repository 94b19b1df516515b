"""Undoes what finished steps have done: collects from the function what undoes them, and runs it.

What undoes a step is code, which no database holds. So the function is run again with the stored
results of its steps, up to where it declares the last `compensate` that is wanted, and is held
there: whatever it has open, such as a client, stays open until all is undone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Never

from mainstay.jobs.assignment import (
    AssignedJob,
    Failed,
    Outcome,
    Reporter,
    Succeeded,
)
from mainstay.jobs.errors import NestedWaitError, StepNotRunError
from mainstay.jobs.failure import failure_of
from mainstay.jobs.step_calls import running_step
from mainstay.jobs.tracing import step_span
from mainstay.jobs.turn import SETTLE_SECONDS, Undo
from mainstay.jobs.v1 import worker_service_pb2 as pb

log = logging.getLogger("mainstay.worker")

NOT_FOUND = "CompensationNotFound"
FAILED = "CompensationFailed"


class RollbackTurn:
    """A turn in which steps return what is stored, and a step without that goes no further."""

    def __init__(
        self, job: AssignedJob, reporter: Reporter, *, settle_seconds: float = SETTLE_SECONDS
    ) -> None:
        self.undos: dict[str, Callable[[], Awaitable[Any]]] = {}
        self._wanted = frozenset(job.rollback or ())
        self._memo = job.memo
        self._reporter = reporter
        self._settle_seconds = settle_seconds
        self._loop = asyncio.get_running_loop()
        self._held: list[asyncio.Future[Never]] = []
        self._settling: asyncio.TimerHandle | None = None
        self._collected = asyncio.Event()

    def check(self) -> None:
        """Pass the sign of life on; raise CancelledError when this turn is over."""
        self._reporter.alive()

    async def recall(self, key: str, undo: Undo | None = None) -> str | None:
        """Return the stored result of a step and keep what undoes it, if that is wanted."""
        self._moved()
        text = self._memo.get(key)
        if text is not None and undo is not None and key in self._wanted:
            self.undos[key] = _bound(undo, text)
            if self.undos.keys() == self._wanted:
                self._collected.set()
                await self._hold()
        return text

    async def begin(self, key: str) -> None:
        """Hold the function where it would do something new."""
        # What undoes a step would be held for ever.
        if undone := running_step():
            raise NestedWaitError(
                f"step {key!r} begins where step {undone!r} is undone; call its function instead, "
                "as what undoes a step has no steps of its own"
            )
        await self._hold()

    def end(self, key: str) -> None:
        """Take notice that the function goes on without the step."""
        del key
        self._moved()

    async def store(self, key: str, result_json: str, *, compensable: bool) -> None:
        """Nothing new is stored in this turn."""
        del result_json, compensable
        raise AssertionError(f"step {key!r} ran in a turn that only undoes")

    async def wait(self, wait: pb.WaitBegun) -> Never:
        """Hold the function where it would wait."""
        del wait
        await self._hold()
        raise AssertionError("what is held does not go on")

    @property
    def cancelled(self) -> bool:
        """Tell whether somebody has asked for the end of the job."""
        return self._reporter.cancel_reason is not None

    def progress(self, fraction: float, message: str, partial_json: str) -> None:
        """Leave what watchers see as it is: the function does not get any further."""
        del fraction, message, partial_json
        self.alive()

    def alive(self) -> None:
        """Pass the sign of life on."""
        self._moved()
        self._reporter.alive()

    async def collect(self, function: "asyncio.Task[Any]") -> None:
        """Return once all is collected, or the function gives no more."""
        collected = asyncio.create_task(self._collected.wait())
        try:
            await asyncio.wait((function, collected), return_when=asyncio.FIRST_COMPLETED)
        finally:
            collected.cancel()
            self._stop_settling()

    async def _hold(self) -> None:
        held = self._loop.create_future()
        self._held.append(held)
        self._moved()
        try:
            await held
        finally:
            self._held.remove(held)

    def _moved(self) -> None:
        self._stop_settling()
        if self._held and not self._collected.is_set():
            self._settling = self._loop.call_later(self._settle_seconds, self._settled)

    def _settled(self) -> None:
        """Go on where something is held and something is missing.

        A function may have caught the error of a step that then never got a result, and have gone
        on with others: it is given an error once more.
        """
        self._settling = None
        for held in self._held:
            if not held.done():
                held.set_exception(StepNotRunError("this step has not run; others are undone"))

    def _stop_settling(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None


async def roll_back(
    job: AssignedJob,
    reporter: Reporter,
    turn: RollbackTurn,
    function: Callable[[], Coroutine[Any, Any, Any]],
) -> Outcome:
    """Undo the steps that the job names, in its order, each stored before the next begins."""
    if not job.rollback:
        return Succeeded(result_json="null")
    running = asyncio.create_task(function(), name=f"rollback of job {job.job_id}")
    try:
        await turn.collect(running)
        if missing := [key for key in job.rollback if key not in turn.undos]:
            return _not_found(job, missing, running)
        for key in job.rollback:
            if (failed := await _undo(key, turn)) is not None:
                return failed
            await reporter.step_compensated(key)
            _log_undone(job, key)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return Succeeded(result_json="null")


async def _undo(key: str, turn: RollbackTurn) -> Failed | None:
    try:
        with step_span(f"undo {key}"):
            await turn.undos[key]()
    except Exception as error:  # noqa: BLE001 - whatever it raises, the step is not undone
        failed = failure_of(error)
        message = f"undoing step {key!r} failed: {failed.kind}: {failed.message}"
        return replace(failed, kind=FAILED, message=message)
    return None


def _not_found(job: AssignedJob, missing: list[str], running: "asyncio.Task[Any]") -> Failed:
    why = "did not come to them"
    if running.done() and not running.cancelled() and (error := running.exception()) is not None:
        why = f"ended before, with {type(error).__name__}: {error}"
    keys = ", ".join(repr(key) for key in missing)
    return Failed(
        kind=NOT_FOUND,
        message=f"what undoes the steps {keys} of {job.function} was not found: run again with the "
        f"stored results, it {why}; deploy code that comes to them and declares their compensate, "
        "and retry the job",
        permanent=True,
    )


def _bound(undo: Undo, result_json: str) -> Callable[[], Awaitable[Any]]:
    async def bound() -> Any:
        return await undo(result_json)

    return bound


def _log_undone(job: AssignedJob, key: str) -> None:
    log.info(
        "step undone: %s of %s request_id=%s",
        key,
        job.function,
        job.request_id,
        extra=job.log_fields() | {"step": key},
    )
