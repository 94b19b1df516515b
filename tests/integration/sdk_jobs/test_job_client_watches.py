"""Watchers hear of every end, whatever becomes of the connection."""

import uuid
from collections.abc import AsyncIterator, Mapping

import grpc
import pytest

from mainstay.channel import Channel
from mainstay.errors import DeadlineError, NotFoundError
from mainstay.jobs import JobClient, JobState
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from tests.integration.sdk_jobs.scripted_jobs import End, ScriptedJobs

UNAVAILABLE = End(grpc.StatusCode.UNAVAILABLE, "restarting")
RUNNING, SUCCEEDED = job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_SUCCEEDED
DEAD = job_pb2.JOB_STATE_DEAD_LETTERED


@pytest.fixture
async def client(scripted_jobs: ScriptedJobs) -> AsyncIterator[JobClient]:
    """Call the scripted service."""
    async with Channel(scripted_jobs.address) as channel:
        yield JobClient(channel)


def job(
    revision: int, state: job_pb2.JobState.ValueType = RUNNING, job_id: str = "job-1"
) -> job_pb2.Job:
    """Return a job at a revision."""
    return job_pb2.Job(job_id=job_id, revision=revision, state=state)


def seen(revision: int, state: job_pb2.JobState.ValueType = RUNNING) -> pb.WatchJobResponse:
    """Return what a watcher of one job hears."""
    return pb.WatchJobResponse(job=job(revision, state))


def one_of(
    job_id: str, revision: int, state: job_pb2.JobState.ValueType = RUNNING
) -> pb.WatchJobsResponse:
    """Return what a watcher of several jobs hears."""
    return pb.WatchJobsResponse(job=job(revision, state, job_id))


async def revisions(client: JobClient, **options: float) -> list[int]:
    """Watch to the end and return the revisions seen."""
    after = int(options.pop("after_revision", 0))
    watch = client.watch_job("job-1", after_revision=after, timeout=options.get("timeout", 10))
    return [told.revision async for told in watch]


async def all_revisions(client: JobClient, jobs: Mapping[str, int]) -> list[tuple[str, int]]:
    """Watch several to the end and return the revisions seen of each."""
    return [(told.job_id, told.revision) async for told in client.watch_jobs(jobs, timeout=10)]


class TestWatchJob:
    async def test_goes_on_from_the_last_revision(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """A service that restarts in between costs a watcher nothing."""
        scripted_jobs.will(
            "WatchJob", [seen(1), seen(2), UNAVAILABLE], [UNAVAILABLE], [seen(4, SUCCEEDED)]
        )

        assert [1, 2, 4] == await revisions(client)
        asked = scripted_jobs.asked("WatchJob")
        assert [0, 2, 2] == [request.after_revision for request in asked]

    async def test_goes_on_when_a_stream_ends_before_the_job(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """The end of a stream is not taken for the end of the job."""
        scripted_jobs.will("GetJob", pb.GetJobResponse(job=job(1)))
        scripted_jobs.will("WatchJob", [seen(1)], [seen(2, DEAD)])

        assert [1, 2] == await revisions(client)

    async def test_tells_the_end_that_came_with_the_end_of_the_stream(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """Nobody would ever tell it otherwise."""
        scripted_jobs.will("GetJob", pb.GetJobResponse(job=job(3, SUCCEEDED)))
        scripted_jobs.will("WatchJob", [seen(1)])

        assert [1, 3] == await revisions(client)

    async def test_ends_when_the_job_had_ended_before(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """There is nothing newer than the last revision, and never will be."""
        scripted_jobs.will("GetJob", pb.GetJobResponse(job=job(7, SUCCEEDED)))
        scripted_jobs.will("WatchJob", [])

        assert [] == await revisions(client, after_revision=7)

    async def test_raises_what_waiting_cannot_heal(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """A job that does not exist will not come into being."""
        scripted_jobs.will("WatchJob", End(grpc.StatusCode.NOT_FOUND, "no job-1"))

        with pytest.raises(NotFoundError):
            await revisions(client)

    async def test_raises_when_its_time_is_over(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """However often the service could not be reached meanwhile."""
        scripted_jobs.will("WatchJob", *[UNAVAILABLE] * 100)

        with pytest.raises(DeadlineError, match=r"job-1 has not ended .* watch again.*restarting"):
            await revisions(client, timeout=0.3)

    async def test_says_once_that_it_is_interrupted(
        self, scripted_jobs: ScriptedJobs, client: JobClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Somebody who waits for a service that is not there has to know."""
        scripted_jobs.will("WatchJob", *[UNAVAILABLE] * 3, [seen(1, SUCCEEDED)])

        await revisions(client)

        assert [
            "watch interrupted, goes on when it can: UNAVAILABLE: restarting"
        ] == caplog.messages


class TestWatchJobs:
    async def test_goes_on_with_those_that_have_not_ended(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """Each from the revision that was seen of it."""
        scripted_jobs.will(
            "WatchJobs",
            [one_of("a", 1), one_of("b", 5), one_of("a", 2, SUCCEEDED), UNAVAILABLE],
            [one_of("c", 1, SUCCEEDED), one_of("b", 6, DEAD)],
        )

        told = await all_revisions(client, {"a": 0, "b": 4, "c": 0})
        first, second = scripted_jobs.asked("WatchJobs")

        assert [("a", 1), ("b", 5), ("a", 2), ("c", 1), ("b", 6)] == told
        assert {"a": 0, "b": 4, "c": 0} == {each.job_id: each.after_revision for each in first.jobs}
        assert {"b": 5, "c": 0} == {each.job_id: each.after_revision for each in second.jobs}

    async def test_leaves_out_those_that_had_ended_before(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """The stream says nothing of them."""
        scripted_jobs.will("WatchJobs", [one_of("b", 1, SUCCEEDED)])
        scripted_jobs.will("GetJob", pb.GetJobResponse(job=job(9, DEAD, "a")))

        assert [("b", 1)] == await all_revisions(client, {"a": 9, "b": 0})

    async def test_names_a_job_and_counts_the_others_when_its_time_is_over(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """A thousand ids are no message."""
        scripted_jobs.will("WatchJobs", *[UNAVAILABLE] * 100)

        with pytest.raises(DeadlineError, match="job a and 2 more have not ended"):
            async for _ in client.watch_jobs(["a", "b", "c"], timeout=0.3):
                pass

    async def test_of_none_ends_at_once(self, client: JobClient) -> None:
        """Nothing is asked."""
        assert [] == await all_revisions(client, {})

    async def test_takes_an_id_however_it_is_written(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """The service tells it in lower case."""
        job_id = str(uuid.uuid4())
        ended = pb.WatchJobResponse(job=job(1, SUCCEEDED, job_id))
        scripted_jobs.will("WatchJob", [ended])

        assert [(job_id, 1)] == await all_revisions(client, {job_id.upper(): 0})


class TestWaitForJob:
    async def test_returns_the_job_when_it_has_ended(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """Well or badly."""
        scripted_jobs.will("WatchJob", [seen(1), seen(2, DEAD)])

        ended = await client.wait_for_job("job-1", timeout=10)

        assert (2, JobState.DEAD_LETTERED) == (ended.revision, ended.state)
