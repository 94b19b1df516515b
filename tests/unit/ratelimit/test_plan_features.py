"""Features of plans: what is included, and which plan to offer."""

import pytest

from mainstay.errors import NotFoundError
from services.ratelimit.decision import PlanSource
from services.ratelimit.features import FeatureCheck, look_up
from services.ratelimit.policy import Limit, Plan, Policy, Rule

POLICY = Policy(
    [Rule(name="api", endpoints=("*",), default=(Limit(quota=1, window=1_000_000),))],
    plans=[
        Plan(name="trial", features=frozenset({"chat", "watermark"})),
        Plan(name="basic", features=frozenset({"chat"})),
        Plan(name="pro", features=frozenset({"chat", "export"})),
        Plan(name="enterprise", features=frozenset({"chat", "export", "sso"})),
    ],
)


def check(feature: str, plan: str) -> FeatureCheck:
    return look_up(POLICY, feature, plan=plan, source=PlanSource.CALL)


class TestFeature:
    @pytest.mark.parametrize(
        ("feature", "plan", "included", "upgrade"),
        [
            ("chat", "basic", True, ""),
            ("export", "basic", False, "pro"),
            ("sso", "basic", False, "enterprise"),
            ("sso", "enterprise", True, ""),
            ("chat", "", False, "trial"),
            ("export", "", False, "pro"),
            # Only a smaller plan has it: nothing to offer.
            ("watermark", "pro", False, ""),
            # A plan that the policy has no more is below all others.
            ("export", "gold", False, "pro"),
        ],
    )
    def test_is_included_or_the_next_larger_plan_is_named(
        self, feature: str, plan: str, included: bool, upgrade: str
    ) -> None:
        """The smallest of those that are larger, in the order of the policy."""
        found = check(feature, plan)

        assert (included, upgrade) == (found.included, found.upgrade_plan)

    def test_comes_with_every_plan_that_has_it(self) -> None:
        """From the smallest to the largest, for a table of prices."""
        assert ("pro", "enterprise") == check("export", "trial").plans

    def test_comes_with_the_plan_that_was_asked(self) -> None:
        """And where that comes from."""
        found = check("chat", "basic")

        assert ("basic", PlanSource.CALL) == (found.plan, found.plan_source)

    def test_that_nobody_has_is_an_error(self) -> None:
        """It names the feature."""
        with pytest.raises(NotFoundError, match="'exprot'") as error:
            check("exprot", "pro")

        assert ("FEATURE_NOT_FOUND", "feature", "exprot") == (
            error.value.reason,
            error.value.resource_type,
            error.value.resource_name,
        )
