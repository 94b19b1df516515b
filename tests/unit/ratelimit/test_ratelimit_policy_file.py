"""A policy with a mistake is refused whole, and told where the mistake is."""

from pathlib import Path

import pytest

from mainstay.errors import ConfigurationError
from services.ratelimit.policy import MAX_QUOTA, SECOND, Limit
from services.ratelimit.policy_file import load_policy, parse_policy

GOOD = """\
version: 1
limits:
  - name: chat
    endpoints: [chat, /chat/*]
    default: 20/min
    plans: {basic: 10/min, pro: unlimited}
  - name: rest
    endpoints: ["*"]
    default: 5/5min
"""


def _refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(text, "ratelimit.yaml")
    return caught.value.message


def _default(limit: str) -> Limit | None:
    policy = parse_policy(GOOD.replace("5/5min", limit), "ratelimit.yaml")
    return policy.match("rest", "").limit


class TestLimits:
    @pytest.mark.parametrize(
        ("text", "limit"),
        [
            ("1/s", Limit(quota=1, window=SECOND)),
            ("20/min", Limit(quota=20, window=60 * SECOND)),
            ("5/5min", Limit(quota=5, window=300 * SECOND)),
            ("10/h", Limit(quota=10, window=3_600 * SECOND)),
            ("1000/30d", Limit(quota=1000, window=30 * 86_400 * SECOND)),
            (f"{MAX_QUOTA}/366d", Limit(quota=MAX_QUOTA, window=366 * 86_400 * SECOND)),
            ("unlimited", None),
        ],
    )
    def test_a_limit_is_a_number_per_window(self, text: str, limit: Limit | None) -> None:
        """With a unit and, if need be, a multiple of it."""
        assert _default(text) == limit

    @pytest.mark.parametrize(
        "text",
        ["0/min", f"{MAX_QUOTA + 1}/min", "5/0min", "5/367d", "5/m", "5/ min", "-5/min", "5.5/min",
         "5", "min", "'' ", "[5/min]", "{per: min}", "null", "\u0665/min"],
    )  # fmt: skip
    def test_anything_else_is_refused_at_its_line(self, text: str) -> None:
        """Never read as something near it."""
        assert "line 9: limits[1].default " in _refusal(GOOD.replace("5/5min", text))


class TestMistakes:
    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            ("version: 1", "version: 2", "line 1: version is not known; write 1"),
            ("version: 1\n", "", "line 1: version is missing"),
            ("limits:", "limts:", "line 2: limts is not known here; known are version, limits"),
            ("name: chat", "name: Chat!", "line 3: limits[0].name is no name"),
            ("name: rest", "name: chat", "line 7: limits[1].name is chat a second time"),
            ("- name: rest\n    endpoints", "- endpoints", "line 7: limits[1].name is missing"),
            ('["*"]', "[]", "line 8: limits[1].endpoints is not a list with at least one item"),
            ('["*"]', '"*"', "line 8: limits[1].endpoints is not a list with at least one item"),
            ('["*"]', "[rest]", 'limits have no endpoint "*"'),
            ('["*"]', '["*", chat]', "line 8: limits[1].endpoints[1] is chat a second time"),
            ('["*"]', '["*", /a/*/b]', "line 8: limits[1].endpoints[1] has a star before its end"),
            ('["*"]', '["*", ""]', "line 8: limits[1].endpoints[1] is empty"),
            ('["*"]', '["*", "a\\n"]', "line 8: limits[1].endpoints[1] contains a control"),
            ("basic: 10", "basic: 10/min, basic: 10", "line 6: limits[0].plans.basic is written"),
            ("basic: 10/min", "basic: 10", "line 6: limits[0].plans.basic is '10'; write one"),
            ("basic: 10/min", "Ba-sic: 10/min", "line 6: limits[0].plans.Ba-sic is no name"),
            ("{basic: 10/min, pro: unlimited}", "gold", "line 6: limits[0].plans is not a mapping"),
            ("5/5min", "5/min\n    plans: {pro: 1/s}", "line 10: limits[1].plans lacks basic"),
            ("5/5min", "5/5min\n    burst: 3", "line 10: limits[1].burst is not known here"),
            ("[chat, /chat/*]", "[chat, /chat/*", "line 5: the file is not YAML"),
            ("version", "\x00", "the file is not YAML"),
        ],
    )
    def test_it_is_refused_with_line_and_field(self, old: str, new: str, told: str) -> None:
        """So that an operator finds it without counting."""
        assert told in _refusal(GOOD.replace(old, new, 1))

    @pytest.mark.parametrize("text", ["", "[]", "5", "a: &a [*a]", "--- 1\n--- 2\n"])
    def test_what_is_no_policy_at_all_is_refused(self, text: str) -> None:
        """An empty file is not an empty policy."""
        assert "ratelimit.yaml is refused:\n  line " in _refusal(text)

    def test_all_mistakes_are_told_at_once_in_their_order(self) -> None:
        """One start finds them all."""
        told = _refusal(GOOD.replace("20/min", "20").replace("5/5min", "5").replace("1\n", "9\n"))

        assert [part.split(":")[0] for part in told.split("\n  line ")][1:] == ["1", "5", "9"]


class TestFile:
    def test_a_missing_file_names_the_setting(self, tmp_path: Path) -> None:
        """Because that is what is wrong most of the time."""
        with pytest.raises(ConfigurationError, match="MAINSTAY_POLICIES_DIR"):
            load_policy(tmp_path / "ratelimit.yaml")

    def test_bytes_that_are_no_text_are_refused(self, tmp_path: Path) -> None:
        """With the file's name."""
        path = tmp_path / "ratelimit.yaml"
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigurationError, match=r"ratelimit\.yaml is not UTF-8"):
            load_policy(path)
