"""Storing contracts of events: checked, and compared with the version before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
import orjson
import structlog

from mainstay.errors import AlreadyExistsError, PreconditionError, ValidationError
from services.jobs.schema_book import SchemaBook, SchemaStore, StoredSchema
from services.jobs.schema_changes import breaking_changes
from services.jobs.schemas import (
    DIALECT,
    MAX_NAME,
    MAX_VERSION,
    NAME,
    NAME_KEYWORD,
    VERSION_KEYWORD,
    EventSchema,
    compiled,
    pointer_to,
)
from shared.rpc.call import Tenant

MAX_SCHEMA_BYTES = 256 * 1024
_MAX_TOLD = 10

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaDraft:
    """A contract as it was sent; `breaking` when it may refuse what the version before took."""

    name: str
    version: int
    text: str
    breaking: bool


class SchemaPutting:
    """The use case behind PutEventSchema."""

    def __init__(self, book: SchemaBook, store: SchemaStore) -> None:
        self._book = book
        self._store = store

    async def put(self, tenant: Tenant, draft: SchemaDraft) -> EventSchema:
        """Store a version; the same again changes nothing.

        Raises ValidationError, AlreadyExistsError when this version says something else, and
        PreconditionError when it refuses what the version before took.
        """
        document = _checked(draft)
        known = await self._book.find(tenant, draft.name, draft.version)
        if known is None:
            await self._check_before(tenant, draft, document)
            text = await self._store.insert(
                tenant, StoredSchema(name=draft.name, version=draft.version, text=draft.text)
            )
            known = self._book.learn(tenant, draft.name, draft.version, text)
        if _text(orjson.loads(known.text)) != _text(document):
            raise AlreadyExistsError(
                f"version {draft.version} of {draft.name} exists and says something else; what is "
                "stored is never changed: put the next version",
                resource_type="event schema",
                resource_name=draft.name,
                reason="EVENT_SCHEMA_EXISTS",
            )
        log.info("event_schema_put", event_name=draft.name, version=draft.version)
        return known

    async def _check_before(
        self, tenant: Tenant, draft: SchemaDraft, document: Mapping[str, Any]
    ) -> None:
        if draft.version == 1:
            return
        before = await self._book.find(tenant, draft.name, draft.version - 1)
        if before is None:
            newest = await self._book.find(tenant, draft.name, 0)
            right = f"must be {newest.version + 1 if newest else 1}, the next there is not yet"
            raise ValidationError(
                f"version {draft.version} of {draft.name} does not follow one: {right}",
                fields={"version": right},
            )
        broken = {} if draft.breaking else breaking_changes(orjson.loads(before.text), document)
        if broken:
            raise _breaks(draft, broken)


def _breaks(draft: SchemaDraft, broken: Mapping[str, str]) -> PreconditionError:
    told = dict(sorted(broken.items())[:_MAX_TOLD])
    listed = "; ".join(f"{pointer or '/'} {why}" for pointer, why in told.items())
    return PreconditionError(
        f"version {draft.version} of {draft.name} may refuse what the one before took: {listed}; "
        "say `breaking` if that is meant",
        reason="EVENT_SCHEMA_BREAKS",
        metadata={pointer or "/": why for pointer, why in told.items()},
    )


def _text(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def _checked(draft: SchemaDraft) -> dict[str, Any]:
    """Return the schema as a document; raises ValidationError with all that is wrong."""
    wrong = {}
    if len(draft.name) > MAX_NAME or not NAME.fullmatch(draft.name):
        wrong["name"] = f"must be up to {MAX_NAME} characters, such as video/upload.completed"
    if not 1 <= draft.version <= MAX_VERSION:
        wrong["version"] = "must be a whole number from 1"
    document, mistakes = _read(draft)
    wrong |= mistakes
    if wrong:
        first = min(wrong)
        raise ValidationError(f"the schema cannot be used: {first} {wrong[first]}", fields=wrong)
    return document


def _read(draft: SchemaDraft) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the document, and what is wrong with it by JSON pointer."""
    if (size := len(draft.text.encode())) > MAX_SCHEMA_BYTES:
        return {}, {"schema_json": f"{size:,} bytes, more than {MAX_SCHEMA_BYTES:,}"}
    try:
        document = orjson.loads(draft.text)
        if not isinstance(document, dict):
            return {}, {"schema_json": "must be a JSON object"}
        wrong = dict(_misplaced(draft, document))
        # What cannot be written again could not be compared later.
        _text(document)
        compiled(document)
    except jsonschema_rs.ValidationError as error:
        return {}, {f"schema_json{pointer_to(error.instance_path)}": error.message}
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, ValueError) as error:
        return {}, {"schema_json": str(error)}
    return document, wrong


def _misplaced(draft: SchemaDraft, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    expected = {
        "type": ("object", 'must be "object", as every payload is one'),
        "$schema": (DIALECT, f'must be "{DIALECT}" or left out'),
        NAME_KEYWORD: (draft.name, "must be the event's name or left out"),
        VERSION_KEYWORD: (draft.version, "must be the version or left out"),
    }
    return [
        (f"schema_json/{keyword}", right)
        for keyword, (value, right) in expected.items()
        if document.get(keyword, None if keyword == "type" else value) != value
    ]
