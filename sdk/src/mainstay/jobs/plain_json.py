"""Models and dataclasses as what JSON has.

pydantic is not needed and not imported: a model is whatever has its methods.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from enum import Enum
from typing import Any
from uuid import UUID


def is_model(kind: type) -> bool:
    """Tell whether a class is a pydantic model, or like one."""
    return hasattr(kind, "model_validate") and hasattr(kind, "model_dump")


def plain(value: object) -> object:
    """Return what JSON can hold of a model or a dataclass; raises TypeError for anything else."""
    if is_model(type(value)) or (is_dataclass(value) and not isinstance(value, type)):
        return _member(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


def _member(value: Any) -> Any:
    """Return what JSON can hold of something within a dataclass; the rest as it is."""
    match value:
        case _ if is_model(type(value)):
            value = value.model_dump(mode="json")
        case _ if is_dataclass(value) and not isinstance(value, type):
            value = {each.name: _member(getattr(value, each.name)) for each in fields(value)}
        case Enum():
            value = value.value
        case date():  # and datetime, which is one
            value = value.isoformat()
        case UUID():
            value = str(value)
        case list() | tuple():
            value = [_member(item) for item in value]
        case Mapping():
            value = {key: _member(item) for key, item in value.items()}
    return value
