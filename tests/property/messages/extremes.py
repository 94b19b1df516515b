"""For every field values that nobody means: as long as can be, and at the ends of their types."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.property.messages.contract import Contract, Path, dotted, is_map, paths
from tests.property.messages.exemplars import EXEMPLARS

# With what is around them below the 4 MiB that a message may have.
LONG = 3_900_000
MANY = 200_000
DEEP = 25

_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (2**31 - 1, -(2**31)),
    FieldDescriptor.CPPTYPE_UINT32: (2**32 - 1,),
    FieldDescriptor.CPPTYPE_INT64: (2**63 - 1, -(2**63)),
    FieldDescriptor.CPPTYPE_UINT64: (2**64 - 1,),
    FieldDescriptor.CPPTYPE_ENUM: (2**31 - 1, -1),
}
_FLOATS = (math.inf, -math.inf, math.nan, 1.7e308)
_TIMES = (2**63 - 1, -(2**63), 315_576_000_000, -1)
_NANOS = (2**31 - 1, -(2**31))
_TIMED = {"google.protobuf.Duration", "google.protobuf.Timestamp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extreme:
    """A request with one field that is out of all proportion.

    Attributes:
        field: The way to the field, with dots.
        what: What its value is.
        large: Whether the value is large, which has to be refused; otherwise it is odd.
        request: All of it.

    """

    field: str
    what: str
    large: bool
    request: Message


def exemplars(contract: Contract) -> list[Message]:
    """Return the requests that are good enough to be looked at whole."""
    return [
        json_format.ParseDict(dict(each), contract.request()) for each in EXEMPLARS[contract.name]
    ]


def extremes(contract: Contract) -> Iterator[Extreme]:
    """Yield all of a method."""
    for path in paths(contract):
        for what, large, put in _values(path[-1]):
            request = _template(contract, path)
            put(_holder(request, path), path[-1])
            yield Extreme(field=dotted(path), what=what, large=large, request=request)


def _template(contract: Contract, path: Path) -> Message:
    """Return a copy of the exemplar that reaches furthest down the path."""
    known = exemplars(contract)
    best = max(known, key=lambda each: _depth(each, path))
    copy = contract.request()
    copy.CopyFrom(best)
    return copy


def _depth(message: Message, path: Path) -> tuple[int, bool]:
    for depth, field in enumerate(path[:-1]):
        if field.is_repeated:
            held = getattr(message, field.name)
            if not held:
                return depth, False
            message = held[0]
        elif message.HasField(field.name):
            message = getattr(message, field.name)
        else:
            return depth, False
    # A field that the exemplar has is one that belongs beside the rest of it.
    return len(path), path[-1] in {field for field, _ in message.ListFields()}


def _holder(message: Message, path: Path) -> Message:
    for field in path[:-1]:
        held: Any = getattr(message, field.name)
        if field.is_repeated:
            message = held[0] if held else held.add()
        else:
            held.SetInParent()
            message = held
    return message


Value = tuple[str, bool, "Any"]


def _values(field: FieldDescriptor) -> Iterator[Value]:
    """Yield what is put in: its name, whether it is large, and a function that does it."""
    if is_map(field):
        yield f"{MANY} entries", True, _many_entries
    elif field.is_repeated:
        yield f"{MANY} of them", True, _many
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            yield "one very long", True, lambda held, of: getattr(held, of.name).append(_long(of))
        elif field.message_type is None:
            yield from _odd(field, lambda held, of, value: getattr(held, of.name).append(value))
    elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        yield "very long", True, lambda held, of: setattr(held, of.name, _long(of))
    elif field.message_type is not None:
        yield from _message(field.message_type.full_name)
    else:
        yield from _odd(field, lambda held, of, value: setattr(held, of.name, value))


def _odd(field: FieldDescriptor, put: Any) -> Iterator[Value]:
    values = (
        _FLOATS
        if field.cpp_type in {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}
        else _INTEGERS.get(field.cpp_type, ())
    )
    for value in values:
        yield str(value), False, lambda held, of, value=value: put(held, of, value)


def _message(name: str) -> Iterator[Value]:
    if name in _TIMED:
        for part, values in (("seconds", _TIMES), ("nanos", _NANOS)):
            for value in values:
                yield (
                    f"{part} {value}",
                    False,
                    lambda held, of, part=part, value=value: setattr(_made(held, of), part, value),
                )
    elif name == "google.protobuf.Struct":
        yield "very long", True, lambda held, of: _made(held, of).update({"x": "x" * LONG})
        yield (
            f"{MANY // 2} members",
            True,
            lambda held, of: _made(held, of).update(
                {f"{number}": None for number in range(MANY // 2)}
            ),
        )
        yield f"{DEEP} deep", False, lambda held, of: _made(held, of).update(_nested())
        yield "no number", False, lambda held, of: _made(held, of).update({"x": math.nan})


def _nested() -> Mapping[str, Any]:
    nested: Mapping[str, Any] = {}
    for _ in range(DEEP):
        nested = {"x": nested}
    return nested


def _made(holder: Message, field: FieldDescriptor) -> Any:
    made = getattr(holder, field.name)
    made.SetInParent()
    return made


def _long(field: FieldDescriptor) -> str | bytes:
    return b"x" * LONG if field.type == FieldDescriptor.TYPE_BYTES else "x" * LONG


def _many(holder: Message, field: FieldDescriptor) -> None:
    held = getattr(holder, field.name)
    if field.message_type is None:
        of = {FieldDescriptor.TYPE_STRING: "x", FieldDescriptor.TYPE_BYTES: b"x"}
        held.extend([of.get(field.type, 1)] * MANY)
        return
    one = held[0] if held else GetMessageClass(field.message_type)()
    held.extend([one] * min(MANY, LONG // (one.ByteSize() + 8)))


def _many_entries(holder: Message, field: FieldDescriptor) -> None:
    held = getattr(holder, field.name)
    assert field.message_type is not None
    text = field.message_type.fields_by_name["value"].cpp_type == FieldDescriptor.CPPTYPE_STRING
    for number in range(MANY):
        if text:
            held[str(number)] = "x"
        else:
            held[str(number)].SetInParent()
