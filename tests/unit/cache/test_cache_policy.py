"""The policy file: read whole, or refused whole with every mistake and its line."""

from pathlib import Path

import pytest

from mainstay.errors import ConfigurationError
from services.cache.policy import CachePolicy, Quota, TtlClass
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

    def test_maps_every_event_of_the_platform(self) -> None:
        """Row C6: each makes some tags stale, out of what such an event carries."""
        policy = parse_policy(SHIPPED.read_text(encoding="utf-8"), "cache.yaml")
        data = dict.fromkeys(("user_id", "video_id", "session_id", "creator_id"), "7")

        assert {
            "membership.updated": ["membership:7"],
            "video.updated": ["video:7"],
            "session.ended": ["session:7"],
            "analytics.recalculated": ["analytics:7"],
            "plan.changed": ["plan:7", "membership:7"],
        } == {
            kind: [template.render(data) for template in templates]
            for kind, templates in policy.events.items()
        }

    def test_bounds_what_a_tenant_may_hold(self) -> None:
        """Nobody fills the store for all others by accident."""
        policy = parse_policy(SHIPPED.read_text(encoding="utf-8"), "cache.yaml")

        assert Quota(max_entries=1_000_000, max_bytes=2**30) == policy.quota_of("acme")
        assert 256 * 2**20 == policy.classes["ai_embeddings"].max_bytes


def policy_of(rest: str, ttl: str = "1h") -> CachePolicy:
    return parse_policy(f"default: a\nclasses:\n  a: {{ttl: {ttl}}}\n{rest}", "cache.yaml")


class TestClass:
    def test_has_every_part_that_is_written(self) -> None:
        """All of them, in the units of the code."""
        text = """
            default: a
            classes:
              a:
                ttl: permanent
                soft_ttl: 1h
                negative_ttl: 5s
                jitter: 12.5%
                early_refresh: 0.5
                near_cache: 30s
                max_bytes: 64KiB
        """

        assert parse_policy(text, "cache.yaml").default == TtlClass(
            name="a",
            ttl_ms=None,
            soft_ttl_ms=60 * MINUTE,
            negative_ttl_ms=5_000,
            jitter=0.125,
            early_refresh=0.5,
            near_max_age_ms=30_000,
            max_bytes=65_536,
        )

    def test_does_without_the_rest(self) -> None:
        """Fresh to its end, without jitter, refreshed early, and with no copies elsewhere."""
        assert policy_of("").default == TtlClass(
            name="a",
            ttl_ms=60 * MINUTE,
            soft_ttl_ms=None,
            negative_ttl_ms=30_000,
            jitter=0.0,
            early_refresh=1.0,
            near_max_age_ms=None,
            max_bytes=None,
        )

    @pytest.mark.parametrize(
        ("jitter", "share"), [("0", 0.0), ("0%", 0.0), ("0.5", 0.5), ("50%", 0.5), ("5%", 0.05)]
    )
    def test_jitter_is_a_share_or_a_percentage(self, jitter: str, share: float) -> None:
        """Both ends of the range in both forms."""
        text = f"default: a\nclasses: {{a: {{ttl: 1h, jitter: {jitter}}}}}"

        assert share == parse_policy(text, "cache.yaml").default.jitter


class TestQuotas:
    def test_are_those_of_the_tenant_or_the_default(self) -> None:
        """What a tenant's leaves out is as in the default; a bound can be lifted."""
        policy = policy_of("""
quotas:
  default: {entries: 1_000, bytes: 2GiB}
  tenants:
    acme: {bytes: 1MiB}
    Big one: {entries: unlimited, bytes: unlimited}
""")

        assert Quota(max_entries=1_000, max_bytes=2**31) == policy.quota_of("anybody")
        assert Quota(max_entries=1_000, max_bytes=2**20) == policy.quota_of("acme")
        assert Quota() == policy.quota_of("Big one")

    def test_may_be_left_out(self) -> None:
        """Then nothing is bounded."""
        assert Quota() == policy_of("").quota_of("acme")


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
        ],
    )
    def test_a_ttl_is_a_number_with_a_unit(self, ttl: str, expected: int) -> None:
        """Every unit, and both ends of the range."""
        assert expected == policy_of("", ttl).default.ttl_ms

    def test_a_permanent_one_has_no_end(self) -> None:
        """But a bound on how much there may be of it."""
        policy = policy_of("", "permanent, max_bytes: 1MiB")

        assert (None, 2**20) == (policy.default.ttl_ms, policy.default.max_bytes)


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
            pytest.param(
                "default: a\nclasses:\n  a:\n    ttl: permanent\n",
                "line 4: classes.a.max_bytes is missing; say how much",
                id="permanent without a bound",
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: 1h, max_bytes: 1MiB}\n",
                "classes.a.max_bytes is for a ttl that is permanent",
                id="bound on a class that ends",
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: permanent, max_bytes: 1MB}\n",
                "classes.a.max_bytes is '1MB'; write a whole number and KiB, MiB or GiB",
                id="size",
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: permanent, max_bytes: 0KiB}\n",
                "classes.a.max_bytes is '0KiB'",
                id="no size",
            ),
            pytest.param(
                "default: a\nclasses:\n  a:\n    ttl: 1h\n    soft_ttl: 60m\n",
                "line 5: classes.a.soft_ttl is 60m, not below the ttl",
                id="soft ttl not below",
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: 1h, soft_ttl: permanent}\n",
                "classes.a.soft_ttl is 'permanent'; write a whole number",
                id="permanent soft ttl",
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: 1h, negative_ttl: 0ms}\n",
                "classes.a.negative_ttl is 0ms",
                id="negative ttl",
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: 1h, jitter: 51%}\n",
                "classes.a.jitter is '51%'; write 0 to 0.5, or 0% to 50%",
                id="jitter",
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: 1h, jitter: -0.1}\n",
                "classes.a.jitter is '-0.1'",
                id="negative jitter",
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: 1h, early_refresh: 11}\n",
                "classes.a.early_refresh is '11'; write 0 for never to 10",
                id="early refresh",
            ),
            pytest.param(
                "default: a\nclasses:\n  a: {ttl: 1h, near_cache: true}\n",
                "classes.a.near_cache is 'true'; write a whole number and ms",
                id="near cache",
            ),
            pytest.param(
                "default: a\nclasses: {a: {ttl: 1h}}\nquotas: {default: {entries: 0}}\n",
                "line 3: quotas.default.entries is '0'; write a whole number from 1, such as "
                "1_000_000, or unlimited",
                id="no entries",
            ),
            pytest.param(
                "default: a\nclasses: {a: {ttl: 1h}}\n"
                "quotas: {default: {}, tenants: {b: {bytes: 5}}}\n",
                "line 3: quotas.tenants.b.bytes is '5'",
                id="quota of a tenant",
            ),
            pytest.param(
                "default: a\nclasses: {a: {ttl: 1h}}\nquotas: {}\n",
                "line 3: quotas.default is missing",
                id="no default quota",
            ),
            pytest.param(
                "default: a\nclasses: {a: {ttl: 1h}}\nevents: {Video Updated: [a]}\n",
                "line 3: events.Video Updated is no type of event",
                id="event type",
            ),
            pytest.param(
                "default: a\nclasses: {a: {ttl: 1h}}\nevents:\n  a.b: []\n",
                "line 4: events.a.b is not a list with at least one item",
                id="no tags",
            ),
            pytest.param(
                "default: a\nclasses: {a: {ttl: 1h}}\nevents:\n  a.b:\n    - x\n    - '{b c}'\n",
                "line 6: events.a.b[1] has 'b c' in braces",
                id="template",
            ),
            pytest.param(
                f"default: a\nclasses: {{a: {{ttl: 1h}}}}\nevents: {{a.b: [{'x, ' * 51}]}}\n",
                "events.a.b has 51 tags; write at most 50",
                id="many tags",
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
