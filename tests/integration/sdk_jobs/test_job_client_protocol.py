"""Producers and watchers get through, or a named error, whatever the service says."""

import uuid
from collections.abc import AsyncIterator

import grpc
import pytest

from mainstay.channel import Channel
from mainstay.errors import DeadlineError, NotFoundError, UnavailableError, ValidationError
from mainstay.jobs import Event, JobClient, JobState
from mainstay.jobs.v1 import job_service_pb2 as pb
from tests.integration.sdk_jobs.scripted_jobs import End, ScriptedJobs

UNAVAILABLE = End(grpc.StatusCode.UNAVAILABLE, "restarting")


@pytest.fixture
async def client(scripted_jobs: ScriptedJobs) -> AsyncIterator[JobClient]:
    """Call the scripted service."""
    async with Channel(scripted_jobs.address) as channel:
        yield JobClient(channel)


def job(revision: int, state: pb.JobState.ValueType = pb.JOB_STATE_RUNNING) -> pb.Job:
    """Return the job at a revision."""
    return pb.Job(job_id="job-1", revision=revision, state=state)


def accepted() -> pb.SendEventsResponse:
    """Accept one event."""
    return pb.SendEventsResponse(events=[pb.AcceptedEvent(event_id="e", job_ids=["job-1"])])


async def revisions(client: JobClient, **options: float) -> list[int]:
    """Watch to the end and return the revisions seen."""
    after = int(options.pop("after_revision", 0))
    watch = client.watch_job("job-1", after_revision=after, timeout=options.get("timeout", 10))
    return [seen.revision async for seen in watch]


class TestSendEvents:
    async def test_is_repeated_with_the_same_key(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """The service can tell the repeat of an event from a second event."""
        scripted_jobs.send_script = [UNAVAILABLE, accepted]

        await client.send_event("email/send", {"to": ["a@example.org"]})
        first, second = [request.events[0].idempotency_key for request in scripted_jobs.sends]

        assert first == second
        assert 4 == uuid.UUID(first).version

    async def test_keeps_the_key_of_the_caller(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """It makes repeats safe that the client knows nothing of."""
        scripted_jobs.send_script = [accepted]

        await client.send_event("email/send", {}, version=2, idempotency_key="order-7")
        (event,) = scripted_jobs.sends[0].events

        assert ("email/send", 2, "order-7", "{}") == (
            event.name,
            event.version,
            event.idempotency_key,
            event.json,
        )

    async def test_gives_up_after_three_attempts(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """The caller decides what to do then."""
        scripted_jobs.send_script = [UNAVAILABLE] * 3

        with pytest.raises(UnavailableError, match="restarting"):
            await client.send_event("email/send", {})
        assert 3 == len(scripted_jobs.sends)

    async def test_refuses_what_is_no_json_before_it_travels(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """The error names the event, as the service's own would."""
        events = [Event(name="a", data={}), Event(name="b", data={"at": object()})]  # type: ignore[dict-item]

        with pytest.raises(ValidationError, match="data of event b") as caught:
            await client.send_events(events)
        assert ["events[1].data"] == list(caught.value.fields)
        assert [] == scripted_jobs.sends


class TestWatchJob:
    async def test_goes_on_from_the_last_revision(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """A service that restarts in between costs a watcher nothing."""
        scripted_jobs.watch_script = [
            [job(1), job(2), UNAVAILABLE],
            [UNAVAILABLE],
            [job(4, pb.JOB_STATE_SUCCEEDED)],
        ]

        assert [1, 2, 4] == await revisions(client)
        assert [0, 2, 2] == [request.after_revision for request in scripted_jobs.watches]

    async def test_goes_on_when_a_stream_ends_before_the_job(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """The end of a stream is not taken for the end of the job."""
        scripted_jobs.job = job(1)
        scripted_jobs.watch_script = [[job(1)], [job(2, pb.JOB_STATE_DEAD_LETTERED)]]

        assert [1, 2] == await revisions(client)

    async def test_ends_when_the_job_had_ended_before(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """There is nothing newer than the last revision, and never will be."""
        scripted_jobs.job = job(7, pb.JOB_STATE_SUCCEEDED)
        scripted_jobs.watch_script = [[]]

        assert [] == await revisions(client, after_revision=7)

    async def test_raises_what_waiting_cannot_heal(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """A job that does not exist will not come into being."""
        scripted_jobs.watch_script = [[End(grpc.StatusCode.NOT_FOUND, "no job-1")]]

        with pytest.raises(NotFoundError):
            await revisions(client)

    async def test_raises_when_its_time_is_over(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """However often the service could not be reached meanwhile."""
        scripted_jobs.watch_script = [[UNAVAILABLE] for _ in range(100)]

        with pytest.raises(DeadlineError, match=r"job-1 has not ended .* watch again"):
            await revisions(client, timeout=0.3)


class TestWaitForJob:
    async def test_returns_the_job_when_it_has_ended(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """Well or badly."""
        scripted_jobs.watch_script = [[job(1), job(2, pb.JOB_STATE_DEAD_LETTERED)]]

        ended = await client.wait_for_job("job-1", timeout=10)

        assert (2, JobState.DEAD_LETTERED) == (ended.revision, ended.state)
