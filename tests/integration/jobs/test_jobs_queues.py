"""Queues as operators see them: figures, pauses, workers, functions, and why a job does not run."""

import pytest

from mainstay.errors import NotFoundError
from mainstay.jobs.v1 import function_pb2, job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import Producer, video_event
from tests.integration.jobs.raw_worker import Workers, function, seconds

NAME = "process-video"


async def queue(jobs: Producer) -> job_pb2.Queue:
    """Return the one queue."""
    (found,) = (await jobs.call("ListQueues", pb.ListQueuesRequest())).queues
    answer: job_pb2.Queue = found
    return answer


async def explain(jobs: Producer, job_id: str) -> pb.ExplainJobResponse:
    """Return why a job does not run."""
    answer: pb.ExplainJobResponse = await jobs.call(
        "ExplainJob", pb.ExplainJobRequest(job_id=job_id)
    )
    return answer


def kinds(explanation: pb.ExplainJobResponse) -> list[str]:
    """Return the kinds of the hindrances, short."""
    return [
        pb.HindranceKind.Name(each.kind).removeprefix("HINDRANCE_KIND_")
        for each in explanation.hindrances
    ]


class TestFigures:
    async def test_counts(self, jobs: Producer, workers: Workers, service: Service) -> None:
        """Every place where a job can be is counted."""
        worker = await workers.connect(service.address, function(max_attempts=1))
        for number in range(6):
            event = video_event(delay=seconds(3600) if number == 5 else None)
            await jobs.start_job(event)
        taken = await worker.take(3)
        await worker.complete(taken[0].token)
        await worker.fail(taken[1].token, kind="Broken", message="no")
        found = await queue(jobs)

        assert NAME == found.name
        assert (2, 1, 1, 0, 1) == (
            found.ready,
            found.delayed,
            found.running,
            found.waiting,
            found.dead_letters,
        )
        assert (1, False) == (found.workers, found.paused)
        assert pytest.approx(6 / 60) == found.accepted_rate
        assert pytest.approx(2 / 60) == found.ended_rate
        assert found.HasField("oldest_age")

    async def test_waiting(self, jobs: Producer, workers: Workers, service: Service) -> None:
        """A job that sleeps is counted as waiting, however many waits it has."""
        worker = await workers.connect(service.address, function())
        await jobs.start_job()
        job = await worker.take_one()
        for key in ("a", "b"):
            await worker.wait_for(job.token, key, sleep={"duration": seconds(3600)})
        await worker.suspend(job.token, "a", "b")

        found = await queue(jobs)
        assert (0, 0, 1) == (found.ready, found.running, found.waiting)

    async def test_own_only(self, produce: Produce, workers: Workers, service: Service) -> None:
        """Another tenant's jobs are not counted, its functions not listed."""
        await workers.connect(service.address, function())
        await (await produce(service)).start_job()
        other = await produce(service, "other")

        assert not (await other.call("ListQueues", pb.ListQueuesRequest())).queues
        assert not (await other.call("ListFunctions", pb.ListFunctionsRequest())).functions
        assert not (await other.call("ListWorkers", pb.ListWorkersRequest())).workers


class TestPause:
    async def test_held_back(self, jobs: Producer, workers: Workers, service: Service) -> None:
        """Nothing of a paused queue starts; it does as soon as the queue goes on."""
        worker = await workers.connect(service.address, function())
        await worker.credit(1)
        paused = (await jobs.call("PauseQueue", pb.PauseQueueRequest(name=NAME))).queue
        job_id = await jobs.start_job()
        explanation = await explain(jobs, job_id)
        resumed = (await jobs.call("ResumeQueue", pb.ResumeQueueRequest(name=NAME))).queue
        job = await worker.job()

        assert (True, False) == (paused.paused, resumed.paused)
        assert ["PAUSED"] == kinds(explanation)
        assert job_id == job.job_id

    async def test_resumed_elsewhere(
        self,
        serve_jobs: ServeJobs,
        produce: Produce,
        jobs: Producer,
        workers: Workers,
        service: Service,
    ) -> None:
        """A queue that is resumed at one replica goes on at once at another."""
        worker = await workers.connect(service.address, function())
        other = await produce(await serve_jobs())
        await other.call("PauseQueue", pb.PauseQueueRequest(name=NAME))
        job_id = await jobs.start_job()
        await worker.credit(1)
        held = await explain(jobs, job_id)
        await other.call("ResumeQueue", pb.ResumeQueueRequest(name=NAME))

        assert "PAUSED" in kinds(held)
        assert job_id == (await worker.job()).job_id

    async def test_of_all(self, produce: Produce, workers: Workers, service: Service) -> None:
        """A caller for all tenants holds back everybody's."""
        await workers.connect(service.address, function(), tenant="*")
        every, acme = await produce(service, "*"), await produce(service)
        await every.call("PauseQueue", pb.PauseQueueRequest(name=NAME))
        job_id = await acme.start_job()

        assert (await queue(acme)).paused
        assert ["PAUSED"] == kinds(await explain(acme, job_id))

    async def test_unknown(self, jobs: Producer) -> None:
        """There is no queue of a function that nobody declared."""
        with pytest.raises(NotFoundError) as caught:
            await jobs.call("PauseQueue", pb.PauseQueueRequest(name="no-such"))

        assert "QUEUE_NOT_FOUND" == caught.value.reason


class TestFunctions:
    async def test_declared(self, jobs: Producer, workers: Workers, service: Service) -> None:
        """A function is returned as it was declared, with who has it."""
        declared = function_pb2.FunctionDefinition(
            name=NAME,
            trigger="video/upload.completed",
            max_attempts=5,
            initial_backoff=seconds(1),
            max_backoff=seconds(60),
            version="v7",
            version_policy=function_pb2.VERSION_POLICY_PIN,
            timeout=seconds(90),
            hang_timeout=seconds(30),
            start_timeout=seconds(3600),
            priority=-3,
            concurrency=5,
            keyed_concurrency=function_pb2.KeyedConcurrency(key="/creator_id", limit=2),
            rate_limit=function_pb2.RateLimit(endpoint="jobs/video", subject="/creator_id"),
            debounce=function_pb2.Debounce(
                period=seconds(5), key="/video_id", max_wait=seconds(60)
            ),
            overflow=function_pb2.Overflow(
                max_depth=100,
                max_age=seconds(60),
                max_bytes=1_000,
                policy=function_pb2.OVERFLOW_POLICY_SPILL,
                spill_delay=seconds(7),
            ),
        )
        await workers.connect(service.address, declared)
        found = await jobs.call("GetFunction", pb.GetFunctionRequest(name=NAME))
        listed = await jobs.call("ListFunctions", pb.ListFunctionsRequest())

        assert declared == found.function
        assert [declared] == list(listed.functions)
        assert 1 == found.workers

    async def test_unknown(self, jobs: Producer) -> None:
        """A function that nobody declared is not found."""
        with pytest.raises(NotFoundError) as caught:
            await jobs.call("GetFunction", pb.GetFunctionRequest(name="no-such"))

        assert "FUNCTION_NOT_FOUND" == caught.value.reason


class TestWorkers:
    async def test_listed(self, jobs: Producer, workers: Workers, service: Service) -> None:
        """Connected workers are listed by name with what they do, page by page."""
        await workers.connect(service.address, function(), worker="b")
        first = await workers.connect(service.address, function(), worker="a", tenant="*")
        await jobs.start_job()
        await first.take_one()
        page = await jobs.call("ListWorkers", pb.ListWorkersRequest(page_size=1))
        rest = await jobs.call(
            "ListWorkers", pb.ListWorkersRequest(page_token=page.next_page_token)
        )

        (a,), (b,) = page.workers, rest.workers
        assert ("a", "*", [NAME], 1) == (a.name, a.tenant, list(a.functions), a.running)
        assert ("b", "acme", 0) == (b.name, b.tenant, b.running)


class TestExplain:
    async def test_no_worker(self, jobs: Producer, workers: Workers, service: Service) -> None:
        """Nobody is there to do it."""
        worker = await workers.connect(service.address, function())
        await worker.say_goodbye()
        job_id = await jobs.start_job()
        await jobs.call("PauseQueue", pb.PauseQueueRequest(name=NAME))

        assert "PAUSED" == kinds(await explain(jobs, job_id))[0]

    async def test_cap(self, jobs: Producer, workers: Workers, service: Service) -> None:
        """As many run as may."""
        definition = function()
        definition.concurrency = 1
        worker = await workers.connect(service.address, definition)
        await jobs.start_job()
        await worker.take(1)
        await worker.credit(5)
        job_id = await jobs.start_job()
        found = await explain(jobs, job_id)

        assert ["CAP"] == kinds(found)
        assert "1 of its function run, and 1 may" in found.summary

    async def test_key_cap(self, jobs: Producer, workers: Workers, service: Service) -> None:
        """As many with its key run as may."""
        definition = function()
        definition.keyed_concurrency.key = "/creator_id"
        definition.keyed_concurrency.limit = 1
        worker = await workers.connect(service.address, definition)
        await jobs.start_job()
        await worker.take(1)
        await worker.credit(5)
        job_id = await jobs.start_job()

        assert ["KEY_CAP"] == kinds(await explain(jobs, job_id))

    async def test_turn(self, jobs: Producer, workers: Workers, service: Service) -> None:
        """Others go before it; those with more priority too."""
        await workers.connect(service.address, function())
        last = await jobs.start_job(video_event(priority=-1))
        await jobs.start_job()
        await jobs.start_job(video_event(priority=5))
        found = await explain(jobs, last)

        assert (["TURN"], 2) == (kinds(found), found.ahead)

    async def test_not_due(self, jobs: Producer, workers: Workers, service: Service) -> None:
        """Its time has not come."""
        await workers.connect(service.address, function())
        job_id = await jobs.start_job(video_event(delay=seconds(600)))
        found = await explain(jobs, job_id)

        assert ["NOT_DUE"] == kinds(found)
        assert found.estimated_start_time == found.hindrances[0].end_time == found.job.ready_time

    async def test_running_and_over(
        self, jobs: Producer, workers: Workers, service: Service
    ) -> None:
        """Nothing holds back a job that runs, or has ended."""
        worker = await workers.connect(service.address, function())
        job_id = await jobs.start_job()
        job = await worker.take_one()
        running = await explain(jobs, job_id)
        await worker.complete(job.token)
        over = await explain(jobs, job_id)

        assert ([], ["OVER"]) == (kinds(running), kinds(over))
        assert "the job runs, at worker" in running.summary

    async def test_unknown(self, service: Service, produce: Produce, jobs: Producer) -> None:
        """Another tenant's job is not found."""
        other = await produce(service, "other")
        with pytest.raises(NotFoundError):
            await explain(other, "018f0000-0000-7000-8000-000000000000")
