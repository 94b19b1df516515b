"""Jobs that are asked for by the name of their function, without an event."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from mainstay.errors import AlreadyExistsError, NotFoundError, ValidationError
from mainstay.jobs.v1 import job_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.producer import VIDEO, Producer, video_event
from tests.integration.jobs.raw_worker import Workers, function, seconds

REPORT = function("send-report", trigger="")


def request(data: str = '{"day": 1}', **fields: Any) -> pb.EnqueueRequest:
    """Return a request for a job."""
    return pb.EnqueueRequest(function="send-report", json=data, **fields)


class TestEnqueue:
    async def test_runs(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """The job reaches a worker with its payload as it was sent, and names no event."""
        worker = await workers.connect(service.address, REPORT)
        enqueued = await jobs.enqueue(request('{ "day": 1.0 }'), request_id="req-9")

        assigned = await worker.take_one()

        job = await jobs.get(enqueued.job_id)
        assert not enqueued.duplicate
        assert (enqueued.job_id, '{ "day": 1.0 }') == (assigned.job_id, assigned.data_json)
        assert ("", "req-9") == (job.event_name, job.request_id)

    async def test_structure(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A payload may come as a structure."""
        worker = await workers.connect(service.address, REPORT)
        asked = pb.EnqueueRequest(function="send-report")
        asked.object.update({"day": 1})
        await jobs.enqueue(asked)

        assert '{"day":1}' == (await worker.take_one()).data_json

    async def test_of_an_event(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A function that an event triggers may be asked for as well; no other one starts."""
        await workers.connect(service.address, function("a"), function("b"))

        asked = pb.EnqueueRequest(function="b", json=json.dumps(VIDEO))
        enqueued = await jobs.enqueue(asked)

        assert "b" == (await jobs.get(enqueued.job_id)).function

    async def test_for_all_tenants(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A function that is declared for all tenants is everybody's."""
        await workers.connect(service.address, REPORT, tenant="*")

        assert (await jobs.enqueue(request())).job_id

    async def test_delay(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Delay and priority are as for events."""
        await workers.connect(service.address, REPORT)

        enqueued = await jobs.enqueue(request(delay=seconds(60), priority=9))

        job = await jobs.get(enqueued.job_id)
        assert 9 == job.priority
        assert 60 == pytest.approx(job.ready_time.seconds - job.create_time.seconds, abs=1)


class TestRefused:
    async def test_unknown_function(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """A function that nobody has declared is not found, and its key stays free."""
        await workers.connect(service.address, function("send-report", trigger=""), tenant="globex")

        with pytest.raises(NotFoundError) as caught:
            await jobs.enqueue(request(idempotency_key="k"))

        assert "FUNCTION_NOT_FOUND" == caught.value.reason
        assert 0 == await database.fetchval("SELECT count(*) FROM jobs.event_keys")

    @pytest.mark.parametrize(
        ("asked", "field", "right"),
        [
            (pb.EnqueueRequest(function="send-report"), "data", "json or as object"),
            (request("[1]"), "data", "JSON object"),
            (request("nonsense"), "data", "not JSON"),
            (request('{"x": "' + "x" * 1024 * 1024 + '"}'), "data", "more than 1,048,576"),
            (request(priority=101), "priority", "-100 to 100"),
            (request(delay=seconds(-1)), "delay", "365 days"),
            (request(idempotency_key="k" * 201), "idempotency_key", "200 bytes"),
            (pb.EnqueueRequest(json="{}"), "function", "required"),
        ],
    )
    async def test_fields(
        self, jobs: Producer, asked: pb.EnqueueRequest, field: str, right: str
    ) -> None:
        """What is wrong is named by its field."""
        with pytest.raises(ValidationError) as caught:
            await jobs.enqueue(asked)

        assert [field] == list(caught.value.fields)
        assert right in caught.value.fields[field]


class TestIdempotency:
    async def test_same_again(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """The same key with the same content is the same job."""
        await workers.connect(service.address, REPORT)
        first = await jobs.enqueue(request(idempotency_key="k"))

        again = await jobs.enqueue(request('{ "day":1 }', idempotency_key="k"))

        assert first.job_id == again.job_id
        assert [False, True] == [first.duplicate, again.duplicate]

    async def test_at_the_same_moment(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """Of callers with one key at the same moment one starts the job; all get its id."""
        await workers.connect(service.address, REPORT)
        asked = [jobs.enqueue(request(idempotency_key="k")) for _ in range(20)]

        answers = await asyncio.gather(*asked)

        assert 1 == len({answer.job_id for answer in answers})
        assert 1 == sum(not answer.duplicate for answer in answers)
        assert 1 == await database.fetchval("SELECT count(*) FROM jobs.jobs")

    async def test_other_content(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """The same key for another payload, function or event is refused."""
        await workers.connect(service.address, REPORT, function("other", trigger=""))
        await jobs.enqueue(request(idempotency_key="k"))
        other_function = pb.EnqueueRequest(function="other", json='{"day": 1}', idempotency_key="k")

        for asked in (request('{"day": 2}', idempotency_key="k"), other_function):
            with pytest.raises(AlreadyExistsError) as caught:
                await jobs.enqueue(asked)
            assert "IDEMPOTENCY_KEY_REUSED" == caught.value.reason
        with pytest.raises(AlreadyExistsError):
            await jobs.send(video_event(key="k"))
