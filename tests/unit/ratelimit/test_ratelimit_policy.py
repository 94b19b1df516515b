"""Which rule applies, and the shipped policy against rows R2 and R3."""

from pathlib import Path

import pytest

from mainstay.errors import ValidationError
from services.ratelimit.policy import SECOND, Limit, Match, Policy, Rule
from services.ratelimit.policy_file import load_policy

SHIPPED = load_policy(Path(__file__).parents[3] / "policies" / "ratelimit.yaml")

MINUTE = 60 * SECOND
HOUR = 3_600 * SECOND


def _per(quota: int, window: int) -> Limit:
    return Limit(quota=quota, window=window)


def _rule(name: str, *endpoints: str, **plans: Limit | None) -> Rule:
    return Rule(name=name, endpoints=endpoints, default=_per(1, MINUTE), plans=plans)


class TestShippedPolicy:
    @pytest.mark.parametrize(
        ("endpoint", "plan", "limit"),
        [
            # R2: endpoint x plan
            ("ai_chat", "basic", _per(10, MINUTE)),
            ("ai_chat", "pro", _per(50, MINUTE)),
            ("ai_chat", "enterprise", None),
            ("video_upload", "basic", _per(5, HOUR)),
            ("video_upload", "pro", _per(20, HOUR)),
            ("video_upload", "enterprise", None),
            ("quiz_generation", "basic", _per(3, HOUR)),
            ("quiz_generation", "pro", _per(15, HOUR)),
            ("quiz_generation", "enterprise", None),
            ("/api/anything", "basic", _per(100, MINUTE)),
            ("/api/anything", "pro", _per(500, MINUTE)),
            ("/api/anything", "enterprise", None),
            # R3: endpoints without a plan
            ("/api/chat", "", _per(20, MINUTE)),
            ("/api/videos/upload", "", _per(10, HOUR)),
            ("/api/quiz/generate", "", _per(5, HOUR)),
            ("/api/auth/login", "", _per(5, 5 * MINUTE)),
            ("/api/anything", "", _per(100, MINUTE)),
            ("whatever else", "", _per(100, MINUTE)),
        ],
    )
    def test_it_holds_every_limit_of_the_requirements(
        self, endpoint: str, plan: str, limit: Limit | None
    ) -> None:
        """One row for each cell of R2 and R3."""
        assert SHIPPED.match(endpoint, plan).limit == limit

    def test_signing_in_is_limited_alike_on_every_plan(self) -> None:
        """A rule without plans applies its default to everybody."""
        expected = Match(rule="auth", plan="", limit=_per(5, 5 * MINUTE))

        assert SHIPPED.match("auth", "enterprise") == expected


class TestMatch:
    POLICY = Policy([
        _rule("all", "*"),
        _rule("api", "/api/*"),
        _rule("chat", "/api/chat/*", "/api/chat"),
        _rule("one_room", "/api/chat/room"),
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
        assert self.POLICY.match(endpoint, "").rule == rule

    def test_a_policy_without_the_pattern_for_all_cannot_be_made(self) -> None:
        """Something would be without a limit by accident."""
        with pytest.raises(ValueError, match=r"\*"):
            Policy([_rule("api", "/api/*")])


class TestPlans:
    POLICY = Policy([_rule("all", "*", basic=_per(2, MINUTE), pro=None), _rule("auth", "auth")])

    def test_a_plan_has_its_limit(self) -> None:
        """And the answer says whose limit it was."""
        expected = Match(rule="all", plan="basic", limit=_per(2, MINUTE))

        assert self.POLICY.match("x", "basic") == expected

    @pytest.mark.parametrize("endpoint", ["x", "auth"])
    def test_an_unknown_plan_is_refused_with_the_known_ones(self, endpoint: str) -> None:
        """Also where plans make no difference: it is a mistake of the caller's all the same."""
        with pytest.raises(ValidationError) as caught:
            self.POLICY.match(endpoint, "gold")

        assert caught.value.fields == {
            "plan": "is not in the policy; known are basic, pro; or leave it out"
        }
