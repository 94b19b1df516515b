"""Whether a new version of a contract takes what the version before took.

Not every contract can be compared. Of keywords that combine others (`anyOf`, `if`, …) only those
count as the same that are spelled the same; what cannot be told counts as breaking. Properties that
the version before did not declare are nobody's yet, also where it let everything pass: a new
version may declare them.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from services.jobs.schemas import pointer_to

Document = Mapping[str, Any]
Path = tuple[str | int, ...]
Mistake = tuple[Path, str]

_ANNOTATIONS = frozenset(
    {
        "$schema",
        "$comment",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "x-mainstay-event",
        "x-mainstay-version",
    }
)
_LOWER_BOUNDS = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_UPPER_BOUNDS = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_CONTAINS = ("contains", "minContains", "maxContains")
_REFERENCES = frozenset({"$ref", "$dynamicRef"})
_CONTRARY = frozenset({"not", "oneOf", "if", "contains"})
_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})


def breaking_changes(before: Document, after: Document) -> dict[str, str]:
    """Return what a payload of before may fail of: JSON pointer into the new schema → why."""
    if _same(before, after):
        return {}
    used = set(_keywords(after))
    if used & _REFERENCES and used & _CONTRARY:
        # What is referred to may have become wider, and what says "not" of it narrower by that.
        contrary = ", ".join(sorted(used & _CONTRARY))
        return {"": f"cannot be compared, as references stand beside {contrary}"}
    return {pointer_to(path): why for path, why in _compared(before, after, ())}


def _keywords(schema: Any) -> Iterator[str]:
    match schema:
        case dict():
            for keyword, value in schema.items():
                yield keyword
                yield from _keywords(value)
        case list():
            for value in schema:
                yield from _keywords(value)


def _same(one: Any, other: Any) -> bool:
    # In JSON, unlike in Python, true is not 1.
    return _text(one) == _text(other)


def _text(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _compared(before: Any, after: Any, path: Path) -> Iterator[Mistake]:
    if after is True or before is False or _same(before, after):
        return
    if after is False:
        yield path, "takes nothing any more"
    else:
        yield from _compared_objects({} if before is True else before, after, path)


def _compared_objects(before: Document, after: Document, path: Path) -> Iterator[Mistake]:
    for keyword in sorted(after.keys() - _ANNOTATIONS):
        rule = _RULES.get(keyword, _unequal)
        yield from rule(keyword, before, after, (*path, keyword))
    yield from _no_longer_declared(before, after, path)


_NAMES = {
    bool: "boolean",
    dict: "object",
    float: "number",
    int: "integer",
    list: "array",
    str: "string",
    type(None): "null",
}
Rule = Callable[[str, Document, Document, Path], Iterator[Mistake]]


def _unequal(keyword: str, before: Document, after: Document, path: Path) -> Iterator[Mistake]:
    if keyword not in before or not _same(before[keyword], after[keyword]):
        yield path, "is new or other than before, and cannot be compared"


def _incomparable(*rule: Any) -> Iterator[Mistake]:
    yield rule[-1], "cannot be compared where something else has changed"


def _contains(_keyword: str, before: Document, after: Document, path: Path) -> Iterator[Mistake]:
    if any(not _same(before.get(part), after.get(part)) for part in _CONTAINS):
        yield path, "is new or other than before, and cannot be compared"


def _items(keyword: str, before: Document, after: Document, path: Path) -> Iterator[Mistake]:
    if not _same(before.get("prefixItems"), after.get("prefixItems")):
        yield path, "cannot be compared, as prefixItems are other than before"
    else:
        yield from _subschema(keyword, before, after, path)


def _lower(keyword: str, before: Document, after: Document, path: Path) -> Iterator[Mistake]:
    if keyword not in before or before[keyword] < after[keyword]:
        yield path, "is higher than before"


def _upper(keyword: str, before: Document, after: Document, path: Path) -> Iterator[Mistake]:
    if keyword not in before or before[keyword] > after[keyword]:
        yield path, "is lower than before"


def _type(keyword: str, before: Document, after: Document, path: Path) -> Iterator[Mistake]:
    if lost := _types_of(before) - _taken_types(after[keyword]):
        yield path, f"no longer takes {', '.join(sorted(lost))}"


def _types_of(schema: Document) -> frozenset[str]:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is None:
        return _taken_types(schema.get("type"))
    return frozenset(_NAMES[type(value)] for value in values)


def _taken_types(types: Any) -> frozenset[str]:
    if types is None:
        return _TYPES
    named = frozenset([types] if isinstance(types, str) else types)
    return named | {"integer"} if "number" in named else named


def _enum(keyword: str, before: Document, after: Document, path: Path) -> Iterator[Mistake]:
    values = [before["const"]] if "const" in before else before.get(keyword)
    if values is None:
        yield path, "is new"
    elif {*map(_text, values)} - {*map(_text, after[keyword])}:
        yield path, "no longer takes a value of before"


def _required(keyword: str, before: Document, after: Document, path: Path) -> Iterator[Mistake]:
    for name in sorted(set(after[keyword]) - set(before.get(keyword, ()))):
        yield path, f"{name} was not required"


def _properties(keyword: str, before: Document, after: Document, path: Path) -> Iterator[Mistake]:
    known = before.get(keyword, {})
    for name, schema in after[keyword].items():
        if name in known:
            yield from _compared(known[name], schema, (*path, name))
        elif "patternProperties" in before:
            yield (*path, name), "cannot be compared, as patternProperties may have declared it"
        elif isinstance(before.get("additionalProperties"), dict):
            yield from _compared(before["additionalProperties"], schema, (*path, name))


def _definitions(keyword: str, before: Document, after: Document, path: Path) -> Iterator[Mistake]:
    known = before.get(keyword, {})
    for name, schema in after[keyword].items():
        # What is new here matters only where it is referred to, and that is a change too.
        if name in known:
            yield from _compared(known[name], schema, (*path, name))


def _subschema(keyword: str, before: Document, after: Document, path: Path) -> Iterator[Mistake]:
    yield from _compared(before.get(keyword, True), after[keyword], path)


def _unique(keyword: str, before: Document, after: Document, path: Path) -> Iterator[Mistake]:
    if after[keyword] and not before.get(keyword, False):
        yield path, "is new"


def _no_longer_declared(before: Document, after: Document, path: Path) -> Iterator[Mistake]:
    """Tell of properties that were declared and now are surplus."""
    rest = after.get("additionalProperties", True)
    if rest is True:
        return
    if "patternProperties" in before and "patternProperties" not in after:
        yield (*path, "additionalProperties"), "patternProperties were declared before"
    for name in before.get("properties", {}).keys() - after.get("properties", {}).keys():
        why = f"{name} was declared before"
        if rest is False:
            yield (*path, "additionalProperties"), why
        else:
            yield from _compared(before["properties"][name], rest, (*path, "additionalProperties"))


_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_LOWER_BOUNDS, _lower),
    **dict.fromkeys(_UPPER_BOUNDS, _upper),
    "type": _type,
    "enum": _enum,
    "required": _required,
    "properties": _properties,
    "$defs": _definitions,
    "definitions": _definitions,
    "additionalProperties": _subschema,
    "items": _items,
    **dict.fromkeys(_CONTAINS, _contains),
    "unevaluatedProperties": _incomparable,
    "unevaluatedItems": _incomparable,
    "propertyNames": _subschema,
    "uniqueItems": _unique,
}
