"""Between values of the wire and those that callers see.

What a message has no room for is refused here, by the name of its field, as the service would.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Protocol, TypeVar

from google.protobuf.duration_pb2 import Duration as WireDuration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.errors import ValidationError
from mainstay.jobs.durations import Duration, in_seconds, to_wire
from mainstay.jobs.json_text import decode, encode

E = TypeVar("E", bound=Enum)
# What a sint32 holds, and a uint32 from 0.
_MOST = 2**31 - 1
# Ten thousand years in seconds, the most of a Duration.
_LONGEST = 315_576_000_000


class WireEnum(Protocol):
    """An enumeration of the contract, with the numbers of its names."""

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return names with their numbers."""
        ...


def by_number(wire: WireEnum, prefix: str, kind: type[E]) -> dict[int, E]:
    """Return the values of `kind` by the numbers that their names have on the wire."""
    named = ((name.removeprefix(prefix), number) for name, number in wire.items())
    return {number: kind[name] for name, number in named if name in kind.__members__}


def time_of(message: Message, name: str) -> datetime | None:
    """Return the time in a field of a message; None when it is not set."""
    return utc(getattr(message, name)) if message.HasField(name) else None


def utc(timestamp: Timestamp) -> datetime:
    """Return a time of the wire as ours."""
    return timestamp.ToDatetime(tzinfo=UTC)


def timestamp(moment: datetime | None, field: str) -> Timestamp | None:
    """Return a time for the wire, None for none; refuses one that belongs to no time zone."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise refused(field, "has no time zone; give datetime(..., tzinfo=UTC)")
    message = Timestamp()
    message.FromDatetime(moment.astimezone(UTC))
    return message


def length_of(message: Message, name: str) -> timedelta | None:
    """Return the length of time in a field of a message; None when it is not set."""
    if not message.HasField(name):
        return None
    length: WireDuration = getattr(message, name)
    return length.ToTimedelta()


def duration(length: Duration | None, field: str) -> WireDuration | None:
    """Return a length of time for the wire; None leaves the field unset."""
    if length is None:
        return None
    seconds = in_seconds(length)
    if not abs(seconds) <= _LONGEST:  # nor is what is not a number
        raise refused(field, f"is {seconds} s; give a number of seconds, or a timedelta")
    return to_wire(seconds)


def whole(number: int, field: str, *, least: int = -_MOST) -> int:
    """Return a number that a message has room for; whether it makes sense the service says."""
    if least <= number <= _MOST:
        return number
    raise refused(field, f"is {number:,}; give {least:,} to {_MOST:,} at most")


def payload(value: object, what: str, field: str) -> str:
    """Return a value as JSON text; the error says `what` it was to be, and names its field."""
    try:
        return encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(
            f"the {what} cannot be sent as JSON: {error}",
            fields={field: f"must be JSON: {error}"},
        ) from error


def decoded(text: str) -> Any:
    """Return the value of JSON text; None for a field that was not set."""
    return decode(text) if text else None


def refused(field: str, mistake: str) -> ValidationError:
    """Return the error for one field that is wrong."""
    return ValidationError(f"the {field} {mistake}", fields={field: mistake})
