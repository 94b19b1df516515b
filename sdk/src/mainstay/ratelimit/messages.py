"""Makes the messages of calls, and names what does not fit into them."""

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from google.protobuf.descriptor import FieldDescriptor

from mainstay.errors import ValidationError

P = ParamSpec("P")
M = TypeVar("M")

_SHOWN = 40


def build(kind: Callable[P, M], *nothing: P.args, **fields: P.kwargs) -> M:
    """Return a message; raises ValidationError naming the field whose value has the wrong type."""
    try:
        return kind(*nothing, **fields)
    except TypeError as error:
        raise mistyped(kind, fields) or error from None


def mistyped(
    kind: Callable[..., object], fields: Mapping[str, Any], within: str = ""
) -> ValidationError | None:
    """Return the mistake of the first field that a message does not take alone; None for none."""
    for name, value in fields.items():
        try:
            kind(**{name: value})
        except TypeError:
            mistake = f"is {repr(value)[:_SHOWN]}, which is no {_expected(kind, name)}; give one"
            field = f"{within}{name}"
            return ValidationError(f"the {field} {mistake}", fields={field: mistake})
    return None


def _expected(kind: Any, name: str) -> str:
    found: FieldDescriptor = kind.DESCRIPTOR.fields_by_name[name]
    if found.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE and found.message_type is not None:
        return found.message_type.name
    return "str" if found.cpp_type == FieldDescriptor.CPPTYPE_STRING else "int"
