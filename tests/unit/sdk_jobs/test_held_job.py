"""A job in a worker's hands ends, whatever its function leaves behind."""

import asyncio
import math
from collections.abc import AsyncIterator

import pytest

from mainstay.jobs.assignment import (
    AssignedJob,
    Failed,
    Outcome,
    Reporter,
    Succeeded,
)
from mainstay.jobs.held_job import Execute
from mainstay.jobs.v1 import worker_service_pb2 as pb
from tests.unit.sdk_jobs.held import PATIENCE, Hold


class ParallelSteps:
    """An attempt that leaves a step behind: of two in parallel the second one fails."""

    def __init__(self) -> None:
        self.hold = Hold()
        self.goes_on = asyncio.Event()
        self.other_fails = asyncio.Event()
        self.left_behind: asyncio.Task[None] | None = None

    async def execute(self, job: AssignedJob, reporter: Reporter) -> Outcome:
        """Begin one step and fail before it has ended."""

        async def step() -> None:
            await self.goes_on.wait()
            await reporter.step_completed("a", "1", compensable=False)

        self.left_behind = asyncio.create_task(step())
        await self.other_fails.wait()
        return Failed(kind="OSError", message="step b failed")

    async def step_ended(self) -> "asyncio.Task[None]":
        """Return the step that was left behind, once it is over."""
        assert self.left_behind is not None
        done, _ = await asyncio.wait((self.left_behind,), timeout=PATIENCE)
        assert {self.left_behind} == done
        return self.left_behind


@pytest.fixture
async def parallel() -> AsyncIterator[ParallelSteps]:
    """Provide an attempt with two parallel steps, and stop what it left behind."""
    parallel = ParallelSteps()
    yield parallel
    if parallel.left_behind is not None:
        parallel.left_behind.cancel()
        await asyncio.wait((parallel.left_behind,))


class TestStepLeftBehind:
    async def test_is_refused_once_the_attempt_has_failed(self, parallel: ParallelSteps) -> None:
        """Its report would only be fenced."""
        parallel.other_fails.set()
        parallel.hold.held.start(parallel.execute)
        await parallel.hold.next_letter()

        parallel.goes_on.set()

        assert (await parallel.step_ended()).cancelled()

    async def test_is_refused_after_the_failure_is_stored(self, parallel: ParallelSteps) -> None:
        """Cancelled, and not met by an error about a token that is forgotten."""
        parallel.other_fails.set()
        parallel.hold.held.start(parallel.execute)
        parallel.hold.answer(await parallel.hold.next_letter(), pb.ACK_STATE_STORED)

        parallel.goes_on.set()

        assert (await parallel.step_ended()).cancelled()

    @pytest.mark.parametrize("state", [pb.ACK_STATE_STORED, pb.ACK_STATE_FENCED])
    async def test_that_waits_for_its_answer_does_not_outlive_the_job(
        self, parallel: ParallelSteps, state: pb.AckState.ValueType
    ) -> None:
        """Reported before the failure, and not answered by the time that the job is over."""
        parallel.goes_on.set()
        parallel.hold.held.start(parallel.execute)
        await parallel.hold.next_letter()
        parallel.other_fails.set()

        parallel.hold.answer(await parallel.hold.next_letter(), state)

        assert (await parallel.step_ended()).cancelled()
        assert parallel.hold.is_over


class TestEndThatCannotBeReported:
    @pytest.mark.parametrize(
        "outcome",
        [
            Failed(kind="RetryAfterError", message="later", retry_after=math.inf),
            Succeeded(result_json='"\ud800"'),
        ],
    )
    async def test_is_reported_as_a_failure(self, outcome: Outcome) -> None:
        """A job of which nothing is said would be this worker's for ever."""
        hold = Hold()
        hold.held.start(returning(outcome))

        letter = await hold.next_letter()
        hold.answer(letter, pb.ACK_STATE_STORED)

        assert "the end of the job cannot be reported" == letter.report.failed.message
        assert hold.is_over


def returning(outcome: Outcome) -> Execute:
    """Return an execution that ends so."""

    async def execute(job: AssignedJob, reporter: Reporter) -> Outcome:
        return outcome

    return execute
