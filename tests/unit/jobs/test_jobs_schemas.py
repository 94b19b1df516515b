"""The contracts of events and the files they come from."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from mainstay.errors import ConfigurationError
from services.jobs.schemas import EventSchemas, load_schemas

EVENTS = Path(__file__).parents[3] / "policies" / "events"
VIDEO = {
    "video_id": "v",
    "creator_id": "c",
    "source_url": "https://media.example.com/v.mp4",
    "duration_seconds": 10,
}
QUIZ = {"quiz_id": "q", "video_id": "v", "requested_by": "u"}
EMAIL = {"to": ["someone@example.com"], "template": "welcome"}
DAY = {"date": "2026-10-01"}
MEMBER = {"user_id": "u", "plan": "pro", "status": "active"}
PAYLOADS: dict[str, dict[str, Any]] = {
    "video/upload.completed": VIDEO,
    "quiz/generation.requested": QUIZ,
    "email/send": EMAIL,
    "analytics/daily.aggregate": DAY,
    "membership/updated": MEMBER,
}


@pytest.fixture(scope="module")
def schemas() -> EventSchemas:
    """Load the contracts that are delivered."""
    return load_schemas(EVENTS)


def without(payload: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the payload without a property."""
    return {key: value for key, value in payload.items() if key != name}


class TestDeliveredSchemas:
    def test_names(self, schemas: EventSchemas) -> None:
        """The five events of the requirements have a contract."""
        assert sorted(PAYLOADS) == schemas.names

    @pytest.mark.parametrize("name", PAYLOADS)
    def test_good_payload(self, schemas: EventSchemas, name: str) -> None:
        """A payload with what is required fits."""
        schema = schemas.find(name, 1)

        assert schema is not None
        assert schema.mistakes(PAYLOADS[name]) == {}

    @pytest.mark.parametrize(
        ("name", "payload", "pointer", "right"),
        [
            ("video/upload.completed", without(VIDEO, "video_id"), "/video_id", "required"),
            (
                "video/upload.completed",
                VIDEO | {"duration_seconds": 0},
                "/duration_seconds",
                "minimum of 0",
            ),
            (
                "video/upload.completed",
                VIDEO | {"duration_seconds": "10"},
                "/duration_seconds",
                'not of type "number"',
            ),
            ("video/upload.completed", VIDEO | {"source_url": "no"}, "/source_url", "uri"),
            ("video/upload.completed", VIDEO | {"language": "english!"}, "/language", "match"),
            ("video/upload.completed", VIDEO | {"a~/b": 1}, "/a~0~1b", "not part of the schema"),
            (
                "quiz/generation.requested",
                QUIZ | {"question_count": 51},
                "/question_count",
                "maximum of 50",
            ),
            ("quiz/generation.requested", QUIZ | {"topics": ["a", ""]}, "/topics/1", "shorter"),
            ("email/send", EMAIL | {"to": []}, "/to", "less than 1 item"),
            ("email/send", EMAIL | {"to": ["nobody"]}, "/to/0", "email"),
            ("email/send", EMAIL | {"variables": {"x": [1]}}, "/variables/x", "not of types"),
            ("analytics/daily.aggregate", {"date": "1 October"}, "/date", "date"),
            ("analytics/daily.aggregate", DAY | {"metrics": ["x"]}, "/metrics/0", "not one of"),
            ("membership/updated", MEMBER | {"plan": "gold"}, "/plan", "not one of"),
            ("membership/updated", [], "", 'not of type "object"'),
        ],
    )
    def test_broken_payload(
        self, schemas: EventSchemas, name: str, payload: Any, pointer: str, right: str
    ) -> None:
        """What breaks a contract is named by its JSON pointer, with what would be right."""
        schema = schemas.find(name, 0)

        assert schema is not None
        mistakes = schema.mistakes(payload)
        assert [pointer] == list(mistakes)
        assert right in mistakes[pointer]

    def test_all_mistakes_at_once(self, schemas: EventSchemas) -> None:
        """Every mistake is told, not only the first."""
        schema = schemas.find("quiz/generation.requested", 0)

        assert schema is not None
        assert list(schema.mistakes({"difficulty": "x"})) == [
            "/difficulty",
            "/quiz_id",
            "/requested_by",
            "/video_id",
        ]

    def test_values_stay_out(self, schemas: EventSchemas) -> None:
        """A payload's values are not repeated in what is said about it."""
        schema = schemas.find("email/send", 0)

        assert schema is not None
        mistakes = schema.mistakes({"to": ["my secret"], "template": "ANOTHER SECRET"})
        assert "secret" not in str(mistakes).lower()

    def test_depth(self, schemas: EventSchemas) -> None:
        """A payload nested beyond measure is a mistake, not a crash."""
        deep: dict[str, Any] = {}
        for _ in range(500):
            deep = {"x": deep}
        schema = schemas.find("email/send", 0)

        assert schema is not None
        assert schema.mistakes(deep) == {"": "nested too deeply"}


def schema_text(**changes: Any) -> bytes:
    """Return a schema file, correct but for the changes."""
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "x-mainstay-event": "order/paid",
        "x-mainstay-version": 1,
        "type": "object",
    }
    return orjson.dumps(document | changes)


class TestLoading:
    def test_versions(self, tmp_path: Path) -> None:
        """Version 0 is the newest; others are found by number."""
        (tmp_path / "order.paid.v1.json").write_bytes(schema_text())
        (tmp_path / "order.paid.v2.json").write_bytes(schema_text(**{"x-mainstay-version": 2}))
        loaded = load_schemas(tmp_path)

        found = [loaded.find("order/paid", version) for version in (0, 1, 2, 3)]

        assert [2, 1, 2, None] == [schema and schema.version for schema in found]

    @pytest.mark.parametrize(
        ("content", "mistake"),
        [
            (b"{", "order.paid.v1.json: "),
            (b"[]", "must be an object"),
            (schema_text(**{"$schema": "http://json-schema.org/draft-07/schema#"}), "$schema"),
            (schema_text(**{"x-mainstay-event": "Order"}), "x-mainstay-event"),
            (schema_text(**{"x-mainstay-event": "order/sent"}), "must be called order.sent.v1"),
            (schema_text(**{"x-mainstay-version": 0}), "x-mainstay-version"),
            (schema_text(**{"x-mainstay-version": True}), "x-mainstay-version"),
            (schema_text(type="string"), '"type": "object"'),
            (schema_text(properties={"a": {"type": "text"}}), "v1.json/properties/a/type: "),
            (schema_text(properties={"a": {"pattern": "("}}), "v1.json/properties/a/pattern: "),
            # A pattern that could take forever: only those with a linear bound are taken.
            (schema_text(properties={"a": {"pattern": r"(?=a)\\1"}}), "/properties/a/pattern: "),
            (schema_text(properties={"a": {"format": "phone"}}), "phone"),
            (schema_text(properties={"a": {"$ref": "#/$defs/none"}}), "/$defs/none"),
            (schema_text(properties={"a": {"$ref": "https://example.com/x"}}), "disabled"),
        ],
    )
    def test_broken_file(self, tmp_path: Path, content: bytes, mistake: str) -> None:
        """A broken schema is refused, whole, with the file and the mistake."""
        (tmp_path / "order.paid.v1.json").write_bytes(content)

        with pytest.raises(ConfigurationError) as caught:
            load_schemas(tmp_path)

        assert "order.paid.v1.json" in caught.value.message
        assert mistake in caught.value.message

    def test_every_broken_file(self, tmp_path: Path) -> None:
        """All broken files are listed at once."""
        (tmp_path / "a.v1.json").write_bytes(b"{")
        (tmp_path / "b.v1.json").write_bytes(b"[]")

        with pytest.raises(ConfigurationError) as caught:
            load_schemas(tmp_path)

        assert "a.v1.json" in caught.value.message
        assert "b.v1.json" in caught.value.message

    def test_empty_folder(self, tmp_path: Path) -> None:
        """A folder without schemas is a mistake in the settings."""
        with pytest.raises(ConfigurationError, match="MAINSTAY_POLICIES_DIR"):
            load_schemas(tmp_path)
