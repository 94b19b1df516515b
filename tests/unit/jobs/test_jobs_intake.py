"""What events are refused for before anything is stored."""

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from uuid import UUID

import orjson
import pytest

from mainstay.errors import ValidationError
from services.jobs.event import AcceptedEvent, EventDraft, JobDraft, NewCall, Origin
from services.jobs.intake import EventIntake, Version
from services.jobs.job import EventId
from services.jobs.payload import MAX_LISTED_BYTES
from services.jobs.schemas import MAX_MISTAKES, EventSchema, load_schemas
from shared.rpc.call import Tenant

EVENTS = Path(__file__).parents[3] / "policies" / "events"
ORIGIN = Origin(tenant=Tenant("acme"), request_id="r", traceparent="")


class Files:
    """The contracts of a folder, which all tenants have."""

    def __init__(self, folder: Path) -> None:
        self._schemas = load_schemas(folder)

    async def find_all(
        self, tenant: Tenant, wanted: Collection[Version]
    ) -> Mapping[Version, EventSchema]:
        """Return those that there are."""
        found = {(name, version): self._schemas.find(name, version) for name, version in wanted}
        return {version: schema for version, schema in found.items() if schema is not None}

    async def known_names(self, tenant: Tenant) -> Sequence[str]:
        """Return all names."""
        return self._schemas.names


class Untouched:
    """A store that must not be reached."""

    async def accept(self, call: NewCall) -> tuple[AcceptedEvent, ...]:
        """Fail."""
        raise AssertionError("nothing is stored of events that are refused")

    async def has_function(self, tenant: Tenant, name: str) -> bool:
        """Fail."""
        raise AssertionError("nothing is read for events that are refused")


def intake(folder: Path = EVENTS) -> EventIntake:
    """Return the use case over the schemas of a folder."""
    store = Untouched()
    return EventIntake(Files(folder), store, store, lambda: EventId(UUID(int=1)))


async def refused(intake: EventIntake, *drafts: EventDraft) -> dict[str, str]:
    """Send events and return the fields that are named as wrong."""
    with pytest.raises(ValidationError) as caught:
        await intake.send(ORIGIN, drafts)
    return dict(caught.value.fields)


def draft(data: str, name: str = "email/send") -> EventDraft:
    """Return an event as it is sent."""
    return EventDraft(name=name, version=1, data=data, idempotency_key="")


def emails(numbers: int) -> str:
    """Return a payload with so many mistakes, and one."""
    return orjson.dumps({"to": list(range(numbers)), "template": 1}).decode()


class TestLargePayloads:
    async def test_many_mistakes(self) -> None:
        """A large payload that is wrong everywhere does not keep everybody waiting."""
        data = emails(150_000)

        began = time.perf_counter()
        fields = await refused(intake(), draft(data))
        took = time.perf_counter() - began

        assert len(data) > 0.85 * 1024 * 1024
        assert 1 <= len(fields) <= MAX_MISTAKES
        assert took < 0.75

    async def test_surplus_names(self) -> None:
        """Of a large payload with properties that nobody knows, only the first are named."""
        data = {f"k{number}": 1 for number in range(50_000)} | {"to": ["a@b.co"], "template": "t"}

        fields = await refused(intake(), draft(orjson.dumps(data).decode()))

        assert 1 <= len(fields) <= MAX_MISTAKES
        assert {"is not part of the schema"} == set(fields.values())

    async def test_small_ones_are_listed(self) -> None:
        """Of a small payload, all mistakes are told."""
        fields = await refused(intake(), draft(emails(3)))

        to = [f"events[0].data/to/{number}" for number in range(3)]
        assert [*to, "events[0].data/template"] == sorted(fields, key=lambda f: (len(f), f))

    async def test_many_events(self) -> None:
        """When enough mistakes are known, no further event is checked."""
        wrong = draft(emails(10_000))

        began = time.perf_counter()
        fields = await refused(intake(), *[wrong] * 100)
        took = time.perf_counter() - began

        assert len(emails(10_000)) < MAX_LISTED_BYTES
        assert {"events[0]"} == {field.split(".")[0] for field in fields}
        assert took < 1


class TestDepth:
    @pytest.mark.parametrize("depth", [260, 1000])
    async def test_too_deep(self, tmp_path: Path, depth: int) -> None:
        """A payload that cannot be written again is a mistake of the caller, not a crash."""
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "x-mainstay-event": "order/paid",
            "x-mainstay-version": 1,
            "type": "object",
        }
        (tmp_path / "order.paid.v1.json").write_bytes(orjson.dumps(schema))
        data = '{"a":' + "[" * depth + "]" * depth + "}"

        fields = await refused(intake(tmp_path), draft(data, "order/paid"))

        assert {"events[0].data": "nested too deeply"} == fields

    async def test_request(self) -> None:
        """Nor may a request for a job bring one, which no schema would find."""
        deep = JobDraft(
            function="f", data='{"a":' + "[" * 260 + "]" * 260 + "}", idempotency_key=""
        )

        with pytest.raises(ValidationError) as caught:
            await intake().enqueue(ORIGIN, deep)

        assert {"data": "nested too deeply"} == caught.value.fields
