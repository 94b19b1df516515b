"""Names and tokens that cannot be: told as what they are, never as a fault of the service."""

import json
from typing import Any

import pytest

from mainstay.errors import NotFoundError, ValidationError
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from services.jobs.payload import MAX_DATA_BYTES
from shared.pages import page_token
from shared.service import Service
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import Workers, function

NUL = "a\0b"


def schedule(**start: Any) -> pb.PutScheduleRequest:
    """Return a request for a schedule."""
    return pb.PutScheduleRequest(
        schedule=job_pb2.Schedule(name="nightly", cron="0 3 * * *", **start)
    )


def event(**fields: Any) -> pb.SendEventsRequest:
    """Return a request with one event."""
    return pb.SendEventsRequest(events=[pb.Event(json="{}", **fields)])


class TestNames:
    @pytest.mark.parametrize(
        ("method", "request_"),
        [
            ("SendEvents", event(name=NUL)),
            ("SendEvents", event(name="email/send", version=2**32 - 1)),
            ("Enqueue", pb.EnqueueRequest(function=NUL, json="{}")),
            ("PutSchedule", schedule(function=NUL)),
            ("PutSchedule", schedule(event=NUL)),
            ("DeleteSchedule", pb.DeleteScheduleRequest(name=NUL)),
            ("PauseSchedule", pb.PauseScheduleRequest(name=NUL, paused=True)),
        ],
    )
    async def test_not_found(self, jobs: Producer, method: str, request_: Any) -> None:
        """What nothing can be called is not there."""
        with pytest.raises(NotFoundError):
            await jobs.call(method, request_)

    async def test_no_schemas(self, jobs: Producer) -> None:
        """An event of such a name has no contracts."""
        found = await jobs.call("ListEventSchemas", pb.ListEventSchemasRequest(name=NUL))

        assert [] == list(found.schemas)


class TestTokens:
    @pytest.mark.parametrize(
        ("method", "request_"),
        [
            ("ListSchedules", pb.ListSchedulesRequest(page_token=page_token([NUL]))),
            ("ListQueues", pb.ListQueuesRequest(page_token=page_token([NUL]))),
            ("ListFunctions", pb.ListFunctionsRequest(page_token=page_token([NUL]))),
            ("ListEventSchemas", pb.ListEventSchemasRequest(page_token=page_token([NUL, 1]))),
            ("ListEventSchemas", pb.ListEventSchemasRequest(page_token=page_token(["a", 2**40]))),
            ("ListWorkers", pb.ListWorkersRequest(page_token=page_token(["w", "no id"]))),
        ],
    )
    async def test_forged(self, jobs: Producer, method: str, request_: Any) -> None:
        """A token that no page had is the caller's mistake."""
        with pytest.raises(ValidationError) as caught:
            await jobs.call(method, request_)

        assert {"page_token"} == set(caught.value.fields)


class TestSchedules:
    async def test_payload_of_a_function(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A payload that every tick would be refused for is refused when it is put."""
        await workers.connect(service.address, function("sweep", ""))
        large = json.dumps({"x": "y" * MAX_DATA_BYTES})

        with pytest.raises(ValidationError) as caught:
            await jobs.call("PutSchedule", schedule(function="sweep", data_json=large))

        assert {"schedule.data_json"} == set(caught.value.fields)
