"""PutEventSchema and ListEventSchemas: parse, call, format."""

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from services.jobs.schema_book import SchemaBook, StoredSchema
from services.jobs.schema_putting import SchemaDraft, SchemaPutting
from services.jobs.schemas import MAX_VERSION, EventSchema
from shared import pages
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "PutEventSchema": MethodPolicy(wildcard_tenant=True, roomy=frozenset({"schema_json"})),
    "ListEventSchemas": MethodPolicy(wildcard_tenant=True),
}


class SchemaMethods:
    """The methods about contracts of events."""

    schema_book: SchemaBook
    schema_putting: SchemaPutting

    async def PutEventSchema(
        self, request: pb.PutEventSchemaRequest, context: object
    ) -> pb.PutEventSchemaResponse:
        draft = SchemaDraft(
            name=request.name,
            version=request.version,
            text=request.schema_json,
            breaking=request.breaking,
        )
        schema = await self.schema_putting.put(current_call().tenant, draft)
        return pb.PutEventSchemaResponse(schema=_message(schema))

    async def ListEventSchemas(
        self, request: pb.ListEventSchemasRequest, context: object
    ) -> pb.ListEventSchemasResponse:
        size = pages.page_size(request.page_size)
        key = pages.page_key(request.page_token, str, int)
        after = (str(key[0]), int(key[1])) if key else ("", 0)
        if not 0 <= after[1] <= MAX_VERSION:
            raise pages.forged()
        found = await self.schema_book.list(current_call().tenant, request.name, after, size + 1)
        page, more = found[:size], found[size:]
        token = pages.page_token((page[-1].name, page[-1].version)) if more else ""
        return pb.ListEventSchemasResponse(schemas=map(_message, page), next_page_token=token)


def _message(schema: EventSchema | StoredSchema) -> job_pb2.EventSchema:
    return job_pb2.EventSchema(
        name=schema.name,
        version=schema.version,
        schema_json=schema.text or "",
        built_in=schema.built_in,
    )
