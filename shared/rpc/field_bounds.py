"""A bound for every field, also for those that nobody has thought of.

A message below `ORDINARY` bytes holds no field above it. In one that is larger every field is
looked at: texts, bytes and maps may be as large as that, lists may have `MOST` entries, unless the
method's policy names the field as one that holds much (`MethodPolicy.roomy`), which its service
then bounds itself. So a field that is added later is bounded from its first day, an ordinary call
pays for one comparison, and what is far too long is refused before a service makes values of it.
"""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from mainstay.errors import ValidationError

ORDINARY = 16 * 1024
"""Bytes that a field may have if nothing else is said of it."""

MOST = 10_000
"""Entries that a list may have if nothing else is said of it."""

_WELL_KNOWN = "google.protobuf."


class FieldBounds:
    """What the fields of a method's requests may hold."""

    def __init__(self, roomy: frozenset[str] = frozenset()) -> None:
        """`roomy` are paths of fields with dots, such as `items.value`."""
        self._roomy = roomy

    def check(self, message: Message) -> None:
        """Raise ValidationError that names the first field beyond its bound."""
        for field, mistake in self._mistakes(message, "", ""):
            raise ValidationError(f"{field} {mistake}", fields={field: mistake})

    def _mistakes(self, message: Message, path: str, shown: str) -> Iterator[tuple[str, str]]:
        for field, value in message.ListFields():
            below, name = f"{path}{field.name}", f"{shown}{field.name}"
            if below in self._roomy:
                continue
            if field.is_repeated:
                yield from self._mistakes_of_many(field, value, below, name)
            else:
                yield from self._mistakes_of_one(field, value, below, name)

    def _mistakes_of_many(
        self, field: FieldDescriptor, values: Any, path: str, shown: str
    ) -> Iterator[tuple[str, str]]:
        if len(values) > MOST:
            yield shown, f"has {len(values):,} entries; give at most {MOST:,}"
        if _is_map(field.message_type):
            size = sum(map(_size, values)) + sum(_size(values[key]) for key in values)
            yield from _too_long(size, shown)
            return
        for number, value in enumerate(values):
            yield from self._mistakes_of_one(field, value, path, f"{shown}[{number}]")

    def _mistakes_of_one(
        self, field: FieldDescriptor, value: Any, path: str, shown: str
    ) -> Iterator[tuple[str, str]]:
        size, kind = _size(value), field.message_type
        if kind is None or kind.full_name.startswith(_WELL_KNOWN):
            yield from _too_long(size, shown)
        elif size > ORDINARY:
            yield from self._mistakes(value, f"{path}.", f"{shown}.")


def _too_long(size: int, shown: str) -> Iterator[tuple[str, str]]:
    if size > ORDINARY:
        yield shown, f"has {size:,} bytes; give at most {ORDINARY:,}"


def _size(value: Any) -> int:
    """Return about how many bytes a value has on the wire."""
    match value:
        case str():
            return len(value.encode()) if len(value) <= ORDINARY else len(value)
        case bytes():
            return len(value)
        case Message():
            return value.ByteSize()
        case _:
            return 8


def _is_map(kind: Descriptor | None) -> bool:
    return kind is not None and bool(kind.GetOptions().map_entry)
