"""Rate limits: plans, overrides, and the rules as they hold for a tenant."""

import time
from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from tests.integration.tenants.caller import Caller
from tests.integration.tenants.case import Case, Entry, ForOperators, Thing, asks
from tests.integration.tenants.ratelimit_check_cases import ENDPOINT, a_subject, method, remaining

PLAN = "pro"
FEATURE = "custom_branding"
"""Of this plan, and not of callers without one."""
RULE = "auth"


async def a_plan(owner: Caller, thing: Thing) -> Thing:
    """Put a subject on a plan."""
    await owner.ask(method("AssignPlan"), pb.AssignPlanRequest(subject=thing.name, plan=PLAN))
    return thing


async def plan(owner: Caller, thing: Thing) -> object:
    answer = await owner.ask(method("GetPlan"), pb.GetPlanRequest(subject=thing.name))
    return answer.assignment.plan


async def an_override(owner: Caller, thing: Thing) -> Thing:
    """Give a subject limits of its own; the reason is the owner's secret."""
    override = pb.Override(
        subject=thing.name,
        rule=RULE,
        limits="77/5min",
        reason=thing.secret,
        expire_time=Timestamp(seconds=int(time.time()) + 600),
    )
    await owner.ask(method("PutOverride"), pb.PutOverrideRequest(override=override))
    return thing


async def overrides(owner: Caller, thing: Thing) -> object:
    answer = await owner.ask(method("ListOverrides"), pb.ListOverridesRequest(subject=thing.name))
    return [(each.rule, each.limits, each.reason) for each in answer.overrides]


def another_override(thing: Thing) -> pb.PutOverrideRequest:
    return pb.PutOverrideRequest(
        override=pb.Override(
            subject=thing.name,
            rule=RULE,
            limits="1/5min",
            reason="another's",
            expire_time=Timestamp(seconds=int(time.time()) + 600),
        )
    )


async def a_rule(_: Caller, thing: Thing) -> Thing:
    """Have what the policy says of the owner alone."""
    return thing


CASES: Mapping[str, Entry] = {
    # The policy of the stage has other limits for the owner's tenant than for all others.
    "ListLimits": Case(
        make=a_rule,
        reach=asks(method("ListLimits"), lambda _: pb.ListLimitsRequest()),
        shows=lambda answer, _: any(
            limits.tenant_specific for rule in answer.rules for limits in rule.plan_limits
        ),
    ),
    "Explain": Case(
        make=an_override,
        reach=asks(
            method("Explain"), lambda t: pb.ExplainRequest(subject=t.name, endpoint=ENDPOINT)
        ),
        shows=lambda answer, _: any(rule.HasField("override") for rule in answer.rules),
        state=overrides,
    ),
    "AssignPlan": Case(
        make=a_plan,
        reach=asks(
            method("AssignPlan"), lambda t: pb.AssignPlanRequest(subject=t.name, plan="basic")
        ),
        state=plan,
        changes=True,
    ),
    "GetPlan": Case(
        make=a_plan,
        reach=asks(method("GetPlan"), lambda t: pb.GetPlanRequest(subject=t.name)),
        shows=lambda answer, _: answer.assignment.plan == PLAN,
        state=plan,
    ),
    "CheckFeature": Case(
        make=a_plan,
        reach=asks(
            method("CheckFeature"),
            lambda t: pb.CheckFeatureRequest(subject=t.name, feature=FEATURE),
        ),
        shows=lambda answer, _: answer.included,
        state=plan,
    ),
    "PutOverride": Case(
        make=an_override,
        reach=asks(method("PutOverride"), another_override),
        state=overrides,
        changes=True,
    ),
    "ListOverrides": Case(
        make=an_override,
        reach=asks(method("ListOverrides"), lambda _: pb.ListOverridesRequest()),
        shows=lambda answer, t: any(each.subject == t.name for each in answer.overrides),
        state=overrides,
    ),
    "DeleteOverride": Case(
        make=an_override,
        reach=asks(
            method("DeleteOverride"),
            lambda t: pb.DeleteOverrideRequest(subject=t.name, rule=RULE, reason="test"),
        ),
        shows=lambda answer, _: answer.deleted,
        state=overrides,
        changes=True,
    ),
    "PutPolicy": ForOperators(reason="There is one policy, and it holds for every tenant."),
    "RollbackPolicy": ForOperators(reason="As PutPolicy: it holds for every tenant."),
    "GetPolicy": ForOperators(reason="The text names tenants and what was agreed with each."),
    "ListPolicyVersions": ForOperators(reason="Who changed the policy of all, and why."),
    "PreviewPolicy": Case(
        make=a_subject,
        reach=asks(
            method("PreviewPolicy"), lambda _: pb.PreviewPolicyRequest(text=EVERYTHING_DENIED)
        ),
        shows=lambda answer, t: any(each.subject == t.name for each in answer.subjects),
        state=remaining,
        late=True,
    ),
}

EVERYTHING_DENIED = """
version: 1
limits:
  - name: everything
    endpoints: ["*"]
    default: 1/h
"""
