"""A policy with a mistake is refused whole, and told where the mistake is."""

from pathlib import Path

import pytest

from mainstay.errors import ConfigurationError
from services.ratelimit.limit_grammar import LimitGrammar
from services.ratelimit.policy import (
    NO_PLAN,
    UNLIMITED,
    Algorithm,
    Calendar,
    FailureMode,
    Kind,
    Measure,
    Plan,
    Policy,
    TenantLimits,
)
from services.ratelimit.policy_file import MAX_TEXT_BYTES, load_policy, parse_policy, read_policy
from shared.policy_file import Mistake
from shared.rpc.call import DEFAULT_TENANT

SMALL = """\
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

FULL = """\
version: 1
on_failure: closed
plans:
  basic: {features: [history]}
  pro: {features: [history, export]}
limits:
  - name: chat
    endpoints: [chat, /chat/*]
    default: 10/s 200/min
    plans: {basic: 10/min, pro: unlimited}
    tenants:
      acme: {default: 50/min, plans: {pro: 900/min}}
      other: {plans: {basic: unlimited}}
    shadow: true
  - name: shaped
    endpoints: [shaped]
    algorithm: gcra
    burst: 30
    default: 100/s
    on_failure: open
  - name: monthly
    endpoints: ["*"]
    algorithm: fixed_window
    time_zone: Europe/Berlin
    default: 1000/month
concurrency:
  - name: rooms
    endpoints: [chat]
    default: 3
    plans: {basic: 3, pro: unlimited}
    on_failure: local
budgets:
  - name: tokens
    measure: tokens
    default: 200_000/d
  - name: spend
    measure: money
    algorithm: fixed_window
    default: 5.00/month
prices:
  openai/gpt-4o: {input: 2.50, output: 10.00}
envoy:
  - domain: edge
    descriptors:
      - {key: remote_address, rule: chat, plan: pro}
"""


def _refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(text, "ratelimit.yaml")
    return caught.value.message


class TestLimits:
    def test_say_whom_they_cover_and_how_much_of_it(self) -> None:
        """For callers without a plan, and for each plan."""
        chat, rest = parse_policy(SMALL, "ratelimit.yaml").rules

        read = LimitGrammar().read
        assert ("chat", Kind.RATE, ("chat", "/chat/*")) == (chat.name, chat.kind, chat.endpoints)
        assert (read("20/min"), read("5/5min")) == (chat.default, rest.default)
        assert {"basic": read("10/min"), "pro": UNLIMITED} == chat.plans
        assert {} == rest.plans

    def test_have_defaults_for_what_they_leave_out(self) -> None:
        """The sliding window, a local share while the counters are away, and no shadow."""
        rule = parse_policy(SMALL, "ratelimit.yaml").rules[0]

        expected = (Algorithm.SLIDING_WINDOW, Measure.COST, FailureMode.LOCAL, False)
        assert expected == (rule.algorithm, rule.measure, rule.on_failure, rule.shadow)

    def test_name_the_plans_where_nothing_declares_them(self) -> None:
        """In the order in which they come."""
        policy = parse_policy(SMALL, "ratelimit.yaml")

        assert (Plan(name="basic"), Plan(name="pro")) == policy.plans


class TestEverything:
    POLICY = parse_policy(FULL, "ratelimit.yaml")

    def test_plans_include_features(self) -> None:
        """From the smallest to the largest."""
        basic = Plan(name="basic", features=frozenset({"history"}))
        pro = Plan(name="pro", features=frozenset({"history", "export"}))

        assert (basic, pro) == self.POLICY.plans

    def test_a_limit_may_differ_for_tenants(self) -> None:
        """What a tenant leaves out is as for everybody."""
        read = LimitGrammar().read
        expected = {
            "acme": TenantLimits(default=read("50/min"), plans={"pro": read("900/min")}),
            "other": TenantLimits(plans={"basic": UNLIMITED}),
        }

        assert expected == self.POLICY.rule("chat").tenants

    def test_a_limit_may_watch_only(self) -> None:
        """Of several windows."""
        chat = self.POLICY.rule("chat")

        assert (True, ["10/s", "200/min"]) == (chat.shadow, [each.written for each in chat.default])

    def test_an_algorithm_has_its_own_settings(self) -> None:
        """All limits of the rule have them."""
        (shaped,) = self.POLICY.rule("shaped").default
        (monthly,) = self.POLICY.rule("monthly").default

        assert (Algorithm.GCRA, 30) == (shaped.algorithm, shaped.burst)
        assert (Calendar.MONTH, "Europe/Berlin") == (monthly.calendar, monthly.time_zone)

    def test_the_failure_mode_is_that_of_the_limit_or_of_all(self) -> None:
        """Local is what holds when nobody says anything."""
        modes = {rule.name: rule.on_failure.value for rule in self.POLICY.rules}

        expected = dict.fromkeys(modes, "closed") | {"shaped": "open", "rooms": "local"}
        assert expected == modes

    def test_places_have_endpoints_of_their_own(self) -> None:
        """One endpoint may have a rate and places."""
        rate = self.POLICY.match(DEFAULT_TENANT, "chat", "basic")
        places = self.POLICY.match_concurrency(DEFAULT_TENANT, "chat", "basic")

        assert places is not None
        assert ("chat", "rooms") == (rate.rule.name, places.rule.name)
        assert (3, 0) == (places.limits[0].quota, places.limits[0].window)
        assert self.POLICY.match_concurrency(DEFAULT_TENANT, "other", NO_PLAN) is None

    def test_budgets_count_tokens_or_money(self) -> None:
        """Money in millionths of a dollar."""
        found = [(rule.measure, rule.default[0].quota) for rule in self.POLICY.budgets]

        assert [(Measure.TOKENS, 200_000), (Measure.MONEY, 5_000_000)] == found

    def test_prices_and_domains_are_read_too(self) -> None:
        """By those who know them."""
        price = self.POLICY.prices.price("openai", "gpt-4o")

        assert price is not None
        assert (2_500_000, ["edge"]) == (price.input, list(self.POLICY.envoy))

    def test_the_version_is_given_from_outside(self) -> None:
        """The text does not know it."""
        policy = read_policy(FULL, version=7)

        assert isinstance(policy, Policy)
        assert (0, 7) == (self.POLICY.version, policy.version)


class TestMistakes:
    @pytest.mark.parametrize("declared", [True, False])
    def test_of_many_plans_are_told_once(self, *, declared: bool) -> None:
        """Each rule that named those it lacks would say more than a process can hold."""
        names = [f"p{number}" for number in range(2_000)]
        rules = "".join(
            f"  - {{name: {name}, endpoints: [{name}], default: 1/s, plans: {{{name}: 1/s}}}}\n"
            for name in names
        )
        text = SMALL.replace("  - name: chat", f"{rules}  - name: chat", 1)
        if declared:
            text += f"plans: {{{', '.join(f'{name}: {{}}' for name in names)}}}\n"
        mistakes = read_policy(text)

        assert isinstance(mistakes, tuple)
        (mistake,) = mistakes
        assert ("write at most 100", True) == (mistake.what[-17:], len(mistake.what) < 100)

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
            (
                "5/5min",
                "5/min\n    plans: {pro: 1/s}",
                "line 10: limits[1].plans lacks basic, which other limits name",
            ),
            ("5/5min", "5", "line 9: limits[1].default is '5'; write one such as 20/min"),
            ("5/5min", "[5/min]", "line 9: limits[1].default is no limit; write one"),
            ("5/5min", "5/5min\n    brst: 3", "line 10: limits[1].brst is not known here"),
            ("[chat, /chat/*]", "[chat, /chat/*", "line 5: the file is not YAML"),
            ("version", "\x00", "the file is not YAML"),
        ],
    )
    def test_it_is_refused_with_line_and_field(self, old: str, new: str, told: str) -> None:
        """So that an operator finds it without counting."""
        assert told in _refusal(SMALL.replace(old, new, 1))

    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            (
                "on_failure: closed",
                "on_failure: shut",
                "line 2: on_failure is 'shut'; write open or closed or local",
            ),
            ("[history]", "[History]", "line 4: plans.basic.features[0] is no name"),
            ("[history]", "[history, history]", "line 4: plans.basic.features[1] is history a"),
            ("basic: {features", "Basic: {features", "line 4: plans.Basic is no name"),
            ("basic: {features", "basic: {feature", "line 4: plans.basic.feature is not known"),
            (
                "  pro: {features: [history, export]}\n",
                "",
                "line 9: limits[0].plans names pro, which `plans` does not declare",
            ),
            (
                "basic: 10/min, pro",
                "pro",
                "line 10: limits[0].plans lacks basic, which `plans` declares",
            ),
            (
                "acme: {default",
                "a/b: {default",
                "line 12: limits[0].tenants.a/b is no tenant; write A-Z a-z 0-9 . _ -",
            ),
            (
                "{pro: 900/min}",
                "{gold: 900/min}",
                "line 12: limits[0].tenants.acme.plans names gold, which `plans` does not declare",
            ),
            ("900/min", "900", "line 12: limits[0].tenants.acme.plans.pro is '900'; write one"),
            ("default: 50/min", "standard: 50/min", "acme.standard is not known here"),
            ("shadow: true", "shadow: yes", "line 14: limits[0].shadow is 'yes'; write true or"),
            (
                "algorithm: gcra",
                "algorithm: leaky",
                "line 17: limits[1].algorithm is 'leaky'; write sliding_window or gcra or fixed",
            ),
            ("algorithm: gcra", "algorithm: concurrency", "limits[1].algorithm is 'concurrency'"),
            ("burst: 30", "burst: 0", "line 18: limits[1].burst is '0'; give 1 to"),
            ("burst: 30", "burst: many", "line 18: limits[1].burst is 'many'; give 1 to"),
            (
                "    algorithm: gcra\n",
                "",
                "line 17: limits[1].burst is for the algorithm gcra; leave it out",
            ),
            (
                "Europe/Berlin",
                "Berlin",
                "line 24: limits[2].time_zone says 'Berlin' is no time zone",
            ),
            (
                "    algorithm: fixed_window\n    time",
                "    time",
                "line 23: limits[2].time_zone is for the algorithm fixed_window; leave it out",
            ),
            ("default: 3", "default: 3/min", "concurrency[0].default is '3/min'; write 1 to"),
            ("[chat]", "[chat, chat]", "concurrency[0].endpoints[1] is chat a second time"),
            ("name: rooms", "name: chat", "concurrency[0].name is chat a second time"),
            ("measure: tokens", "measure: cost", "budgets[0].measure is 'cost'; write tokens or"),
            ("    measure: tokens\n", "", "budgets[0].measure is missing"),
            ("200_000/d", "5.00/d", "budgets[0].default is '5.00/d'; write one such as 20/min"),
            ("input: 2.50", "input: free", "prices.openai/gpt-4o.input is 'free'"),
            ("rule: chat", "rule: rooms", "envoy[0].descriptors[0].rule is no limit or budget"),
        ],
    )
    def test_of_every_part_is_refused(self, old: str, new: str, told: str) -> None:
        """Plans, tenants, algorithms, places, budgets, prices and domains."""
        assert told in _refusal(FULL.replace(old, new, 1))

    @pytest.mark.parametrize("text", ["", "[]", "5", "a: &a [*a]", "--- 1\n--- 2\n"])
    def test_what_is_no_policy_at_all_is_refused(self, text: str) -> None:
        """An empty file is not an empty policy."""
        assert "ratelimit.yaml is refused:\n  line " in _refusal(text)

    def test_all_mistakes_are_told_at_once_in_their_order(self) -> None:
        """One start finds them all."""
        told = _refusal(SMALL.replace("20/min", "20").replace("5/5min", "5").replace("1\n", "9\n"))

        assert ["1", "5", "9"] == [part.split(":")[0] for part in told.split("\n  line ")][1:]

    def test_they_can_be_had_one_by_one(self) -> None:
        """For those who tell them to a caller."""
        mistakes = read_policy(SMALL.replace("20/min", "20").replace("limits:", "limits:\n#"))

        assert isinstance(mistakes, tuple)
        assert [(6, "limits[0].default")] == [(each.line, each.field) for each in mistakes]

    def test_a_policy_that_is_too_large_is_not_read_at_all(self) -> None:
        """Reading YAML of that size takes long."""
        text = SMALL + "#" * MAX_TEXT_BYTES

        assert (Mistake(1, "the file", "is larger than 1,048,576 bytes"),) == read_policy(text)


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
