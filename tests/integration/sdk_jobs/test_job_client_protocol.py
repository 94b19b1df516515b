"""Producers get through, or a named error, whatever the service says."""

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from mainstay.channel import Channel
from mainstay.errors import QueueFullError, UnavailableError, ValidationError
from mainstay.jobs import AcceptedEvent, EnqueuedJob, Event, JobClient
from mainstay.jobs.v1 import job_service_pb2 as pb
from tests.integration.sdk_jobs.scripted_jobs import End, ScriptedJobs

UNAVAILABLE = End(grpc.StatusCode.UNAVAILABLE, "restarting")
FULL = QueueFullError("the queue of mail is full", retry_after=0.001)
ACCEPTED = pb.SendEventsResponse(events=[pb.AcceptedEvent(event_id="e", job_ids=["job-1"])])


@pytest.fixture
async def client(scripted_jobs: ScriptedJobs) -> AsyncIterator[JobClient]:
    """Call the scripted service."""
    async with Channel(scripted_jobs.address) as channel:
        yield JobClient(channel)


class TestSendEvents:
    async def test_is_repeated_with_the_same_key(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """The service can tell the repeat of an event from a second event."""
        scripted_jobs.will("SendEvents", UNAVAILABLE, ACCEPTED)

        await client.send_event("email/send", {"to": ["a@example.org"]})
        first, second = [
            request.events[0].idempotency_key for request in scripted_jobs.asked("SendEvents")
        ]

        assert first == second
        assert 4 == uuid.UUID(first).version

    async def test_says_all_that_the_caller_says(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """The caller's key makes repeats safe that the client knows nothing of."""
        scripted_jobs.will("SendEvents", ACCEPTED)

        accepted = await client.send_event(
            "email/send",
            {"to": "ü"},
            version=2,
            idempotency_key="order-7",
            priority=-3,
            delay=timedelta(minutes=1),
        )
        (event,) = scripted_jobs.asked("SendEvents")[0].events

        expected = pb.Event(
            name="email/send",
            version=2,
            json='{"to":"ü"}',
            idempotency_key="order-7",
            priority=-3,
        )
        expected.delay.FromSeconds(60)
        assert expected == event
        assert AcceptedEvent(event_id="e", job_ids=("job-1",), duplicate=False) == accepted

    async def test_leaves_to_the_function_what_the_caller_does_not_say(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """A priority of 0 is not the same as none."""
        scripted_jobs.will("SendEvents", ACCEPTED)

        await client.send_events([Event(name="a", data={}), Event(name="b", data={}, priority=0)])
        unsaid, said = scripted_jobs.asked("SendEvents")[0].events

        assert (False, False) == (unsaid.HasField("priority"), unsaid.HasField("delay"))
        assert said.HasField("priority")

    async def test_gives_up_after_three_attempts(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """The caller decides what to do then."""
        scripted_jobs.will("SendEvents", UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, ACCEPTED)

        with pytest.raises(UnavailableError, match="restarting"):
            await client.send_event("email/send", {})
        assert 3 == len(scripted_jobs.asked("SendEvents"))

    async def test_leaves_a_full_queue_alone(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """When to try again the caller is told, and who may have something better to do."""
        scripted_jobs.will("SendEvents", FULL)
        scripted_jobs.will("Enqueue", FULL)

        for call in (client.send_event("email/send", {}), client.enqueue("mail", {})):
            with pytest.raises(QueueFullError) as caught:
                await call
            assert 0.001 == caught.value.retry_after
        assert 1 == len(scripted_jobs.asked("SendEvents")) == len(scripted_jobs.asked("Enqueue"))


class TestEnqueue:
    async def test_is_repeated_with_the_same_key(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """The service can tell the repeat from a second job."""
        scripted_jobs.will("Enqueue", UNAVAILABLE, pb.EnqueueResponse(job_id="j", duplicate=True))

        enqueued = await client.enqueue("mail", {"n": 1}, priority=5, delay=1.5)
        first, second = scripted_jobs.asked("Enqueue")

        assert first == second
        assert 4 == uuid.UUID(first.idempotency_key).version
        assert ("mail", '{"n":1}', 5, 1.5) == (
            first.function,
            first.json,
            first.priority,
            first.delay.ToTimedelta().total_seconds(),
        )
        assert EnqueuedJob(job_id="j", duplicate=True) == enqueued


class TestWhatCannotTravel:
    @pytest.mark.parametrize(
        ("event", "field"),
        [
            ({"data": {"at": object()}}, "data"),
            ({"data": {"rate": float("nan")}}, "data"),
            ({"data": {"name": "\ud800"}}, "data"),
            ({"version": -1}, "version"),
            ({"priority": 2**40}, "priority"),
            ({"delay": float("nan")}, "delay"),
            ({"delay": 1e30}, "delay"),
            ({"delay": timedelta.max}, "delay"),
        ],
        ids=[
            "type",
            "not a number",
            "half a character",
            "negative version",
            "large priority",
            "no delay",
            "long delay",
            "longest delay",
        ],
    )
    async def test_is_refused_by_its_field(
        self, event: dict[str, Any], field: str, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """The error names the event, as the service's own would."""
        events = [Event(name="a", data={}), Event(**{"name": "b", "data": {}, **event})]

        with pytest.raises(ValidationError) as caught:
            await client.send_events(events)
        assert [f"events[1].{field}"] == list(caught.value.fields)
        assert [] == scripted_jobs.asked("SendEvents")
