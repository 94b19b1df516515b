"""Contracts of events that tenants put by calls."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from mainstay.errors import (
    AlreadyExistsError,
    NotFoundError,
    PreconditionError,
    ValidationError,
)
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from services.jobs.schema_book import FRESH
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import Producer

ORDER: dict[str, Any] = {
    "type": "object",
    "required": ["order_id"],
    "additionalProperties": False,
    "properties": {"order_id": {"type": "string"}},
}
WIDER = ORDER | {"properties": ORDER["properties"] | {"note": {"type": "string"}}}
NARROWER = WIDER | {"required": ["order_id", "note"]}


async def put(
    jobs: Producer,
    schema: Any = ORDER,
    *,
    name: str = "order/paid",
    version: int = 1,
    breaking: bool = False,
) -> job_pb2.EventSchema:
    """Put a contract and return it as stored."""
    text = schema if isinstance(schema, str) else json.dumps(schema)
    request = pb.PutEventSchemaRequest(
        name=name, version=version, schema_json=text, breaking=breaking
    )
    stored: job_pb2.EventSchema = (await jobs.call("PutEventSchema", request)).schema
    return stored


def paid(version: int = 0, **data: Any) -> pb.Event:
    """Return an event of the contract."""
    return pb.Event(name="order/paid", version=version, json=json.dumps({"order_id": "o"} | data))


async def until_accepted(jobs: Producer, event: pb.Event, *, within: float) -> None:
    """Send an event until it is accepted."""
    async with asyncio.timeout(within):
        while True:
            try:
                await jobs.send(event)
            except (NotFoundError, ValidationError):
                await asyncio.sleep(0.05)  # what is awaited is known at another replica only
            else:
                return


class TestPut:
    async def test_checks_events(self, jobs: Producer) -> None:
        """Once it is stored, events are checked against it."""
        with pytest.raises(NotFoundError):
            await jobs.send(paid())

        stored = await put(jobs)
        await jobs.send(paid(), paid(version=1))
        with pytest.raises(ValidationError) as caught:
            await jobs.send(paid(note="x"))

        assert (1, False, ORDER) == (
            stored.version,
            stored.built_in,
            json.loads(stored.schema_json),
        )
        assert ["events[0].data/note"] == list(caught.value.fields)

    async def test_newest(self, jobs: Producer) -> None:
        """An event without a version is checked against the newest, others against theirs."""
        await put(jobs)
        await jobs.send(paid())
        await put(jobs, WIDER, version=2)

        await jobs.send(paid(note="x"), paid(version=2, note="x"))
        with pytest.raises(ValidationError):
            await jobs.send(paid(version=1, note="x"))

    async def test_beside_a_file(self, jobs: Producer) -> None:
        """A version may follow one that comes from a file; the file cannot be replaced."""
        video = {"type": "object"}
        with pytest.raises(AlreadyExistsError):
            await put(jobs, video, name="video/upload.completed", version=1)
        await put(jobs, video, name="video/upload.completed", version=2)

        await jobs.send(pb.Event(name="video/upload.completed", json='{"x": 1}'))
        with pytest.raises(ValidationError):
            await jobs.send(pb.Event(name="video/upload.completed", version=1, json='{"x": 1}'))

    async def test_tenants(self, service: Service, jobs: Producer, produce: Produce) -> None:
        """What a tenant puts is its own; what is put for all is everybody's."""
        globex, everybody = await produce(service, "globex"), await produce(service, "*")
        await put(jobs)
        await put(everybody, name="order/sent")

        sent = pb.Event(name="order/sent", json='{"order_id": "o"}')
        await jobs.send(sent)
        await globex.send(sent)
        with pytest.raises(NotFoundError):
            await globex.send(paid())

    async def test_other_replica(
        self, serve_jobs: ServeJobs, jobs: Producer, produce: Produce
    ) -> None:
        """Another replica knows it within a second, though it has just looked in vain."""
        other = await produce(await serve_jobs())
        await put(jobs)
        await other.send(paid())

        await put(jobs, WIDER, version=2)

        await other.send(paid(version=2, note="x"))
        await until_accepted(other, paid(note="x"), within=FRESH + 0.5)


class TestImmutable:
    async def test_same_again(self, jobs: Producer, database: asyncpg.Connection) -> None:
        """The same again is accepted, however it is written."""
        first = await put(jobs)

        again = await put(jobs, json.dumps(dict(reversed(ORDER.items())), indent=2))

        assert first == again
        assert 1 == await database.fetchval("SELECT count(*) FROM jobs.event_schemas")

    async def test_another(self, jobs: Producer) -> None:
        """Another contract under the same version is not, even one that breaks nothing."""
        await put(jobs)

        with pytest.raises(AlreadyExistsError) as caught:
            await put(jobs, WIDER, breaking=True)

        assert "EVENT_SCHEMA_EXISTS" == caught.value.reason

    async def test_at_the_same_moment(
        self, serve_jobs: ServeJobs, jobs: Producer, produce: Produce
    ) -> None:
        """Of two that put different contracts at the same moment at two replicas, one wins."""
        other = await produce(await serve_jobs())

        told = await asyncio.gather(put(jobs, ORDER), put(other, WIDER), return_exceptions=True)

        lost = [each for each in told if isinstance(each, AlreadyExistsError)]
        assert (2, 1) == (len(told), len(lost))


class TestCompatibility:
    async def test_breaks(self, jobs: Producer) -> None:
        """A version that refuses what the one before took has to say so."""
        await put(jobs)
        await put(jobs, WIDER, version=2)

        with pytest.raises(PreconditionError) as caught:
            await put(jobs, NARROWER, version=3)
        stored = await put(jobs, NARROWER, version=3, breaking=True)

        assert "EVENT_SCHEMA_BREAKS" == caught.value.reason
        assert "note was not required" == caught.value.metadata["/required"]
        assert 3 == stored.version

    async def test_compared_with_a_file(self, jobs: Producer) -> None:
        """Also when the one before is a file."""
        with pytest.raises(PreconditionError):
            await put(
                jobs,
                {"type": "object", "required": ["title"]},
                name="video/upload.completed",
                version=2,
            )

    @pytest.mark.parametrize("version", [2, 7])
    async def test_gap(self, jobs: Producer, version: int) -> None:
        """A version follows the one before."""
        with pytest.raises(ValidationError) as caught:
            await put(jobs, version=version)

        assert {"version": "must be 1, the next there is not yet"} == caught.value.fields


class TestWrong:
    @pytest.mark.parametrize(
        ("schema", "field"),
        [
            ("nonsense", ""),
            ("[]", ""),
            ({"type": "string"}, "/type"),
            ({}, "/type"),
            (ORDER | {"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema"),
            (ORDER | {"x-mainstay-event": "order/sent"}, "/x-mainstay-event"),
            (ORDER | {"properties": {"a": {"type": "text"}}}, "/properties/a/type"),
            (ORDER | {"properties": {"a": {"pattern": "("}}}, "/properties/a/pattern"),
            (ORDER | {"properties": {"a": {"$ref": "https://example.com"}}}, ""),
            (ORDER | {"description": "x" * 262_144}, ""),
        ],
    )
    async def test_schema(self, jobs: Producer, schema: Any, field: str) -> None:
        """What is wrong with a schema is told by its JSON pointer, and nothing is stored."""
        with pytest.raises(ValidationError) as caught:
            await put(jobs, schema)

        assert [f"schema_json{field}"] == list(caught.value.fields)
        with pytest.raises(NotFoundError):
            await jobs.send(paid())

    @pytest.mark.parametrize(
        ("name", "version", "field"),
        [
            ("", 1, "name"),
            ("Order", 1, "name"),
            ("a" * 101, 1, "name"),
            ("order/paid", 0, "version"),
        ],
    )
    async def test_name(self, jobs: Producer, name: str, version: int, field: str) -> None:
        """So is what is wrong with its name and version."""
        with pytest.raises(ValidationError) as caught:
            await put(jobs, name=name, version=version)

        assert [field] == list(caught.value.fields)


class TestList:
    async def list(self, jobs: Producer, **fields: Any) -> pb.ListEventSchemasResponse:
        """List contracts."""
        answer: pb.ListEventSchemasResponse = await jobs.call(
            "ListEventSchemas", pb.ListEventSchemasRequest(**fields)
        )
        return answer

    async def test_pages(self, jobs: Producer) -> None:
        """Those in files and those that were put come together, by name and version."""
        await put(jobs)
        await put(jobs, WIDER, version=2)
        await put(jobs, {"type": "object"}, name="email/send", version=2)

        listed: list[tuple[str, int, bool]] = []
        token = ""
        while not listed or token:
            page = await self.list(jobs, page_size=2, page_token=token)
            assert len(page.schemas) <= 2
            listed += [(each.name, each.version, each.built_in) for each in page.schemas]
            token = page.next_page_token

        assert [
            ("analytics/daily.aggregate", 1, True),
            ("email/send", 1, True),
            ("email/send", 2, False),
            ("membership/updated", 1, True),
            ("order/paid", 1, False),
            ("order/paid", 2, False),
            ("quiz/generation.requested", 1, True),
            ("video/upload.completed", 1, True),
        ] == listed

    async def test_of_one(self, jobs: Producer) -> None:
        """Those of one event come alone, with their text."""
        await put(jobs)

        (listed,) = (await self.list(jobs, name="order/paid")).schemas

        assert ORDER == json.loads(listed.schema_json)
