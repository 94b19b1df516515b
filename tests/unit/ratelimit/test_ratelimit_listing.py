"""The rules, as a tenant sees them."""

import pytest

from mainstay.errors import ValidationError
from services.ratelimit.listing import Listing, PlanLimits
from services.ratelimit.paging import Page
from services.ratelimit.policy import Policy
from services.ratelimit.policy_file import parse_policy
from shared.rpc.call import Tenant

TEXT = """\
version: 1
plans: {basic: {features: [a]}, pro: {}}
limits:
  - name: chat
    endpoints: [chat]
    default: 10/s 200/min
    plans: {basic: 10/min, pro: unlimited}
    tenants: {acme: {default: 50/min, plans: {pro: 900/min}}}
  - {name: rest, endpoints: ["*"], default: 5/5min}
concurrency:
  - {name: rooms, endpoints: [chat], default: 3}
"""


class Fixed:
    """A policy that stays."""

    current: Policy = parse_policy(TEXT, "ratelimit.yaml")


LISTING = Listing(Fixed())
OTHER = Tenant("other")


class TestRules:
    @pytest.mark.parametrize(
        ("tenant", "expected"),
        [
            (
                "other",
                [
                    PlanLimits("", ["10/s", "200/min"], of_tenant=False),
                    PlanLimits("basic", ["10/min"], of_tenant=False),
                    PlanLimits("pro", ["unlimited"], of_tenant=False),
                ],
            ),
            (
                "acme",
                [
                    PlanLimits("", ["50/min"], of_tenant=True),
                    PlanLimits("basic", ["10/min"], of_tenant=False),
                    PlanLimits("pro", ["900/min"], of_tenant=True),
                ],
            ),
        ],
    )
    def test_have_the_limits_that_hold_for_the_tenant(
        self, tenant: str, expected: list[PlanLimits]
    ) -> None:
        """As the policy writes them, and whether they are the tenant's own."""
        listed = LISTING.page(Tenant(tenant), Page(1, None))

        assert expected == listed.rules[0].limits

    def test_without_plans_have_one_limit(self) -> None:
        """Plans make no difference there."""
        listed = LISTING.page(OTHER, Page(10, ("chat",)))

        assert [["5/5min"], ["3"]] == [[*rule.limits[0].written] for rule in listed.rules]
        assert [1, 1] == [len(rule.limits) for rule in listed.rules]


class TestPages:
    def test_follow_each_other_in_the_order_of_the_policy(self) -> None:
        """The last one says that it is."""
        pages = [LISTING.page(OTHER, Page(2, after)) for after in (None, ("rest",))]

        names = [[listed.rule.name for listed in page.rules] for page in pages]
        assert ([["chat", "rest"], ["rooms"]], [True, False]) == (names, [it.more for it in pages])

    def test_that_would_begin_nowhere_are_refused(self) -> None:
        """The rule was taken out of the policy in between."""
        with pytest.raises(ValidationError, match="begin anew"):
            LISTING.page(OTHER, Page(2, ("gone",)))
