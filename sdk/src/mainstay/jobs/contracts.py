"""The contracts of events: what their payloads have to look like."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainstay.jobs.calls import Calls, all_pages
from mainstay.jobs.conversions import decoded, payload, whole
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb

# A schema may have 256 KiB, and a message 4 MiB.
_PAGE_SIZE = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSchema:
    """A version of an event's contract.

    Attributes:
        name: The event's name, such as `video/upload.completed`.
        version: From 1.
        schema: JSON Schema, draft 2020-12.
        built_in: Whether it comes from a file of the service and cannot be replaced.

    """

    name: str
    version: int
    schema: Mapping[str, Any]
    built_in: bool


class Contracts(Calls):
    """Stores and lists event schemas."""

    async def put_event_schema(
        self, name: str, version: int, schema: Mapping[str, Any], *, breaking: bool = False
    ) -> EventSchema:
        """Store a version of an event's contract, JSON Schema of draft 2020-12, up to 256 KiB.

        What is stored is never changed; the same again is accepted. Raises ValidationError for a
        wrong schema, AlreadyExistsError for another one under this version, PreconditionError when
        it refuses what the version before took and `breaking` is not said.
        """
        request = pb.PutEventSchemaRequest(
            name=name,
            version=whole(version, "version", least=0),
            schema_json=payload(schema, f"schema of {name}", "schema"),
            breaking=breaking,
        )
        response = await self._channel.unary(self._stub.PutEventSchema, request, retry=True)
        return _schema(response.schema)

    def list_event_schemas(self, name: str = "") -> AsyncGenerator[EventSchema, None]:
        """Yield the contracts of events by name and version; with a `name`, of that event only."""

        async def fetch(token: str) -> tuple[Sequence[EventSchema], str]:
            request = pb.ListEventSchemasRequest(name=name, page_size=_PAGE_SIZE, page_token=token)
            page = await self._channel.unary(self._stub.ListEventSchemas, request, retry=True)
            return [_schema(schema) for schema in page.schemas], page.next_page_token

        return all_pages(fetch)


def _schema(schema: job_pb2.EventSchema) -> EventSchema:
    return EventSchema(
        name=schema.name,
        version=schema.version,
        schema=decoded(schema.schema_json),
        built_in=schema.built_in,
    )
