"""Templates of the tags that an event makes stale, such as `membership:{user_id}`.

A part in braces is taken from the event's data; a name with dots, such as `{video.id}`, from an
object inside it. A brace that is meant stands there twice.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from services.cache.limits import tag_fault

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
# Numbers come as doubles, which are exact as whole numbers up to here.
_MAX_WHOLE = 2**53
_NO_SCALAR = "is neither a string nor a number nor a boolean; send one of them"


class TemplateError(ValueError):
    """The template is none; its text says why."""


class DataError(ValueError):
    """The data lack a part, or have one that fits into no tag; `path` names it."""

    def __init__(self, path: str, fault: str) -> None:
        super().__init__(fault)
        self.path = path


class _Part(NamedTuple):
    """A part of a template: text as it is, or the name of a part of the data."""

    text: str
    is_name: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTemplate:
    """A template as it stands in the policy file, and its parts."""

    text: str
    parts: tuple[_Part, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a template; raises TemplateError."""
        parts = tuple(map(_part, _TOKEN.finditer(text)))
        sample = "".join("x" if part.is_name else part.text for part in parts)
        if fault := tag_fault(sample):
            raise TemplateError(f"makes no tag: it {fault}")
        return cls(text=text, parts=parts)

    def render(self, data: Mapping[str, object]) -> str:
        """Return the tag for an event's data; raises DataError."""
        tag = "".join(_value(part.text, data) if part.is_name else part.text for part in self.parts)
        if fault := tag_fault(tag):
            named = next((part.text for part in self.parts if part.is_name), "")
            raise DataError(named, f"makes no tag of {self.text}: it {fault}")
        return tag


def _part(token: re.Match[str]) -> _Part:
    name = token[1]
    if name is not None:
        if not _NAME.fullmatch(name):
            raise TemplateError(
                f"has {name[:40]!r} in braces; write letters, digits, _ and dots, or double the "
                "braces to have them in the tag"
            )
        return _Part(name, is_name=True)
    match token[0]:
        case "{{" | "}}":
            return _Part(token[0][0], is_name=False)
        case "{" | "}":
            raise TemplateError(f"has a single {token[0]}; close it, or double it to have it in it")
        case text:
            return _Part(text, is_name=False)


def _value(path: str, data: Mapping[str, object]) -> str:
    found: object = data
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            raise DataError(path, "is missing; send it, for the tags of this event are made of it")
        try:
            found = found[name]
        except ValueError:
            # A mapping that came over the wire may hold a value that is of no kind at all.
            raise DataError(path, _NO_SCALAR) from None
    match found:
        case bool():
            return "true" if found else "false"
        case str() if found:
            return found
        case str():
            raise DataError(path, "is empty; send what the tags of this event are made of")
        case int() | float() if math.isfinite(found):
            return _number(path, found)
        case _:
            raise DataError(path, _NO_SCALAR)


def _number(path: str, number: float) -> str:
    if number != int(number):
        return repr(number)
    if abs(number) > _MAX_WHOLE:
        # What was meant cannot be known any more: the neighbour's entries would be hit.
        raise DataError(path, f"is a number above {_MAX_WHOLE}; write it as a string")
    return str(int(number))
