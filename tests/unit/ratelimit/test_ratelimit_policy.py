"""Which rule applies, and the shipped policy against rows R2 and R3."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from mainstay.errors import NotFoundError, ValidationError
from services.ratelimit.limit_grammar import LimitGrammar
from services.ratelimit.policy import (
    NO_PLAN,
    UNLIMITED,
    Kind,
    Limits,
    LimitSource,
    Measure,
    Policy,
    Rule,
    TenantLimits,
)
from services.ratelimit.policy_file import load_policy
from shared.rpc.call import DEFAULT_TENANT, Tenant

SHIPPED = load_policy(Path(__file__).parents[3] / "policies" / "ratelimit.yaml")


def _per(text: str) -> Limits:
    return LimitGrammar().read(text)


def _rule(name: str, *endpoints: str, kind: Kind = Kind.RATE, **plans: Limits) -> Rule:
    return Rule(name=name, endpoints=endpoints, default=_per("1/min"), plans=plans, kind=kind)


def _matched(policy: Policy, endpoint: str, plan: str = NO_PLAN) -> str:
    return policy.match(DEFAULT_TENANT, endpoint, plan).rule.name


class TestShippedPolicy:
    @pytest.mark.parametrize(
        ("endpoint", "plan", "limit"),
        [
            # R2: endpoint x plan
            ("ai_chat", "basic", "10/min"),
            ("ai_chat", "pro", "50/min"),
            ("ai_chat", "enterprise", "unlimited"),
            ("video_upload", "basic", "5/h"),
            ("video_upload", "pro", "20/h"),
            ("video_upload", "enterprise", "unlimited"),
            ("quiz_generation", "basic", "3/h"),
            ("quiz_generation", "pro", "15/h"),
            ("quiz_generation", "enterprise", "unlimited"),
            ("/api/anything", "basic", "100/min"),
            ("/api/anything", "pro", "500/min"),
            ("/api/anything", "enterprise", "unlimited"),
            # R3: endpoints without a plan
            ("/api/chat", "", "20/min"),
            ("/api/videos/upload", "", "10/h"),
            ("/api/quiz/generate", "", "5/h"),
            ("/api/auth/login", "", "5/5min"),
            ("/api/anything", "", "100/min"),
            ("whatever else", "", "100/min"),
        ],
    )
    def test_it_holds_every_limit_of_the_requirements(
        self, endpoint: str, plan: str, limit: str
    ) -> None:
        """One row for each cell of R2 and R3."""
        assert _per(limit) == SHIPPED.match(DEFAULT_TENANT, endpoint, plan).limits

    def test_signing_in_is_limited_alike_on_every_plan(self) -> None:
        """A rule without plans applies its default to everybody."""
        match = SHIPPED.match(DEFAULT_TENANT, "auth", "enterprise")

        found = (match.rule.name, match.plan, match.limits, match.source)
        assert ("auth", NO_PLAN, _per("5/5min"), LimitSource.DEFAULT) == found

    def test_no_limit_only_watches(self) -> None:
        """What is shipped holds."""
        assert not any(rule.shadow for rule in SHIPPED.rules)

    def test_it_shows_every_part_of_a_policy(self) -> None:
        """Who edits it finds an example of each."""
        assert ["basic", "pro", "enterprise"] == [plan.name for plan in SHIPPED.plans]
        assert all(plan.features for plan in SHIPPED.plans)
        assert SHIPPED.match_concurrency(DEFAULT_TENANT, "video_processing", "pro") is not None
        assert [Measure.TOKENS, Measure.MONEY] == [rule.measure for rule in SHIPPED.budgets]
        assert SHIPPED.prices.price("openai", "gpt-4o") is not None
        assert SHIPPED.envoy


class TestMatch:
    POLICY = Policy([
        _rule("all", "*"),
        _rule("api", "/api/*"),
        _rule("chat", "/api/chat/*", "/api/chat"),
        _rule("one_room", "/api/chat/room"),
        _rule("rooms", "/api/chat/*", "/api/chat/room", kind=Kind.CONCURRENCY),
    ])  # fmt: skip

    @pytest.mark.parametrize(
        ("endpoint", "rule"),
        [
            ("/api/chat/room", "one_room"),  # the exact one, though a long pattern fits too
            ("/api/chat/room/1", "chat"),  # the longest pattern
            ("/api/chat", "chat"),
            ("/api/chats", "api"),
            ("/api/", "api"),
            ("/api", "all"),  # a pattern ends in its star, not in its slash
            ("/API/chat", "all"),
            ("api", "all"),
        ],
    )
    def test_the_exact_endpoint_wins_then_the_longest_pattern(
        self, endpoint: str, rule: str
    ) -> None:
        """Whatever the order in the file."""
        assert rule == _matched(self.POLICY, endpoint)

    def test_names_the_pattern_and_those_that_match_too(self) -> None:
        """The longest first."""
        match = self.POLICY.match(DEFAULT_TENANT, "/api/chat/room", NO_PLAN)
        others = self.POLICY.also_matching(Kind.RATE, "/api/chat/room")

        assert ("/api/chat/room", ["/api/chat/*", "/api/*", "*"]) == (match.pattern, others)

    def test_of_another_kind_is_apart(self) -> None:
        """Places cover what they name, and nothing else has to be covered."""
        found = self.POLICY.match_concurrency(DEFAULT_TENANT, "/api/chat/room/1", NO_PLAN)

        assert found is not None
        assert ("rooms", "/api/chat/*") == (found.rule.name, found.pattern)
        assert self.POLICY.match_concurrency(DEFAULT_TENANT, "/api", NO_PLAN) is None

    def test_a_policy_without_the_pattern_for_all_cannot_be_made(self) -> None:
        """Something would be without a limit by accident; a rule for places does not count."""
        with pytest.raises(ValueError, match=r"\*"):
            Policy([_rule("api", "/api/*"), _rule("rooms", "*", kind=Kind.CONCURRENCY)])

    def test_an_unknown_rule_is_refused(self) -> None:
        """With where to find the known ones."""
        with pytest.raises(NotFoundError, match="ListLimits") as caught:
            self.POLICY.rule("nothing")

        assert "RULE_NOT_FOUND" == caught.value.reason


class TestPlans:
    POLICY = Policy([_rule("all", "*", basic=_per("2/min"), pro=UNLIMITED), _rule("auth", "auth")])

    def test_a_plan_has_its_limit(self) -> None:
        """And the answer says whose limit it was."""
        match = self.POLICY.match(DEFAULT_TENANT, "x", "basic")

        found = (match.plan, match.limits, match.source)
        assert ("basic", _per("2/min"), LimitSource.PLAN) == found

    @pytest.mark.parametrize("endpoint", ["x", "auth"])
    def test_an_unknown_plan_is_refused_with_the_known_ones(self, endpoint: str) -> None:
        """Also where plans make no difference: it is a mistake of the caller's all the same."""
        with pytest.raises(ValidationError) as caught:
            self.POLICY.match(DEFAULT_TENANT, endpoint, "gold")

        assert caught.value.fields == {
            "plan": "is not in the policy; known are basic, pro; or leave it out"
        }


class TestTenants:
    TENANTS: Mapping[str, TenantLimits] = {
        "default_only": TenantLimits(default=_per("7/min")),
        "plan_only": TenantLimits(plans={"basic": _per("8/min")}),
        "both": TenantLimits(default=UNLIMITED, plans={"pro": _per("9/min")}),
    }
    RULE = Rule(
        name="all",
        endpoints=("*",),
        default=_per("1/min"),
        plans={"basic": _per("2/min"), "pro": _per("3/min")},
        tenants=TENANTS,
    )
    POLICY = Policy([RULE])

    @pytest.mark.parametrize(
        ("tenant", "plan", "limit", "source"),
        [
            ("other", "", "1/min", LimitSource.DEFAULT),
            ("other", "basic", "2/min", LimitSource.PLAN),
            ("default_only", "", "7/min", LimitSource.TENANT),
            ("default_only", "basic", "2/min", LimitSource.PLAN),
            ("plan_only", "", "1/min", LimitSource.DEFAULT),
            ("plan_only", "basic", "8/min", LimitSource.TENANT_PLAN),
            ("plan_only", "pro", "3/min", LimitSource.PLAN),
            ("both", "", "unlimited", LimitSource.TENANT),
            ("both", "pro", "9/min", LimitSource.TENANT_PLAN),
        ],
    )
    def test_have_words_of_their_own(
        self, tenant: str, plan: str, limit: str, source: LimitSource
    ) -> None:
        """What a tenant leaves out is as for everybody; the limit of a plan is no default."""
        match = self.POLICY.match(Tenant(tenant), "x", plan)

        assert (_per(limit), source) == (match.limits, match.source)
