"""The use case: who is on which plan, and what that includes."""

import asyncio
from dataclasses import dataclass

from services.ratelimit import features
from services.ratelimit.act import mistake_in
from services.ratelimit.audit import Actor
from services.ratelimit.checks import reason_fault, refuse, text_fault
from services.ratelimit.features import FeatureCheck
from services.ratelimit.plan_ports import PlanAssignment, PlanKey, PlanNews, PlanStore, PlanWish
from services.ratelimit.policy import Policy
from services.ratelimit.ports import Policies
from services.ratelimit.resolving import Resolver
from shared.rpc.call import Tenant

MAX_FEATURE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """An assignment, and the features that its plan includes, sorted."""

    assignment: PlanAssignment
    features: tuple[str, ...]


class Plans:
    """Assigns plans and answers for them."""

    def __init__(
        self, *, policies: Policies, store: PlanStore, news: PlanNews, resolver: Resolver
    ) -> None:
        self._policies = policies
        self._store = store
        self._news = news
        self._resolver = resolver

    async def assign(self, tenant: Tenant, wish: PlanWish, actor: Actor) -> PlanAssignment:
        """Put a subject on a plan, effective everywhere within a second; may be repeated.

        Raises ValidationError for a plan that the policy does not have, DatabaseError while the
        assignment cannot be kept.
        """
        refuse(
            {
                "subject": mistake_in(wish.subject),
                "reason": reason_fault(wish.reason, required=False),
            }
        )
        if wish.plan:
            self._policies.current.plan(wish.plan)
        assignment = await self._store.assign(tenant, wish, actor)
        # Also when nothing changed: a repetition repairs what the first call could not tell.
        learnt = [(PlanKey(tenant, wish.subject), assignment.plan)]
        await asyncio.gather(self._news.learn(learnt), self._news.announce())
        return assignment

    async def get(self, tenant: Tenant, subject: str) -> Membership:
        """Return what is assigned to a subject, from where it is kept; raises DatabaseError."""
        refuse({"subject": mistake_in(subject)})
        found = await self._store.find(tenant, subject)
        assignment = found or PlanAssignment(subject=subject, plan="")
        included = _features(self._policies.current, assignment.plan)
        return Membership(assignment=assignment, features=included)

    async def check_feature(
        self, tenant: Tenant, subject: str, feature: str, *, plan: str
    ) -> FeatureCheck:
        """Tell whether a feature is in a subject's plan; `plan` is what the caller says it is.

        Raises NotFoundError for a feature that no plan has, ValidationError for a plan that the
        policy does not have. While the plan cannot be looked up its source is UNKNOWN, and only
        what was last known of it counts.
        """
        refuse({"subject": mistake_in(subject), "feature": text_fault(feature, MAX_FEATURE)})
        policy = self._policies.current
        standing = await self._resolver.standing(policy, tenant, subject, plan)
        return features.look_up(policy, feature, plan=standing.plan, source=standing.source)


def _features(policy: Policy, plan: str) -> tuple[str, ...]:
    """Return what a plan includes; nothing if the policy no longer has it."""
    return tuple(sorted(policy.plan(plan).features)) if policy.knows_plan(plan) else ()
