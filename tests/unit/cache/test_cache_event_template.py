"""Templates of tags: read once, filled in for every event."""

from collections.abc import Mapping
from typing import cast

import pytest
from google.protobuf.struct_pb2 import Struct

from services.cache.event_template import DataError, EventTemplate, TemplateError


def rendered(text: str, **data: object) -> str:
    return EventTemplate.parse(text).render(data)


class TestParts:
    @pytest.mark.parametrize(
        ("text", "data", "tag"),
        [
            ("membership:{user_id}", {"user_id": "42"}, "membership:42"),
            ("plans", {}, "plans"),
            ("{a}{b}", {"a": "x", "b": "y"}, "xy"),
            ("{a}-{a}", {"a": "x"}, "x-x"),
            ("{video.owner.id}", {"video": {"owner": {"id": "7"}}}, "7"),
            ("{0}", {"0": "zero"}, "zero"),
            ("{{{a}}}", {"a": "x"}, "{x}"),
            ("{{a}}", {}, "{a}"),
            ("{a}", {"a": "{b}"}, "{b}"),
            ("€ {a}", {"a": "ü:%"}, "€ ü:%"),
        ],
    )
    def test_are_filled_in(self, text: str, data: dict[str, object], tag: str) -> None:
        """Once: what is filled in is not looked at again."""
        assert tag == EventTemplate.parse(text).render(data)

    @pytest.mark.parametrize(
        ("value", "tag"),
        [
            ("x", "x"),
            (42, "42"),
            (42.0, "42"),
            (-1.0, "-1"),
            (2.0**53, "9007199254740992"),
            (1.5, "1.5"),
            (True, "true"),
            (False, "false"),
        ],
    )
    def test_may_be_texts_numbers_and_booleans(self, value: object, tag: str) -> None:
        """A JSON number is a double: whole ones are written as whole numbers."""
        assert tag == rendered("{a}", a=value)

    def test_are_found_in_what_protobuf_carries(self) -> None:
        """The data of an event travel as a Struct."""
        data = Struct()
        data.update({"id": 42, "video": {"id": "v"}})

        mapping = cast("Mapping[str, object]", data)
        assert "42/v" == EventTemplate.parse("{id}/{video.id}").render(mapping)


class TestRefusedData:
    @pytest.mark.parametrize(
        ("text", "data", "path", "fault"),
        [
            ("{a}", {}, "a", "is missing; send it"),
            ("{a.b}", {"a": {}}, "a.b", "is missing"),
            ("{a.b}", {"a": "text"}, "a.b", "is missing"),
            ("{a.b}", {"a.b": "flat"}, "a.b", "is missing"),
            ("{a}", {"a": None}, "a", "is neither a string nor a number nor a boolean"),
            ("{a}", {"a": ["x"]}, "a", "is neither a string nor a number nor a boolean"),
            ("{a}", {"a": {"b": "x"}}, "a", "is neither a string nor a number nor a boolean"),
            ("{a}", {"a": float("nan")}, "a", "is neither a string nor a number nor a boolean"),
            ("{a}", {"a": float("inf")}, "a", "is neither a string nor a number nor a boolean"),
            ("x:{a}", {"a": ""}, "a", "is empty"),
            ("{a}", {"a": 2.0**54}, "a", "is a number above 9007199254740992"),
            ("{a}", {"a": "x\ny"}, "a", "contains the control character"),
            ("{a}", {"a": "x" * 129}, "a", "has 129 bytes"),
        ],
    )
    def test_name_the_part(self, text: str, data: dict[str, object], path: str, fault: str) -> None:
        """Whoever sent the event learns which part to correct."""
        with pytest.raises(DataError, match=fault) as caught:
            EventTemplate.parse(text).render(data)

        assert path == caught.value.path


class TestRefusedTemplates:
    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("", "makes no tag"),
            ("{}", "has '' in braces"),
            ("{a b}", "has 'a b' in braces"),
            ("{a.}", "in braces"),
            ("{.a}", "in braces"),
            ("{a!r}", "in braces"),
            ("{a[0]}", "in braces"),
            ("{a", "has a single {"),
            ("a}", "has a single }"),
            ("{{a}", "has a single }"),
            ("{a{b}}", "has a single {"),
            ("a\x07", "control character"),
            ("x" * 200, "has 200 bytes"),
        ],
    )
    def test_say_why(self, text: str, fault: str) -> None:
        """The policy file is refused with the template's line, not the event that meets it."""
        with pytest.raises(TemplateError) as caught:
            EventTemplate.parse(text)

        assert fault in str(caught.value)
