"""JSON values as the types that a function asks for: models, dataclasses, or plain values."""

import inspect
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from mainstay.jobs.plain_json import is_model

Reader: TypeAlias = Callable[[Any, str], Any]
"""Takes a decoded value and the JSON pointer where it stands; returns it as its type."""


class MisfitError(Exception):
    """A value is not of its type; `pointer` says where, `expected` what would be."""

    def __init__(self, pointer: str, expected: str) -> None:
        super().__init__(f"{pointer or 'the whole'}: {expected}")
        self.pointer = pointer
        self.expected = expected


def reader_of(kind: Any) -> Reader:
    """Return what makes values of `kind` from decoded JSON; raises TypeError when nothing can."""
    return _Readers().of(kind)


def holds_models(kind: Any) -> bool:
    """Tell whether values of `kind` are something else than what JSON makes of them."""
    if inspect.isclass(kind):
        return is_model(kind) or is_dataclass(kind)
    return any(holds_models(part) for part in get_args(kind))


@dataclass(frozen=True, slots=True)
class _Member:
    """A field of a dataclass, and how its value is read."""

    field: Field[Any]
    read: Reader

    @property
    def required(self) -> bool:
        return self.field.default is MISSING and self.field.default_factory is MISSING


class _Readers:
    """Readers of the types that one type is made of; dataclasses may contain themselves."""

    def __init__(self) -> None:
        self._members: dict[type, list[_Member]] = {}

    def of(self, kind: Any) -> Reader:
        if kind in {Any, object, inspect.Parameter.empty}:
            return lambda value, _: value
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in {Union, types.UnionType}:
            return self._union(arguments)
        if origin is Literal:
            return _literal(arguments)
        if inspect.isclass(origin or kind):
            return self._of_class(origin or kind, arguments)
        raise TypeError(f"values of {kind!r} cannot be made from JSON")

    def _of_class(self, kind: type, arguments: tuple[Any, ...]) -> Reader:
        if is_model(kind):
            return _model(kind)
        if is_dataclass(kind):
            return self._dataclass(kind)
        if issubclass(kind, Enum):
            return _enum(kind)
        if kind in _SCALARS:
            return _SCALARS[kind]
        if issubclass(kind, Mapping):
            return self._mapping(kind, arguments)
        if issubclass(kind, Sequence) and not issubclass(kind, bytes):
            return self._sequence(kind, arguments)
        raise TypeError(f"values of {kind.__name__} cannot be made from JSON")

    def _union(self, kinds: tuple[Any, ...]) -> Reader:
        readers = [self.of(kind) for kind in kinds]

        def read(value: Any, pointer: str) -> Any:
            misfits = []
            for reader in readers:
                try:
                    return reader(value, pointer)
                except MisfitError as misfit:
                    misfits.append(misfit)
            # Of several alternatives the one that was left deepest is most likely the one meant.
            raise max(misfits, key=lambda misfit: misfit.pointer.count("/"))

        return read

    def _dataclass(self, kind: type) -> Reader:
        if kind not in self._members:
            members = self._members[kind] = []
            hints = get_type_hints(kind)
            members += [
                _Member(field, self.of(hints[field.name])) for field in fields(kind) if field.init
            ]
        members = self._members[kind]

        def read(value: Any, pointer: str) -> Any:
            if not isinstance(value, Mapping):
                raise MisfitError(pointer, "must be an object")
            given = {}
            for member in members:
                name = member.field.name
                if name in value:
                    given[name] = member.read(value[name], f"{pointer}/{_escaped(name)}")
                elif member.required:
                    raise MisfitError(f"{pointer}/{_escaped(name)}", "is missing")
            return _construct(kind, given, pointer)

        return read

    def _mapping(self, kind: type, arguments: tuple[Any, ...]) -> Reader:
        if arguments and arguments[0] not in {str, Any}:
            raise TypeError(f"the keys of {kind.__name__} cannot be {arguments[0]!r} in JSON")
        read_item = self.of(arguments[1] if arguments else Any)

        def read(value: Any, pointer: str) -> Any:
            if not isinstance(value, Mapping):
                raise MisfitError(pointer, "must be an object")
            return {
                key: read_item(item, f"{pointer}/{_escaped(key)}") for key, item in value.items()
            }

        return read

    def _sequence(self, kind: type, arguments: tuple[Any, ...]) -> Reader:
        if kind is tuple and arguments and arguments[-1] is not Ellipsis:
            return self._fixed_tuple(arguments)
        read_item = self.of(arguments[0] if arguments else Any)
        make = tuple if kind is tuple else list

        def read(value: Any, pointer: str) -> Any:
            if not isinstance(value, list):
                raise MisfitError(pointer, "must be an array")
            return make(read_item(item, f"{pointer}/{index}") for index, item in enumerate(value))

        return read

    def _fixed_tuple(self, kinds: tuple[Any, ...]) -> Reader:
        readers = [self.of(kind) for kind in kinds]

        def read(value: Any, pointer: str) -> Any:
            if not isinstance(value, list) or len(value) != len(readers):
                raise MisfitError(pointer, f"must be an array of {len(readers)}")
            items = enumerate(zip(readers, value, strict=True))
            return tuple(
                read_item(item, f"{pointer}/{index}") for index, (read_item, item) in items
            )

        return read


def _model(kind: Any) -> Reader:
    def read(value: Any, pointer: str) -> Any:
        try:
            return kind.model_validate(value)
        except _validation_errors() as error:
            first = error.errors()[0]
            below = "".join(f"/{_escaped(str(part))}" for part in first["loc"])
            raise MisfitError(pointer + below, first["msg"]) from error

    return read


def _validation_errors() -> Any:
    # Whoever brings a model has imported its library.
    pydantic = sys.modules.get("pydantic")
    return pydantic.ValidationError if pydantic else ()


def _literal(allowed: tuple[Any, ...]) -> Reader:
    names = ", ".join(repr(value) for value in allowed)

    def read(value: Any, pointer: str) -> Any:
        for choice in allowed:
            if type(choice) is type(value) and choice == value:
                return choice
        raise MisfitError(pointer, f"must be one of {names}")

    return read


def _enum(kind: type[Enum]) -> Reader:
    read_value = _literal(tuple(member.value for member in kind))
    return lambda value, pointer: kind(read_value(value, pointer))


def _construct(kind: type, given: Mapping[str, Any], pointer: str) -> Any:
    try:
        return kind(**given)
    except ValueError as error:
        raise MisfitError(pointer, str(error)) from error  # of its own __post_init__


def _escaped(name: str) -> str:
    """Return a member's name as a JSON pointer writes it (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _exactly(kind: type, expected: str) -> Reader:
    def read(value: Any, pointer: str) -> Any:
        if isinstance(value, kind):
            return value
        raise MisfitError(pointer, expected)

    return read


def _number(value: Any, pointer: str) -> float:
    # True is a number in Python, and none in JSON.
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise MisfitError(pointer, "must be a number")


def _integer(value: Any, pointer: str) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if whole and not isinstance(value, bool):
        return int(value)
    raise MisfitError(pointer, "must be an integer")


def _text(parse: Callable[[str], Any], expected: str) -> Reader:
    def read(value: Any, pointer: str) -> Any:
        try:
            return parse(value)
        except (AttributeError, TypeError, ValueError) as error:
            raise MisfitError(pointer, expected) from error

    return read


_SCALARS: dict[type, Reader] = {
    bool: _exactly(bool, "must be true or false"),
    str: _exactly(str, "must be a string"),
    type(None): _exactly(type(None), "must be null"),
    int: _integer,
    float: _number,
    datetime: _text(datetime.fromisoformat, "must be a time in ISO 8601"),
    date: _text(date.fromisoformat, "must be a day in ISO 8601"),
    UUID: _text(UUID, "must be a UUID"),
}
