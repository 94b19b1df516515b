"""The policy file: read whole, or refused whole with every mistake and its line."""

from pathlib import Path

import pytest

from mainstay.errors import ConfigurationError
from services.cache.policy_file import parse_policy

MINUTE = 60_000
SHIPPED = Path(__file__).parents[3] / "policies" / "cache.yaml"


class TestShippedPolicy:
    def test_holds_the_classes_of_the_platform(self) -> None:
        """Row C2: each kind of data has its lifetime."""
        policy = parse_policy(SHIPPED.read_text(encoding="utf-8"), "cache.yaml")

        assert {
            "user_plan": 5 * MINUTE,
            "video_metadata": 60 * MINUTE,
            "chat_context": 10 * MINUTE,
            "creator_settings": 30 * MINUTE,
            "ai_embeddings": None,
            "analytics": 15 * MINUTE,
            "general": 10 * MINUTE,
        } == {name: found.ttl_ms for name, found in policy.classes.items()}
        assert policy.default is policy.classes["general"]


class TestUnits:
    @pytest.mark.parametrize(
        ("ttl", "expected"),
        [
            ("1ms", 1),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("366d", 366 * 86_400_000),
            ("'5m'", 300_000),
            ("permanent", None),
        ],
    )
    def test_a_ttl_is_a_number_with_a_unit(self, ttl: str, expected: int | None) -> None:
        """Every unit, both ends of the range, and no end at all."""
        policy = parse_policy(f"default: a\nclasses:\n  a: {{ttl: {ttl}}}\n", "cache.yaml")

        assert expected == policy.default.ttl_ms


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            pytest.param("", "line 1: the file is not a mapping", id="empty"),
            pytest.param("- a\n", "line 1: the file is not a mapping", id="list"),
            pytest.param("default: [\n", "line 2: the file is not YAML", id="no yaml"),
            pytest.param("a: \x00", "not YAML", id="control character"),
            pytest.param("default: a\n", "line 1: classes is missing", id="no classes"),
            pytest.param("classes: {}\n", "line 1: default is missing", id="no default"),
            pytest.param(
                "classes: {a: {ttl: 5m}}\ndefault: b\n",
                "line 2: default names no class of this file; known are a",
                id="default unknown",
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: 5m}\n  b: 5m\n",
                "line 4: classes.b is not a mapping",
                id="class without fields",
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {}\n", "line 3: classes.a.ttl is missing", id="no ttl"
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: 5m, tll: 6m}\n",
                "line 3: classes.a.tll is not known here; known are ttl",
                id="unknown field",
            ),
            pytest.param(
                "default: a\nlimits: {}\nclasses:\n  a: {ttl: 5m}\n",
                "line 2: limits is not known here; known are classes, default",
                id="unknown section",
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: 5m}\n  a: {ttl: 6m}\n",
                "line 4: classes.a is written twice",
                id="class twice",
            ),
            pytest.param(
                "default: A b\nclasses:\n  A b: {ttl: 5m}\n",
                "line 3: classes.A b is no name for a class",
                id="class name",
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: 300}\n",
                "line 3: classes.a.ttl is '300'; write a whole number and ms, s, m, h or d",
                id="no unit",
            ),
            pytest.param(
                "default: a\nclasses:\n  a:\n    ttl: -5m\n",
                "line 4: classes.a.ttl is '-5m'",
                id="negative",
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: [5m]}\n",
                "line 3: classes.a.ttl is no scalar",
                id="list as ttl",
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: 0s}\n", "classes.a.ttl is 0s; give", id="zero"
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: 367d}\n", "classes.a.ttl is 367d", id="too long"
            ),
        ],
    )
    def test_a_mistake_is_named_with_its_line_and_field(self, text: str, said: str) -> None:
        """An operator goes to the line and knows what to write."""
        with pytest.raises(ConfigurationError) as caught:
            parse_policy(text, "policies/cache.yaml")

        assert caught.value.message.startswith("the cache policy policies/cache.yaml is refused:\n")
        assert said in caught.value.message

    def test_every_mistake_is_reported_at_once(self) -> None:
        """Two mistakes need one restart, not two."""
        text = "default: a\nclasses:\n  a: {ttl: 5}\n  b: {ttl: 6 min}\n"

        with pytest.raises(ConfigurationError) as caught:
            parse_policy(text, "cache.yaml")

        assert "line 3: classes.a.ttl" in caught.value.message
        assert "line 4: classes.b.ttl" in caught.value.message
