"""Whether a new version of a contract takes what the one before took."""

from typing import Any

import pytest

from services.jobs.schema_changes import breaking_changes

BASE: dict[str, Any] = {
    "type": "object",
    "required": ["id"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "maxLength": 100},
        "plan": {"enum": ["basic", "pro"]},
        "size": {"type": ["integer", "null"], "minimum": 1},
        "tags": {"type": "array", "items": {"type": "string"}},
        "owner": {"type": "object", "required": ["name"], "properties": {"name": {}}},
    },
}


def changed(**properties: Any) -> dict[str, Any]:
    """Return the contract with other properties; None takes one away."""
    merged = BASE["properties"] | properties
    return BASE | {"properties": {name: each for name, each in merged.items() if each is not None}}


WIDER = [
    BASE,
    BASE | {"title": "told otherwise", "description": "x"},
    BASE | {"required": []},
    BASE | {"additionalProperties": True},
    {key: value for key, value in BASE.items() if key != "additionalProperties"},
    {"type": "object"},
    changed(colour={"type": "string"}),
    changed(plan={"enum": ["basic", "pro", "gold"]}),
    changed(plan={"type": "string"}),
    changed(size={"type": ["number", "null"]}),
    changed(size={"type": ["integer", "null"], "minimum": 0}),
    changed(id={"type": "string", "maxLength": 101}),
    changed(tags={"type": "array", "items": {"type": ["string", "number"]}}),
    changed(owner={"type": "object"}),
]
NARROWER = [
    (BASE | {"required": ["id", "plan"]}, "/required", "plan was not required"),
    (changed(plan=None), "/additionalProperties", "plan was declared"),
    (changed(plan={"enum": ["pro"]}), "/properties/plan/enum", "value of before"),
    (changed(plan={"const": "pro"}), "/properties/plan/const", "cannot be compared"),
    (changed(id={"type": "number"}), "/properties/id/type", "no longer takes string"),
    (changed(id={"type": "string"} | {"maxLength": 99}), "/properties/id/maxLength", "lower"),
    (changed(id={"type": "string", "minLength": 1}), "/properties/id/minLength", "higher"),
    (changed(id={"type": "string", "pattern": "^v"}), "/properties/id/pattern", "new"),
    (changed(id={"type": "string", "format": "uri"}), "/properties/id/format", "new"),
    (changed(id=False), "/properties/id", "takes nothing"),
    (changed(size={"type": "integer", "minimum": 1}), "/properties/size/type", "null"),
    (
        changed(size={"minimum": 1, "type": ["integer", "null"], "maximum": 9}),
        "/properties/size/maximum",
        "lower",
    ),
    (changed(tags={"items": {"type": "number"}}), "/properties/tags/items/type", "string"),
    (
        changed(tags={"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
        "/properties/tags/uniqueItems",
        "new",
    ),
    (
        changed(owner={"type": "object", "required": ["name", "age"], "properties": {"name": {}}}),
        "/properties/owner/required",
        "age was not required",
    ),
    (
        changed(owner={"additionalProperties": False, "properties": {"name": {}}}),
        "/properties/owner/additionalProperties",
        "takes nothing",
    ),
    (BASE | {"not": {"required": ["plan"]}}, "/not", "cannot be compared"),
    (BASE | {"anyOf": [{"required": ["plan"]}]}, "/anyOf", "cannot be compared"),
    (BASE | {"minProperties": 2}, "/minProperties", "higher"),
]


class TestChanges:
    @pytest.mark.parametrize("after", WIDER)
    def test_wider(self, after: dict[str, Any]) -> None:
        """What takes all that was taken before breaks nothing."""
        assert {} == breaking_changes(BASE, after)

    @pytest.mark.parametrize(("after", "pointer", "why"), NARROWER)
    def test_narrower(self, after: dict[str, Any], pointer: str, why: str) -> None:
        """What may refuse something is told by its JSON pointer."""
        found = breaking_changes(BASE, after)

        assert [pointer] == list(found)
        assert why in found[pointer]

    def test_numbers_are_no_truths(self) -> None:
        """In JSON 1 is not true, whatever Python says."""
        found = breaking_changes({"enum": [1]}, {"enum": [True]})

        assert ["/enum"] == list(found)

    def test_pattern_properties(self) -> None:
        """Properties that a pattern had declared are not forgotten."""
        before = {"patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": False}

        gone = breaking_changes(before, {"additionalProperties": False})
        declared = breaking_changes(before, before | {"properties": {"x-a": {"type": "number"}}})

        assert ["/additionalProperties"] == list(gone)
        assert ["/properties/x-a"] == list(declared)

    def test_references(self) -> None:
        """What is referred to is compared where it is defined."""
        before = {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string", "maxLength": 5}}}

        narrower = before | {"$defs": {"a": {"type": "string", "maxLength": 4}}}
        wider = before | {"$defs": {"a": {"type": "string"}}}

        assert ["/$defs/a/maxLength"] == list(breaking_changes(before, narrower))
        assert {} == breaking_changes(before, wider)

    def test_contrary(self) -> None:
        """What is wider under a `not` may be narrower as a whole, so it is not compared."""
        before = {"not": {"$ref": "#/$defs/a"}, "$defs": {"a": {"enum": [1]}}}

        found = breaking_changes(before, before | {"$defs": {"a": {"enum": [1, 2]}}})

        assert "cannot be compared" in found[""]
