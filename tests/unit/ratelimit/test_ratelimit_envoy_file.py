"""Domains of Envoy are read whole, or refused with line and field."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from mainstay.errors import ConfigurationError
from services.ratelimit.envoy_file import MAX_DEPTH, MAX_NODES, read_envoy
from services.ratelimit.envoy_policy import EnvoyAim, EnvoyDomain, EnvoyEntry
from services.ratelimit.policy_file import load_policy, parse_policy
from shared.policy_file import PolicyReader

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy" / "envoy"
POLICY = ROOT / "policies" / "ratelimit.yaml"

GOOD = """\
- domain: edge
  tenant: acme
  descriptors:
    - key: remote_address
      rule: api
    - key: path
      descriptors:
        - key: user_id
          endpoint: "{path}"
          subject: "user:{user_id}"
          plan: pro
    - key: tier
      descriptors:
        - key: tokens
          rule: ai_tokens
          plan: "{tier}"
          charge: always
        - key: tokens
          value: free
          exempt: true
"""


def _read(text: str) -> Sequence[EnvoyDomain]:
    reader = PolicyReader()
    node = reader.document(text)
    assert node is not None
    domains = read_envoy(reader, node, "envoy", ["api", "ai_tokens"], ["basic", "pro"])
    reader.check("rate limit policy", "ratelimit.yaml")
    return domains


def _refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        _read(text)
    return caught.value.message


class TestDomains:
    @pytest.mark.parametrize(
        ("entries", "aim"),
        [
            (
                [("remote_address", "::1")],
                EnvoyAim("api", "envoy:edge", "remote_address=%3A%3A1", "", always=False),
            ),
            (
                [("path", "/chat"), ("user_id", "42")],
                EnvoyAim("", "/chat", "user:42", "pro", always=False),
            ),
            (
                [("tier", "basic"), ("tokens", "gpt")],
                EnvoyAim("ai_tokens", "envoy:edge", "tokens=gpt", "basic", always=True),
            ),
            ([("tier", "basic"), ("tokens", "free")], None),
        ],
    )
    def test_are_trees_of_keys_and_values(
        self, entries: list[tuple[str, str]], aim: EnvoyAim | None
    ) -> None:
        """Each with a rule or an endpoint where descriptors end."""
        (domain,) = _read(GOOD)

        assert aim == domain.find([EnvoyEntry(*entry) for entry in entries])

    def test_have_a_tenant_or_take_the_callers(self) -> None:
        """Envoy may name one in its metadata."""
        with_tenant, without = _read(GOOD)[0], _read(GOOD.replace("  tenant: acme\n", ""))[0]

        assert (with_tenant.tenant, without.tenant) == ("acme", None)


class TestMistakes:
    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            ("domain: edge", "domain: ''", "line 1: envoy[0].domain is empty"),
            ("- domain: edge\n ", "-", "line 1: envoy[0].domain is missing"),
            ("tenant: acme", "tenant: a/b", "line 2: envoy[0].tenant is no tenant"),
            ("tenant: acme", "tenant: ''", "line 2: envoy[0].tenant is no tenant"),
            ("tenant:", "tennant:", "line 2: envoy[0].tennant is not known here"),
            ("rule: api", "rule: apis", "descriptors[0].rule is no limit or budget of this file"),
            ("rule: api", "rule: api\n      endpoint: x", "[0] has rule and endpoint; keep one"),
            ("\n      rule: api", "", "line 4: envoy[0].descriptors[0] leads nowhere"),
            ("key: path", "key: ''", "line 6: envoy[0].descriptors[1].key is empty"),
            ("key: path", "key: remote_address", "[1] is remote_address a second time; keep one"),
            ("value: free", "value: fr*", "descriptors[1].value ends in a star"),
            ("value: free", "value: [a]", "descriptors[1].value is empty"),
            ('"{path}"', '"{paths}"', "endpoint names paths, which is not on the way here"),
            ("user:{user_id}", "{path}{user_id}", "subject has nothing between two keys"),
            ("key: user_id", "key: path", "endpoint names path, which is twice on the way here"),
            ("plan: pro", "plan: prov", "line 11: envoy[0].descriptors[1].descriptors[0].plan is"),
            ("charge: always", "charge: maybe", "charge is 'maybe'; write admitted or always"),
            ("exempt: true", "exempt: 'no'", "exempt is 'no'; write true"),
            ("exempt: true", "exempt: true\n          plan: pro", "plan needs a rule or an end"),
            ("exempt: true", "exempt: true\n          rule: api", "has rule and exempt; keep one"),
        ],
    )
    def test_are_told_with_line_and_field(self, old: str, new: str, told: str) -> None:
        """And what would be right."""
        assert old in GOOD

        assert told in _refusal(GOOD.replace(old, new))

    def test_two_domains_of_one_name_are_refused(self) -> None:
        """Only one could be found."""
        assert "envoy[1].domain is edge a second time" in _refusal(GOOD + GOOD)

    def test_trees_are_not_too_deep(self) -> None:
        """Nor does a short text with aliases make endless ones."""
        deep = "".join(
            f"{'  ' * (2 * level + 1)}descriptors:\n{'  ' * (2 * level + 2)}- key: k{level}\n"
            for level in range(MAX_DEPTH + 1)
        )

        assert f"are deeper than {MAX_DEPTH}" in _refusal(f"- domain: edge\n{deep}")

    def test_trees_are_not_too_large(self) -> None:
        """Every node counts as often as it is looked at."""
        text = "- domain: edge\n  descriptors:\n"
        text += "    - key: a\n      descriptors: &some\n"
        text += "".join(f"        - {{key: k{n}, rule: api}}\n" for n in range(MAX_NODES // 4))
        text += "".join(f"    - {{key: b{n}, descriptors: *some}}\n" for n in range(20))

        message = _refusal(text)

        assert message.count(f"are more than {MAX_NODES:,} in all") == 1


class TestWhatIsShipped:
    def test_the_document_shows_domains_that_are_read(self) -> None:
        """With the rules and plans of the policy that is shipped."""
        document = (DEPLOY / "README.md").read_text()
        (example,) = re.findall(r"```yaml\n(.*?)```", document, re.DOTALL)
        policy = parse_policy(
            re.sub(r"^envoy:.*", "", POLICY.read_text(), flags=re.DOTALL | re.MULTILINE) + example,
            "README.md",
        )

        assert ["mainstay"] == list(policy.envoy)

    def test_the_configuration_asks_for_what_the_policy_has(self) -> None:
        """Its descriptor leads to the endpoint's own rule."""
        configuration = yaml.safe_load((DEPLOY / "envoy.yaml").read_text())
        (chain,) = configuration["static_resources"]["listeners"][0]["filter_chains"]
        manager = chain["filters"][0]["typed_config"]
        (limits,) = manager["route_config"]["virtual_hosts"][0]["rate_limits"]
        keys = [
            action["request_headers"]["descriptor_key"]
            if "request_headers" in action
            else next(iter(action))
            for action in limits["actions"]
        ]
        domain = load_policy(POLICY).envoy[manager["http_filters"][0]["typed_config"]["domain"]]
        values = {"path": "/api/chat?model=x", "remote_address": "192.0.2.1"}
        aim = domain.find([EnvoyEntry(key, values[key]) for key in keys])

        assert EnvoyAim("", "/api/chat", "address:192.0.2.1", "", always=False) == aim
