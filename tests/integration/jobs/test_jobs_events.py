"""Events at the door: schemas, bounds, idempotency."""

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

BIG = json.dumps(VIDEO | {"title": "x" * 300})


def video_with(**changes: Any) -> pb.Event:
    """Return an event whose payload is changed."""
    return video_event(data=json.dumps(VIDEO | changes))


# Event, where it is wrong, what would be right.
BROKEN = [
    (video_with(duration_seconds=-1), "data/duration_seconds", "minimum"),
    (video_with(duration_seconds="1"), "data/duration_seconds", "number"),
    (video_with(source_url="nowhere"), "data/source_url", "uri"),
    (video_with(colour="red"), "data/colour", "not part of the schema"),
    (video_event(data='{"video_id": "v"}'), "data/creator_id", "required"),
    (video_event(data="[]"), "data", "object"),
    (video_event(data="nonsense"), "data", "not JSON"),
    (video_event(data=""), "data", "not JSON"),
    (video_event(data='{"video_id": NaN}'), "data", "not JSON"),
    (pb.Event(name="video/upload.completed"), "data", "json or as object"),
    (video_event(data=BIG + " " * 1024 * 1024), "data", "more than 1,048,576"),
    (video_event(key="k" * 201), "idempotency_key", "200 bytes"),
    (video_event(key="\u00e9" * 101), "idempotency_key", "200 bytes"),
    (video_event(key="a\0b"), "idempotency_key", "NUL"),
    (video_event(priority=101), "priority", "-100 to 100"),
    (video_event(priority=-101), "priority", "-100 to 100"),
    (video_event(delay=seconds(-0.001)), "delay", "365 days"),
    (video_event(delay=seconds(366 * 86400)), "delay", "365 days"),
]


class TestSchemas:
    async def test_refused(self, jobs: Producer) -> None:
        """A payload that breaks its schema is refused with the pointer of what breaks it."""
        for event, field, right in BROKEN:
            with pytest.raises(ValidationError) as caught:
                await jobs.send(video_event(), event)

            wrong = caught.value.fields
            assert f"events[1].{field}" in wrong
            assert right in wrong[f"events[1].{field}"]

    async def test_no_schema(self, jobs: Producer) -> None:
        """An event without a contract is refused."""
        unknown = [("order/paid", 0), ("video/upload.completed", 2), ("", 0), ("x" * 5000, 0)]
        for name, version in unknown:
            with pytest.raises(NotFoundError) as caught:
                await jobs.send(pb.Event(name=name, version=version, json="{}"))

            assert "EVENT_SCHEMA_NOT_FOUND" == caught.value.reason

    async def test_number(self, jobs: Producer) -> None:
        """A call brings 1 to 100 events."""
        for count in (0, 101):
            with pytest.raises(ValidationError) as caught:
                await jobs.send(*[video_event()] * count)

            assert ["events"] == list(caught.value.fields)

    async def test_all_or_none(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """One broken event keeps out the whole call."""
        await workers.connect(service.address)
        with pytest.raises(ValidationError):
            await jobs.send(video_event(key="k"), video_with(duration_seconds=-1))

        assert 0 == await database.fetchval("SELECT count(*) FROM jobs.event_keys")
        assert 0 == await database.fetchval("SELECT count(*) FROM jobs.jobs")

    async def test_a_full_call(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A hundred events are a hundred jobs, answered in order and with ids in order."""
        await workers.connect(service.address)
        accepted = await jobs.send(*[video_event() for _ in range(100)])

        job_ids = [event.job_ids[0] for event in accepted]
        assert 100 == len(set(job_ids))
        assert job_ids == sorted(job_ids)

    async def test_structure(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A payload may come as a structure and reaches the worker as JSON."""
        worker = await workers.connect(service.address)
        event = pb.Event(name="video/upload.completed", version=1)
        event.object.update(dict[str, Any](VIDEO | {"size_bytes": 4096}))
        await jobs.start_job(event)

        assigned = await worker.take_one()

        assert VIDEO | {"size_bytes": 4096} == json.loads(assigned.data_json)
        assert "4096.0" not in assigned.data_json


class TestIdempotency:
    async def test_same_again(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """The same key with the same content is the same event with the same jobs."""
        await workers.connect(service.address, function("a"), function("b"))
        (first,) = await jobs.send(video_event(key="k"))

        # Spaces and the order of keys do not make another content.
        reordered = json.dumps(dict(reversed(VIDEO.items())), indent=2)
        (again,) = await jobs.send(video_event(key="k", data=reordered))

        assert (first.event_id, list(first.job_ids)) == (again.event_id, list(again.job_ids))
        assert [False, True] == [first.duplicate, again.duplicate]

    async def test_without_a_key(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Without a key every event is another."""
        await workers.connect(service.address)

        accepted = await jobs.send(video_event(), video_event())

        assert 2 == len({event.event_id for event in accepted})

    async def test_other_content(self, jobs: Producer) -> None:
        """The same key with another payload or version is refused."""
        await jobs.send(video_event(key="k"))
        for other in (video_with(duration_seconds=62), video_event(version=1)):
            other.idempotency_key = "k"
            with pytest.raises(AlreadyExistsError) as caught:
                await jobs.send(other)

            assert "IDEMPOTENCY_KEY_REUSED" == caught.value.reason

    async def test_twice_in_one_call(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """Two events of one call with one key are one event."""
        await workers.connect(service.address)

        first, second = await jobs.send(video_event(key="k"), video_event(key="k"))

        assert (first.event_id, list(first.job_ids)) == (second.event_id, list(second.job_ids))
        assert [False, True] == [first.duplicate, second.duplicate]

    async def test_at_the_same_moment(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """Of callers with the same keys at the same moment one wins; all get its ids."""
        await workers.connect(service.address)
        keys = ["k1", "k2", "k3"]

        async def send(number: int) -> list[pb.AcceptedEvent]:
            # In different orders, which must not deadlock.
            ordered = keys if number % 2 else keys[::-1]
            return await jobs.send(*[video_event(key=key) for key in ordered])

        answers = await asyncio.gather(*[send(number) for number in range(12)])

        ids = {event.event_id for events in answers for event in events}
        fresh = [event for events in answers for event in events if not event.duplicate]
        assert (3, 3) == (len(ids), len(fresh))
        assert 3 == await database.fetchval("SELECT count(*) FROM jobs.jobs")

    async def test_taken_by_the_version_before(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """The jobs of a key that a replica of version 1 took are found by their event."""
        await workers.connect(service.address, function("a"), function("b"))
        first, other = await jobs.send(video_event(key="k"), video_event())
        await database.execute("UPDATE jobs.event_keys SET job_ids = NULL")

        (again,) = await jobs.send(video_event(key="k"))

        assert again.duplicate
        assert list(first.job_ids) == list(again.job_ids) != list(other.job_ids)

    async def test_tenants(self, service: Service, jobs: Producer, produce: Any) -> None:
        """A key means nothing to another tenant."""
        globex = await produce(service, "globex")
        (ours,) = await jobs.send(video_event(key="k"))

        (theirs,) = await globex.send(video_event(key="k", data=BIG))

        assert not theirs.duplicate
        assert ours.event_id != theirs.event_id

    async def test_thirty_days(self, jobs: Producer, database: asyncpg.Connection) -> None:
        """After thirty days a key is free again."""
        await jobs.send(video_event(key="k"))
        await database.execute(
            "UPDATE jobs.event_keys SET create_time = now() - interval '30 days 1 second'"
        )

        (accepted,) = await jobs.send(video_event(key="k", data=BIG))

        assert not accepted.duplicate

    async def test_before_thirty_days(self, jobs: Producer, database: asyncpg.Connection) -> None:
        """Until then it is taken."""
        await jobs.send(video_event(key="k"))
        await database.execute(
            "UPDATE jobs.event_keys SET create_time = now() - interval '29 days 23 hours'"
        )

        (accepted,) = await jobs.send(video_event(key="k"))

        assert accepted.duplicate
