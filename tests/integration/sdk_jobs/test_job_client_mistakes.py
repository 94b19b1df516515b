"""What callers get wrong is told by its field before it travels; what schedules start."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.channel import Channel
from mainstay.errors import PreconditionError, ValidationError
from mainstay.jobs import CatchUp, JobClient
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from tests.integration.sdk_jobs.scripted_jobs import ScriptedJobs

Call = Callable[[JobClient], Awaitable[object]]

WHEN = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
STAMP = Timestamp(seconds=int(WHEN.timestamp()))
MISTAKE: Any = {"at": object()}
NEVER: Any = CatchUp.UNKNOWN


@pytest.fixture
async def client(scripted_jobs: ScriptedJobs) -> AsyncIterator[JobClient]:
    """Call the scripted service."""
    async with Channel(scripted_jobs.address) as channel:
        yield JobClient(channel)


class TestMistakes:
    @pytest.mark.parametrize(
        ("call", "field"),
        [
            (lambda jobs: jobs.put_schedule("n", "* * * * *"), "schedule.start"),
            (
                lambda jobs: jobs.put_schedule("n", "* * * * *", event="e", function="f"),
                "schedule.start",
            ),
            (
                lambda jobs: jobs.put_schedule("n", "* * * * *", event="e", data=MISTAKE),
                "schedule.data",
            ),
            (
                lambda jobs: jobs.put_schedule("n", "* * * * *", event="e", catch_up=NEVER),
                "schedule.catch_up",
            ),
            (lambda jobs: jobs.signal_job("j", "s", MISTAKE), "data"),
            (lambda jobs: jobs.enqueue("f", MISTAKE), "data"),
            (lambda jobs: jobs.put_event_schema("e", 1, MISTAKE), "schema"),
            (lambda jobs: jobs.put_event_schema("e", -1, {}), "version"),
        ],
    )
    async def test_are_told_by_their_field_before_they_travel(
        self, call: Call, field: str, client: JobClient
    ) -> None:
        """With the class that the service would raise."""
        with pytest.raises(ValidationError) as caught:
            await call(client)
        assert [field] == list(caught.value.fields)

    async def test_of_the_service_arrive_as_its_errors(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """With the reason that the contract names."""
        scripted_jobs.will("CancelJob", PreconditionError("it is over", reason="JOB_OVER"))

        with pytest.raises(PreconditionError) as caught:
            await client.cancel_job("j")
        assert ("JOB_OVER", "it is over") == (caught.value.reason, caught.value.message)


class TestSchedules:
    async def test_of_functions_enqueue(
        self, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """And are told apart from those that send."""
        stored = job_pb2.Schedule(
            name="n", cron="0 3 * * *", time_zone="UTC", function="mail", next_time=STAMP
        )
        scripted_jobs.will("PutSchedule", pb.PutScheduleResponse(schedule=stored))

        schedule = await client.put_schedule("n", "0 3 * * *", function="mail")
        sent = scripted_jobs.asked("PutSchedule")[0].schedule

        assert ("function", "{}", job_pb2.CATCH_UP_LATEST) == (
            sent.WhichOneof("start"),
            sent.data_json,
            sent.catch_up,
        )
        assert ("mail", "", {}, CatchUp.LATEST, WHEN) == (
            schedule.function,
            schedule.event,
            schedule.data,
            schedule.catch_up,
            schedule.next_time,
        )

    async def test_are_resumed(self, scripted_jobs: ScriptedJobs, client: JobClient) -> None:
        """By the same method of the contract that pauses them."""
        scripted_jobs.will(
            "PauseSchedule", pb.PauseScheduleResponse(schedule=job_pb2.Schedule(name="nightly"))
        )

        await client.resume_schedule("nightly")

        assert [pb.PauseScheduleRequest(name="nightly")] == scripted_jobs.asked("PauseSchedule")
