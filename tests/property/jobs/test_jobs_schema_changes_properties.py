"""A version that breaks nothing takes every payload that the version before took."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.jobs.schema_changes import breaking_changes
from services.jobs.schemas import compiled

NAMES = st.sampled_from("abc")
SCALARS = st.sampled_from([None, True, False, 0, 1, 1.0, 2, 2.5, "", "x", "xy", "xyz"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
TYPES = st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"])
SIZES = st.integers(0, 3)


def schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return schemas over others."""
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
            "enum": st.lists(SCALARS, min_size=1, max_size=3),
            "const": SCALARS,
            "required": st.lists(NAMES, max_size=2, unique=True),
            # What was open may be declared later, which is no promise of this comparison.
            "additionalProperties": inner | st.just(False),
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b$"]), inner, max_size=1),
            "propertyNames": st.just({"enum": ["a", "b"]}),
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "contains": inner,
            "minContains": SIZES,
            "maxContains": SIZES,
            "minimum": SIZES,
            "maximum": SIZES,
            "exclusiveMinimum": SIZES,
            "minLength": SIZES,
            "maxLength": SIZES,
            "minItems": SIZES,
            "maxItems": SIZES,
            "uniqueItems": st.booleans(),
            "minProperties": SIZES,
            "maxProperties": SIZES,
            "multipleOf": st.integers(1, 2),
            "not": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "if": inner,
            "then": inner,
            "else": inner,
        },
    ).map(_closed)


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.keys() & {"properties", "patternProperties"}:
        return {"additionalProperties": False} | schema
    return schema


SCHEMAS = st.recursive(st.booleans() | schemas(st.booleans()), schemas, max_leaves=3)
DOCUMENTS = schemas(SCHEMAS)


@given(DOCUMENTS, st.data())
def test_takes_what_was_taken(before: dict[str, Any], data: st.DataObject) -> None:
    """No payload of before is refused, unless something was said to break."""
    after = data.draw(neighbours(before))
    payloads = data.draw(st.lists(VALUES, min_size=5, max_size=20))
    if breaking_changes(before, after):
        return
    was, now = compiled(before), compiled(after)

    lost = [each for each in payloads if was.is_valid(each) and not now.is_valid(each)]

    assert [] == lost


def neighbours(before: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return schemas that differ from one in a few keywords, or in all."""
    return st.one_of(
        DOCUMENTS,
        DOCUMENTS.map(lambda other: _closed({**before, **dict(list(other.items())[:2])})),
        st.sets(st.sampled_from(sorted(before) or [""]), max_size=2).map(
            lambda gone: {name: each for name, each in before.items() if name not in gone}
        ),
    )


@given(DOCUMENTS)
def test_itself(before: dict[str, Any]) -> None:
    """Whatever it is, the same again breaks nothing."""
    assert {} == breaking_changes(before, dict(before))
