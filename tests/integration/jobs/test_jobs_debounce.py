"""Events in quick succession that become one job."""

import asyncio
import json

import asyncpg
import pytest

from mainstay.jobs.v1 import function_pb2, job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import VIDEO, Producer, video_event
from tests.integration.jobs.raw_worker import Workers, function, seconds


def debounced(
    period: float = 3600, key: str = "/creator_id", max_wait: float = 7200
) -> function_pb2.FunctionDefinition:
    """Declare a function that folds events of one key into one job."""
    declared = function()
    declared.debounce.period.CopyFrom(seconds(period))
    declared.debounce.max_wait.CopyFrom(seconds(max_wait))
    declared.debounce.key = key
    return declared


def video(title: str, creator: str = "c-1") -> pb.Event:
    """Return an event of a creator."""
    return video_event(data=json.dumps(VIDEO | {"title": title, "creator_id": creator}))


def title_of(job: job_pb2.Job) -> str:
    """Return the title in a job's payload."""
    return str(json.loads(job.data_json)["title"])


def wait_of(job: job_pb2.Job) -> float:
    """Return for how long a job was put off from its creation, in seconds."""
    return (job.ready_time.ToNanoseconds() - job.create_time.ToNanoseconds()) / 1e9


class TestFolding:
    async def test_the_last_one_counts(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """Later events of a key become the payload of the one job, and put it off again."""
        await workers.connect(service.address, debounced())
        (first,) = await jobs.send(video("one"), request_id="req-1")
        before = await jobs.get(first.job_ids[0])

        (second,) = await jobs.send(video("two"), request_id="req-2")

        job = await jobs.get(first.job_ids[0])
        assert list(first.job_ids) == list(second.job_ids)
        assert ("two", second.event_id, "req-2") == (title_of(job), job.event_id, job.request_id)
        assert before.revision + 1 == job.revision
        assert before.ready_time.ToNanoseconds() < job.ready_time.ToNanoseconds()
        assert job.ready_time.ToDatetime() == await database.fetchval(
            "SELECT ready_time AT TIME ZONE 'UTC' FROM jobs.delayed"
        )

    async def test_in_one_call(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """Events of one call are folded too."""
        await workers.connect(service.address, debounced())

        accepted = await jobs.send(video("one"), video("two"), video("three"))

        assert 1 == len({event.job_ids[0] for event in accepted})
        assert "three" == title_of(await jobs.get(accepted[0].job_ids[0]))
        assert 1 == await database.fetchval("SELECT count(*) FROM jobs.jobs")

    async def test_keys(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Each key has a job of its own; without a pointer all events share one."""
        shared = debounced(key="")
        shared.name = "shared"
        await workers.connect(service.address, debounced(), shared)

        accepted = await jobs.send(video("one", "a"), video("two", "b"), video("three", "a"))

        by_key = [event.job_ids[0] for event in accepted]
        assert by_key[0] == by_key[2] != by_key[1]
        assert 1 == len({event.job_ids[1] for event in accepted})

    async def test_a_watcher_sees_it(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """Whoever watches the job hears of the new payload at once."""
        await workers.connect(service.address, debounced())
        job_id = await jobs.start_job(video("one"))
        watch = jobs.watch(job_id)
        await watch.next()

        await jobs.send(video("two"))

        assert "two" == title_of(await watch.next())


class TestBounds:
    async def test_starts_after_the_period(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """Once nothing has come for the period the job starts, with what came last."""
        worker = await workers.connect(service.address, debounced(period=1.0))
        await jobs.send(video("one"))
        job_id = await jobs.start_job(video("two"))

        assigned = await worker.take_one()

        job = await jobs.get(job_id)
        assert "two" == json.loads(assigned.data_json)["title"]
        assert 1.0 <= (job.start_time.ToNanoseconds() - job.create_time.ToNanoseconds()) / 1e9

    async def test_longest_wait(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """The first event is held up no longer than declared, however many follow."""
        await workers.connect(service.address, debounced(period=3600, max_wait=5000))
        job_id = await jobs.start_job(video("one"))
        # As if the first had come 4,000 s ago.
        await database.execute("UPDATE jobs.debounces SET first_time = now() - interval '4000 s'")

        await jobs.send(video("two"))

        assert 1000 == pytest.approx(wait_of(await jobs.get(job_id)), abs=2)

    async def test_held_up_long_enough(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """One that was held up for the longest time starts at once, with what came last."""
        worker = await workers.connect(service.address, debounced(period=3600, max_wait=5000))
        await jobs.send(video("one"))
        await database.execute("UPDATE jobs.debounces SET first_time = now() - interval '5001 s'")

        await jobs.send(video("two"))

        assert "two" == json.loads((await worker.take_one()).data_json)["title"]

    async def test_after_the_start(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """What comes once the job has started begins another."""
        worker = await workers.connect(service.address, debounced(period=1.0))
        first = await jobs.start_job(video("one"))
        await worker.take_one()

        second = await jobs.start_job(video("two"))

        assert first != second
        assert "one" == title_of(await jobs.get(first))

    async def test_a_stale_note(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """A note of a job that waits no longer does no harm: the next event starts another job."""
        await workers.connect(service.address, debounced())
        first = await jobs.start_job(video("one"))
        await database.execute("DELETE FROM jobs.delayed")
        await database.execute("UPDATE jobs.debounces SET first_time = now() - interval '1 day'")

        second, third = [await jobs.start_job(video(title)) for title in ("two", "three")]

        assert first != second == third
        assert 3600 == pytest.approx(wait_of(await jobs.get(third)), abs=2)

    async def test_a_stale_note_of_a_job_that_is_retried(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """A job that has begun keeps its payload, also while it is delayed until its next try."""
        await workers.connect(service.address, debounced())
        first = await jobs.start_job(video("one"))
        # What is left when it began while somebody was just going to fold an event into it.
        await database.execute(
            "UPDATE jobs.jobs SET state = 'running', worker = 'w', attempt = 1, ready_time = NULL"
        )
        await database.execute(
            "UPDATE jobs.jobs SET state = 'retrying', worker = NULL, ready_time = now() + '1 h'"
        )

        second = await jobs.start_job(video("two"))

        assert first != second
        assert "one" == title_of(await jobs.get(first))


class TestAtTheSameMoment:
    async def test_two_replicas(
        self,
        serve_jobs: ServeJobs,
        service: Service,
        produce: Produce,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """Callers of two replicas at the same moment get one job for each key."""
        await workers.connect(service.address, debounced())
        producers = [await produce(service), await produce(await serve_jobs())]
        creators = ["a", "b", "c"]
        sending = [
            producers[number % 2].send(
                *[video(f"{number}", creator) for creator in sorted(creators, reverse=number > 5)]
            )
            for number in range(12)
        ]

        answers = await asyncio.gather(*sending)

        ids = {job_id for events in answers for event in events for job_id in event.job_ids}
        assert 3 == len(ids)
        assert 3 == await database.fetchval("SELECT count(*) FROM jobs.delayed")
