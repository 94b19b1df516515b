"""Operators steer jobs of the real service, and deal with what ended badly."""

from datetime import UTC, datetime, timedelta

import pytest

from mainstay.errors import NotFoundError, PreconditionError, QuotaError
from mainstay.jobs import JobFilter, JobState
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from tests.integration.sdk_jobs.contract import WORK, Contract, all_of, work

NOBODY = "0198f0a0-0000-7000-8000-0123456789ab"


class TestCancelling:
    async def test_ends_at_once_what_no_worker_has(self, contract: Contract) -> None:
        """With why, for whoever looks at it."""
        await contract.worker()
        enqueued = await contract.jobs.enqueue("work", {})

        job = await contract.jobs.cancel_job(enqueued.job_id, reason="ordered by mistake")

        assert JobState.CANCELLED is job.state
        assert job.cancellation is not None
        assert ("ordered by mistake", False) == (job.cancellation.reason, job.cancellation.rollback)

    async def test_tells_the_worker_that_has_the_job(self, contract: Contract) -> None:
        """Which ends it; until then it runs and says that it is to end."""
        worker = await contract.worker()
        enqueued = await contract.jobs.enqueue("work", {})
        taken = await worker.take_one()

        asked = await contract.jobs.cancel_job(enqueued.job_id)
        directive = await worker.directive()
        await worker.report(taken.token, stopped=worker_pb.Stopped())
        ended = await contract.jobs.wait_for_job(enqueued.job_id, timeout=10)

        assert (JobState.RUNNING, True) == (asked.state, asked.cancellation is not None)
        assert taken.token == directive.token
        assert JobState.CANCELLED is ended.state

    async def test_undoes_finished_steps_where_that_is_wanted(self, contract: Contract) -> None:
        """The worker is told which, and the job tells how far that has come."""
        worker = await contract.worker()
        enqueued = await contract.jobs.enqueue("work", {})
        taken = await worker.take_one()
        step = worker_pb.StepCompleted(key="book", result_json="1", compensable=True)
        await worker.report(taken.token, step_completed=step)
        await worker.release(taken.token)

        undoing = await contract.jobs.cancel_job(enqueued.job_id, rollback=True)
        turn = await worker.take_one()
        await worker.undo(turn.token, "book")
        await worker.complete(turn.token)
        done = await contract.jobs.get_job(enqueued.job_id)

        assert JobState.ROLLING_BACK is undoing.state
        assert undoing.rollback is not None
        assert JobState.CANCELLED is undoing.rollback.outcome
        assert (JobState.CANCELLED, [True], [True]) == (
            done.state,
            [each.compensable for each in done.steps],
            [each.compensate_time is not None for each in done.steps],
        )

    async def test_of_what_is_over_is_refused(self, contract: Contract) -> None:
        """And of what does not exist."""
        worker = await contract.worker()
        enqueued = await contract.jobs.enqueue("work", {})
        await worker.complete((await worker.take_one()).token)

        with pytest.raises(PreconditionError) as over:
            await contract.jobs.cancel_job(enqueued.job_id)
        with pytest.raises(NotFoundError) as missing:
            await contract.jobs.cancel_job(NOBODY)
        assert ("JOB_OVER", "JOB_NOT_FOUND") == (over.value.reason, missing.value.reason)


class TestSignals:
    async def test_reach_the_step_that_waits(self, contract: Contract) -> None:
        """With their data, also those that came before it waited."""
        worker = await contract.worker()
        enqueued = await contract.jobs.enqueue("work", {})
        taken = await worker.take_one()

        await contract.jobs.signal_job(enqueued.job_id, "approved", {"by": "ü"})
        await worker.wait_for(taken.token, "reply", signal=worker_pb.SignalWait(name="approved"))
        await worker.suspend(taken.token, "reply")
        await worker.take_one()
        (step,) = (await contract.jobs.get_job(enqueued.job_id)).steps

        assert ("reply", {"data": {"by": "ü"}}) == (step.key, step.result)

    async def test_are_bounded(self, contract: Contract) -> None:
        """A job that takes none does not keep ever more."""
        await contract.worker()
        enqueued = await contract.jobs.enqueue("work", {})
        for number in range(100):
            await contract.jobs.signal_job(enqueued.job_id, "n", number)

        with pytest.raises(QuotaError) as full:
            await contract.jobs.signal_job(enqueued.job_id, "n", 101)
        await contract.jobs.cancel_job(enqueued.job_id)
        with pytest.raises(PreconditionError) as over:
            await contract.jobs.signal_job(enqueued.job_id, "n")
        assert ("TOO_MANY_SIGNALS", "JOB_OVER") == (full.value.reason, over.value.reason)


class TestRetrying:
    async def test_gives_a_dead_letter_new_attempts(self, contract: Contract) -> None:
        """What its steps have done is kept."""
        worker = await contract.worker(work(max_attempts=1))
        (job_id,) = (await contract.jobs.send_event(WORK, {})).job_ids
        taken = await worker.take_one()
        await worker.step(taken.token, "probe")
        await worker.fail(taken.token)

        retried = await contract.jobs.retry_job(job_id)
        again = await worker.take_one()

        assert (JobState.RETRYING, 1, 2) == (retried.state, retried.attempt, retried.max_attempts)
        assert (job_id, ["probe"]) == (again.job_id, [step.key for step in again.memo])

    async def test_of_what_is_no_dead_letter_is_refused(self, contract: Contract) -> None:
        """It has its attempts."""
        await contract.worker()
        enqueued = await contract.jobs.enqueue("work", {})

        with pytest.raises(PreconditionError) as caught:
            await contract.jobs.retry_job(enqueued.job_id)
        assert "JOB_NOT_DEAD" == caught.value.reason


class TestDeadLetters:
    async def test_are_listed(self, contract: Contract) -> None:
        """By what their jobs have in common, the newest first."""
        made = await contract.dead_letters(3)
        hour = timedelta(hours=1)

        async def found(wanted: JobFilter | None = None) -> list[str]:
            return [job.job_id for job in await all_of(contract.jobs.list_dead_letters(wanted))]

        assert made[::-1] == await found()
        assert made[::-1] == await found(JobFilter(function="work", failure_kind="ValueError"))
        assert [] == await found(JobFilter(failure_kind="OSError"))
        assert [] == await found(JobFilter(until=datetime.now(UTC) - hour))

    async def test_are_replayed_by_name(self, contract: Contract) -> None:
        """Those that are none are left out."""
        first, second, third = await contract.dead_letters(3)

        assert {first, third} == set(
            await contract.jobs.replay_dead_letters([third, NOBODY, first])
        )
        assert () == await contract.jobs.replay_dead_letters([first])
        assert [second] == [job.job_id for job in await all_of(contract.jobs.list_dead_letters())]

    async def test_are_replayed_by_what_they_have_in_common(self, contract: Contract) -> None:
        """Each goes on."""
        made = await contract.dead_letters(2)

        nothing = await contract.jobs.replay_dead_letters(JobFilter(function="other"))
        done = await contract.jobs.replay_dead_letters(JobFilter(function="work"))
        states = [(await contract.jobs.get_job(job_id)).state for job_id in made]

        assert ((), set(made)) == (nothing, set(done))
        assert [JobState.RETRYING] * 2 == states

    async def test_are_discarded(self, contract: Contract) -> None:
        """By name or all, and stay readable."""
        first, second, third = await contract.dead_letters(3)

        by_name = await contract.jobs.discard_dead_letters([first, NOBODY])
        rest = await contract.jobs.discard_dead_letters(JobFilter())
        states = {(await contract.jobs.get_job(job_id)).state for job_id in (first, second, third)}

        assert ((first,), {second, third}) == (by_name, set(rest))
        assert {JobState.DISCARDED} == states
        assert [] == await all_of(contract.jobs.list_dead_letters())
