"""Which limits hold for a subject: its plan, and what was decided for it alone."""

from typing import NamedTuple

from services.ratelimit.decision import PlanSource
from services.ratelimit.overrides import Override
from services.ratelimit.policy import NO_PLAN, LimitSource, Match, Policy
from services.ratelimit.ports import AssignedPlan, Overrides, PlanDirectory
from shared.rpc.call import Tenant


class Standing(NamedTuple):
    """The plan that applies to a subject, and where it comes from."""

    plan: str
    source: PlanSource


_NONE = Standing(NO_PLAN, PlanSource.NONE)
_REMOVED = Standing(NO_PLAN, PlanSource.REMOVED)


class Resolver:
    """Finds the plan of a subject, and an override before the limits of the policy."""

    def __init__(self, overrides: Overrides, directory: PlanDirectory) -> None:
        self._overrides = overrides
        self._directory = directory

    def standing_at_hand(
        self, policy: Policy, tenant: Tenant, subject: str, plan: str
    ) -> Standing | None:
        """Return the standing if nobody has to be asked for it, else None.

        Raises ValidationError for a named plan that the policy does not have.
        """
        if plan:
            policy.plan(plan)
            return Standing(plan, PlanSource.CALL)
        assigned = self._directory.at_hand(tenant, subject)
        return None if assigned is None else _standing(policy, assigned)

    async def standing(self, policy: Policy, tenant: Tenant, subject: str, plan: str) -> Standing:
        """Return the standing; raises ValidationError as `standing_at_hand` does."""
        at_hand = self.standing_at_hand(policy, tenant, subject, plan)
        if at_hand is not None:
            return at_hand
        return _standing(policy, await self._directory.find(tenant, subject))

    def overridden(self, match: Match, tenant: Tenant, subject: str) -> Match:
        """Return the match with the subject's own limits, if it has some."""
        override = self.override(tenant, match, subject)
        if override is None:
            return match
        return match._replace(limits=override.limits, source=LimitSource.OVERRIDE)

    def override(self, tenant: Tenant, match: Match, subject: str) -> Override | None:
        """Return the override that stands before a match."""
        return self._overrides.find(tenant, match.rule.name, subject)


def _standing(policy: Policy, assigned: AssignedPlan) -> Standing:
    if not assigned.known:
        # The last plan that was known is better than none.
        plan = assigned.plan if policy.knows_plan(assigned.plan) else NO_PLAN
        return Standing(plan, PlanSource.UNKNOWN)
    if not assigned.plan:
        return _NONE
    if not policy.knows_plan(assigned.plan):
        return _REMOVED
    return Standing(assigned.plan, PlanSource.ASSIGNED)
