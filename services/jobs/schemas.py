"""The contracts of events: JSON Schemas in files, compiled once at start.

A schema that is broken, or does not say which event it is for, stops the service with every mistake
listed: better no service than one that lets the wrong payloads in.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson

from mainstay.errors import ConfigurationError

NAME_KEYWORD = "x-mainstay-event"
VERSION_KEYWORD = "x-mainstay-version"
MAX_NAME = 100
MAX_VERSION = 2**31 - 1
MAX_MISTAKES = 20
"""How many mistakes of one payload are told; the rest follow once these are corrected."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAME = re.compile(r"[a-z][a-z0-9_-]*(?:[/.][a-z][a-z0-9_-]*)*")


def can_be_put(name: str, version: int) -> bool:
    """Return whether a call can have put a contract of this name and version, or the newest, 0."""
    return len(name) <= MAX_NAME and bool(NAME.fullmatch(name)) and 0 <= version <= MAX_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSchema:
    """One version of one event's contract: compiled, and as JSON text.

    `built_in` when it comes from a file of the service, not from a call.
    """

    name: str
    version: int
    validator: jsonschema_rs.Validator
    text: str = ""
    built_in: bool = True

    def mistakes(self, data: Any, *, every: bool = True) -> dict[str, str]:
        """Return what is wrong with a payload: JSON pointer → what would be right.

        Pointers (RFC 6901) begin at the payload; one to a missing or surplus property names the
        property. The payload's values are not repeated: they may be nobody's business. Listing
        every mistake of a large payload takes seconds; without `every`, only the first is told.
        """
        try:
            if self.validator.is_valid(data):
                return {}
            if every:
                return dict(sorted(_described(self.validator.iter_errors(data)))[:MAX_MISTAKES])
            return dict(islice(_described(self._first(data)), MAX_MISTAKES))
        except ValueError:
            # The validator's bound on depth, far beyond what any contract describes.
            return {"": "nested too deeply"}

    def _first(self, data: Any) -> list[jsonschema_rs.ValidationError]:
        # Not the first of iter_errors(): that makes all of them before it gives one.
        try:
            self.validator.validate(data)
        except jsonschema_rs.ValidationError as error:
            return [error]
        return []


def _described(errors: Iterable[jsonschema_rs.ValidationError]) -> Iterator[tuple[str, str]]:
    for error in errors:
        path = error.instance_path
        match error.kind.name:
            case "required":
                yield pointer_to([*path, error.kind.value]), "is required"
            case "additionalProperties" | "unevaluatedProperties":
                for surplus in error.kind.value:
                    yield pointer_to([*path, surplus]), "is not part of the schema"
            case _:
                yield pointer_to(path), error.message


def pointer_to(path: Sequence[Any]) -> str:
    """Return a JSON pointer (RFC 6901)."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


class EventSchemas:
    """All contracts of a service, by name and version."""

    def __init__(self, schemas: list[EventSchema]) -> None:
        self._versions: dict[str, dict[int, EventSchema]] = {}
        for schema in schemas:
            self._versions.setdefault(schema.name, {})[schema.version] = schema

    @property
    def names(self) -> list[str]:
        """Return the names of all events, sorted."""
        return sorted(self._versions)

    def find(self, name: str, version: int) -> EventSchema | None:
        """Return a contract, the newest for version 0, or None when there is none."""
        versions: Mapping[int, EventSchema] = self._versions.get(name, {})
        return versions.get(version or max(versions, default=0))

    def newest(self, name: str) -> int:
        """Return the newest version of a contract, 0 when there is none."""
        return max(self._versions.get(name, {}), default=0)

    def every(self) -> list[EventSchema]:
        """Return all of them, by name and version."""
        return [
            schema
            for _, versions in sorted(self._versions.items())
            for _, schema in sorted(versions.items())
        ]


def load_schemas(folder: Path) -> EventSchemas:
    """Read every `*.json` of a folder; raises ConfigurationError that lists all mistakes."""
    schemas: list[EventSchema] = []
    mistakes: list[str] = []
    for file in sorted(folder.glob("*.json")):
        try:
            schemas.append(_load_one(file))
        except jsonschema_rs.ValidationError as error:
            mistakes.append(f"{file.name}{pointer_to(error.instance_path)}: {error.message}")
        except (OSError, ValueError) as error:
            mistakes.append(f"{file.name}: {error}")
    if not schemas and not mistakes:
        mistakes.append("no schema found; MAINSTAY_POLICIES_DIR must hold events/*.json")
    if mistakes:
        listed = "".join(f"\n  {mistake}" for mistake in mistakes)
        raise ConfigurationError(f"event schemas in {folder}:{listed}")
    return EventSchemas(schemas)


def _load_one(file: Path) -> EventSchema:
    text = file.read_text(encoding="utf-8")
    document = orjson.loads(text)
    if not isinstance(document, dict) or document.get("$schema") != DIALECT:
        raise ValueError(f'must be an object with "$schema": "{DIALECT}"')
    name, version = document.get(NAME_KEYWORD), document.get(VERSION_KEYWORD)
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise ValueError(f"{NAME_KEYWORD} must name the event, such as video/upload.completed")
    if not (type(version) is int and version >= 1):
        raise ValueError(f"{VERSION_KEYWORD} must be a whole number from 1")
    expected = f"{name.replace('/', '.')}.v{version}.json"
    if file.name != expected:
        # Else two files could claim one version, or a copy keep the old one's.
        raise ValueError(f"must be called {expected}, as its event and version say")
    if document.get("type") != "object":
        raise ValueError('must have "type": "object", as every payload is one')
    return EventSchema(name=name, version=version, validator=compiled(document), text=text)


def compiled(document: dict[str, Any]) -> jsonschema_rs.Validator:
    """Return what checks payloads; raises jsonschema_rs.ValidationError, or ValueError."""
    return jsonschema_rs.Draft202012Validator(
        document,
        validate_formats=True,
        ignore_unknown_formats=False,
        # Values stay out of messages, references stay inside of the file, and patterns are
        # matched in linear time whatever the payload.
        mask="the value",
        offline=True,
        pattern_options=jsonschema_rs.RegexOptions(),
    )
