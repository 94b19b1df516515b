"""Requests of every kind, made from their descriptors: half of them grown from one that is good."""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from tests.property.messages.contract import Contract, is_map
from tests.property.messages.extremes import exemplars

DEEPEST = 5
_WORDS = st.sampled_from(
    [
        "",
        "*",
        "k",
        "user:1",
        "/api/chat",
        "a/b",
        "\x00",
        "{x}",
        "../..",
        "é",
        "%",
        "x" * 5_000,
        "email/send",
        "5/min",
        "0 3 * * *",
        "{}",
        "null",
        '{"type": "object"}',
        "-1",
        "default",
    ]
)
_TEXTS = st.one_of(_WORDS, st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
_EDGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-1, 12),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_DOUBLES = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}


def requests(contract: Contract) -> st.SearchStrategy[Message]:
    """Return requests of a method: made up, or a good one with made-up parts."""
    made = messages(contract.descriptor.input_type)
    return st.one_of(made, st.builds(_grown, st.sampled_from(exemplars(contract)), made))


def _grown(good: Message, made: Message) -> Message:
    grown = type(good)()
    grown.CopyFrom(good)
    grown.MergeFrom(made)
    return grown


def messages(kind: Descriptor, depth: int = 0) -> st.SearchStrategy[Message]:
    """Return messages of a kind, each with some of its fields."""
    fields = {field.name: _field(field, depth + 1) for field in kind.fields}
    if depth >= DEEPEST:
        fields = {}
    return st.fixed_dictionaries({}, optional=fields).map(lambda values: _message(kind, values))


def _message(kind: Descriptor, values: dict[str, Any]) -> Message:
    message = GetMessageClass(kind)()
    for name, value in values.items():
        field = kind.fields_by_name[name]
        if is_map(field):
            for key, each in value.items():
                if isinstance(each, Message):
                    getattr(message, name)[key].CopyFrom(each)
                else:
                    getattr(message, name)[key] = each
        elif field.is_repeated:
            getattr(message, name).extend(value)
        elif field.message_type is not None:
            getattr(message, name).CopyFrom(value)
        else:
            setattr(message, name, value)
    return message


def _field(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if is_map(field):
        assert field.message_type is not None
        values = _one(field.message_type.fields_by_name["value"], depth)
        return st.dictionaries(_TEXTS, values, max_size=3)
    return st.lists(_one(field, depth), max_size=3) if field.is_repeated else _one(field, depth)


def _one(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if (kind := field.message_type) is not None:
        return st.deferred(lambda: messages(kind, depth))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=40)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return _TEXTS
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type in _DOUBLES:
        return st.floats()
    least, most = _EDGES[field.cpp_type]
    return st.one_of(
        st.sampled_from([least, most]), st.integers(max(least, -1_000), min(most, 10**6))
    )
