"""Jobs, queues, functions and workers of the real service, as those who look at them see them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from mainstay.errors import NotFoundError, ValidationError
from mainstay.jobs import (
    Debounce,
    Failure,
    HindranceKind,
    JobFilter,
    JobState,
    KeyedConcurrency,
    Overflow,
    OverflowPolicy,
    Progress,
    RateLimit,
    StepKind,
    VersionPolicy,
)
from mainstay.jobs.v1 import function_pb2
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from tests.integration.sdk_jobs.contract import PATIENCE, WORK, Contract, all_of, work


class TestJobs:
    async def test_tell_their_life(self, contract: Contract) -> None:
        """What they were given, what their steps have done, what they wait for, what they say."""
        worker = await contract.worker(work(version="v2"))
        (job_id,) = (await contract.jobs.send_event(WORK, {"n": 1}, priority=5)).job_ids
        taken = await worker.take_one()
        await worker.step(taken.token, "probe", '{"seconds": 3}')
        await worker.report(
            taken.token,
            progress=worker_pb.ProgressReported(
                fraction=0.4, message="transcribing", partial_json="[1]"
            ),
        )
        running = await contract.jobs.get_job(job_id)
        await worker.wait_for(taken.token, "reply", signal=worker_pb.SignalWait(name="approved"))
        await worker.suspend(taken.token, "reply")
        waiting = await contract.jobs.get_job(job_id)

        (step,) = running.steps
        assert ("probe", {"seconds": 3}, 1, StepKind.RUN, False) == (
            step.key,
            step.result,
            step.attempt,
            step.kind,
            step.compensable,
        )
        assert (JobState.RUNNING, "raw-1", 1, 3, 5, "v2", {"n": 1}) == (
            running.state,
            running.worker,
            running.attempt,
            running.max_attempts,
            running.priority,
            running.version,
            running.data,
        )
        assert Progress(fraction=0.4, message="transcribing", partial=[1]) == running.progress
        (wait,) = waiting.waits
        assert (JobState.WAITING, "", "reply", StepKind.SIGNAL, "approved") == (
            waiting.state,
            waiting.worker,
            wait.key,
            wait.kind,
            wait.subject,
        )
        assert wait.due_time is not None

    async def test_tell_their_end(self, contract: Contract) -> None:
        """The result of those that went well, the failure of the others."""
        worker = await contract.worker(work(max_attempts=1))
        (good,) = (await contract.jobs.send_event(WORK, {})).job_ids
        await worker.complete((await worker.take_one()).token, '{"chunks": 10}')
        (bad,) = (await contract.jobs.send_event(WORK, {})).job_ids
        await worker.fail((await worker.take_one()).token, kind="OSError", message="gone")

        well, badly = [await contract.jobs.get_job(job_id) for job_id in (good, bad)]

        assert (JobState.SUCCEEDED, {"chunks": 10}, None) == (
            well.state,
            well.result,
            well.failure,
        )
        assert (
            JobState.DEAD_LETTERED,
            Failure(kind="OSError", message="gone", permanent=False),
        ) == (badly.state, badly.failure)
        assert well.end_time is not None

    async def test_are_found_by_what_they_have_in_common(self, contract: Contract) -> None:
        """Each part of a filter narrows it; without one there are all, the newest first."""
        begin = datetime.now(UTC) - timedelta(minutes=5)
        await contract.worker(work("one"), work("two"))
        first = await contract.jobs.send_event(WORK, {})
        second = await contract.jobs.send_event(WORK, {})
        await contract.jobs.cancel_job(first.job_ids[0])

        async def found(wanted: JobFilter | None = None) -> list[str]:
            return [job.job_id for job in await all_of(contract.jobs.list_jobs(wanted))]

        everything = await found()
        ones = await found(JobFilter(function="one"))
        of_second = await found(JobFilter(event_id=second.event_id))
        cancelled = await found(JobFilter(states=frozenset({JobState.CANCELLED})))

        assert sorted(everything, reverse=True) == everything
        assert {*first.job_ids, *second.job_ids} == set(everything)
        assert (2, set(second.job_ids)) == (len(ones), set(of_second))
        assert [first.job_ids[0]] == cancelled
        assert everything == await found(JobFilter(since=begin))
        assert [] == await found(JobFilter(until=begin))
        assert [] == await found(
            JobFilter(function="one", event_id=second.event_id, failure_kind="X")
        )

    async def test_are_listed_over_many_pages(self, contract: Contract) -> None:
        """Each once."""
        await contract.worker()
        for _ in range(5):
            await asyncio.gather(
                *(contract.jobs.enqueue("work", {"n": number}) for number in range(50))
            )

        listed = [job.job_id for job in await all_of(contract.jobs.list_jobs())]

        assert (250, 250) == (len(listed), len(set(listed)))

    async def test_of_no_id_are_refused(self, contract: Contract) -> None:
        """With the field, before anything is looked for."""
        with pytest.raises(ValidationError) as caught:
            await contract.jobs.get_job("the first one")
        assert ["job_id"] == list(caught.value.fields)


class TestWatches:
    async def test_follow_several_to_their_ends(self, contract: Contract) -> None:
        """On one stream, with one that had ended before."""
        worker = await contract.worker()
        made = [(await contract.jobs.enqueue("work", {})).job_id for _ in range(3)]
        await worker.complete((await worker.take_one()).token)
        ends: dict[str, JobState] = {}

        async def watched() -> None:
            async for job in contract.jobs.watch_jobs(made, timeout=PATIENCE):
                if job.state.ended:
                    ends[job.job_id] = job.state

        watching = asyncio.create_task(watched())
        tokens = [job.token for job in await worker.take(2)]
        await worker.complete(tokens[0])
        await worker.fail(tokens[1], permanent=True)
        await watching

        assert set(made) == ends.keys()
        assert [JobState.SUCCEEDED] * 2 + [JobState.DEAD_LETTERED] == sorted(
            ends.values(), key=lambda state: state is JobState.DEAD_LETTERED
        )

    async def test_of_one_that_had_ended_end(self, contract: Contract) -> None:
        """With what it was, or with nothing where that was seen."""
        await contract.worker()
        enqueued = await contract.jobs.enqueue("work", {})
        ended = await contract.jobs.cancel_job(enqueued.job_id)

        seen = await all_of(contract.jobs.watch_job(enqueued.job_id, timeout=PATIENCE))
        nothing = await all_of(
            contract.jobs.watch_job(
                enqueued.job_id, after_revision=ended.revision, timeout=PATIENCE
            )
        )

        assert ([ended.revision], []) == ([job.revision for job in seen], nothing)

    async def test_of_one_that_does_not_exist_fail(self, contract: Contract) -> None:
        """And name it."""
        await contract.worker()
        there = (await contract.jobs.enqueue("work", {})).job_id
        missing = "0198f0a0-0000-7000-8000-0123456789ab"

        with pytest.raises(NotFoundError, match=missing):
            await all_of(contract.jobs.watch_jobs([there, missing], timeout=PATIENCE))


class TestQueues:
    async def test_tell_how_deep_they_are(self, contract: Contract) -> None:
        """Jobs that could start, that wait for their time, that run, and dead letters."""
        worker = await contract.worker(work(max_attempts=1))
        for _ in range(4):
            await contract.jobs.enqueue("work", {})
        await contract.jobs.enqueue("work", {}, delay=3600)
        first, _ = await worker.take(2)
        await worker.fail(first.token)

        (queue,) = await all_of(contract.jobs.list_queues())

        assert ("work", 2, 1, 1, 0, 1, False, 1) == (
            queue.name,
            queue.ready,
            queue.delayed,
            queue.running,
            queue.waiting,
            queue.dead_letters,
            queue.paused,
            queue.workers,
        )
        assert queue.oldest_age is not None
        assert timedelta() <= queue.oldest_age < timedelta(minutes=1)

    async def test_are_paused_and_go_on(self, contract: Contract) -> None:
        """What is ready waits meanwhile, and says so."""
        worker = await contract.worker()

        paused = await contract.jobs.pause_queue("work")
        job_id = (await contract.jobs.enqueue("work", {})).job_id
        await worker.credit(1)
        why = await contract.jobs.explain_job(job_id)
        resumed = await contract.jobs.resume_queue("work")
        taken = await worker.job()

        assert (True, False) == (paused.paused, resumed.paused)
        assert HindranceKind.PAUSED is why.hindrances[0].kind
        assert "paused" in why.summary
        assert job_id == taken.job_id

    async def test_of_no_function_do_not_exist(self, contract: Contract) -> None:
        """A queue comes with the declaration of its function."""
        for call in (contract.jobs.pause_queue("none"), contract.jobs.resume_queue("none")):
            with pytest.raises(NotFoundError) as caught:
                await call
            assert "QUEUE_NOT_FOUND" == caught.value.reason


class TestExplanations:
    async def test_say_what_would_have_to_happen(self, contract: Contract) -> None:
        """Nothing for one that runs."""
        worker = await contract.worker()
        delayed = (await contract.jobs.enqueue("work", {}, delay=3600)).job_id
        running = (await contract.jobs.enqueue("work", {})).job_id
        await worker.take_one()

        later = await contract.jobs.explain_job(delayed)
        runs = await contract.jobs.explain_job(running)
        await contract.jobs.cancel_job(delayed)
        over = await contract.jobs.explain_job(delayed)

        assert [HindranceKind.NOT_DUE] == [each.kind for each in later.hindrances]
        assert later.job.ready_time == later.hindrances[0].end_time
        assert () == runs.hindrances
        assert [HindranceKind.OVER] == [each.kind for each in over.hindrances]

    async def test_count_those_that_go_before(self, contract: Contract) -> None:
        """With nobody to take them."""
        worker = await contract.worker()
        made = [(await contract.jobs.enqueue("work", {})).job_id for _ in range(3)]
        await worker.say_goodbye()
        await contract.no_workers()

        why = await contract.jobs.explain_job(made[-1])

        assert 2 == why.ahead
        assert {HindranceKind.NO_WORKER, HindranceKind.TURN} == {
            each.kind for each in why.hindrances
        }


class TestFunctions:
    async def test_are_told_as_they_were_declared(self, contract: Contract) -> None:
        """With how many workers have them, when one is asked for."""
        minute = Duration(seconds=60)
        declared = work(
            "process",
            version="v2",
            version_policy=function_pb2.VERSION_POLICY_PIN,
            timeout=minute,
            hang_timeout=minute,
            start_timeout=minute,
            priority=5,
            concurrency=5,
            keyed_concurrency=function_pb2.KeyedConcurrency(key="/creator_id", limit=2),
            rate_limit=function_pb2.RateLimit(endpoint="video", subject="/creator_id"),
            debounce=function_pb2.Debounce(period=minute, key="/video_id"),
            overflow=function_pb2.Overflow(
                max_depth=100, policy=function_pb2.OVERFLOW_POLICY_SPILL, spill_delay=minute
            ),
        )
        await contract.worker(declared, work("another"))

        listed = await all_of(contract.jobs.list_functions())
        one = await contract.jobs.get_function("process")

        span = timedelta(minutes=1)
        assert ["another", "process"] == [function.name for function in listed]
        assert (WORK, "v2", VersionPolicy.PIN, span, span, span, 5, 5) == (
            one.trigger,
            one.version,
            one.version_policy,
            one.timeout,
            one.hang_timeout,
            one.start_timeout,
            one.priority,
            one.concurrency,
        )
        assert KeyedConcurrency(key="/creator_id", limit=2) == one.keyed_concurrency
        assert RateLimit(endpoint="video", subject="/creator_id") == one.rate_limit
        assert Debounce(period=span, key="/video_id", max_wait=10 * span) == one.debounce
        assert (
            Overflow(max_depth=100, policy=OverflowPolicy.SPILL, spill_delay=span) == one.overflow
        )
        assert (1, True) == (one.workers, one.update_time is not None)

    async def test_that_nobody_declared_do_not_exist(self, contract: Contract) -> None:
        """The error names the function."""
        with pytest.raises(NotFoundError, match="none") as caught:
            await contract.jobs.get_function("none")
        assert "FUNCTION_NOT_FOUND" == caught.value.reason


class TestWorkers:
    async def test_tell_what_they_do(self, contract: Contract) -> None:
        """Those of the tenant, and those of all."""
        mine = await contract.worker(work("one"), work("two"))
        await contract.worker(tenant="*")
        await contract.worker(tenant="other")
        await contract.jobs.enqueue("one", {})
        await mine.take_one()

        workers = await all_of(contract.jobs.list_workers())

        assert {("acme", ("one", "two"), 1), ("*", ("work",), 0)} == {
            (worker.tenant, worker.functions, worker.running) for worker in workers
        }
        assert all(worker.create_time < worker.lease_expire_time for worker in workers)
