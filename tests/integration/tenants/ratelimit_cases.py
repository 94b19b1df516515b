"""Rate limits: AI budgets, evidence, and Envoy."""

from collections.abc import Mapping
from dataclasses import replace

from mainstay.envoy.ratelimit.v3 import rls_pb2 as envoy_pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from tests.integration.tenants import ratelimit_check_cases, ratelimit_plan_cases
from tests.integration.tenants.caller import Caller
from tests.integration.tenants.case import Case, Entry, Thing, asks
from tests.integration.tenants.ratelimit_check_cases import ENDPOINT, LIMIT, method

ENVOY = "envoy.service.ratelimit.v3.RateLimitService.ShouldRateLimit"
BUDGET = 200_000
"""Tokens a day, of callers without a plan."""
USED = 150_000


async def a_budget(owner: Caller, thing: Thing) -> Thing:
    """Use up most of a budget."""
    answer = await owner.ask(
        method("ReserveAiUsage"),
        pb.ReserveAiUsageRequest(
            subject=thing.name, provider="openai", model="gpt-4o-mini", input_tokens=USED
        ),
    )
    return replace(thing, id=answer.reservation)


async def budget(owner: Caller, thing: Thing) -> object:
    """Return whether what is left of the budget would do for as much again."""
    request = pb.ReserveAiUsageRequest(
        subject=thing.name, provider="openai", model="gpt-4o-mini", input_tokens=USED
    )
    return (await owner.ask(method("ReserveAiUsage"), request)).decision.outcome


async def a_usage(owner: Caller, thing: Thing) -> Thing:
    """Record a call to a provider."""
    await owner.ask(method("RecordAiUsage"), usage(thing))
    return thing


def usage(thing: Thing) -> pb.RecordAiUsageRequest:
    return pb.RecordAiUsageRequest(
        subject=thing.name,
        provider="openai",
        model="gpt-4o-mini",
        input_tokens=100,
        request_id=thing.name,
    )


async def a_denial(owner: Caller, thing: Thing) -> Thing:
    """Have a subject be denied."""
    for _ in range(2):
        await owner.ask(
            method("Check"), pb.CheckRequest(subject=thing.name, endpoint=ENDPOINT, cost=LIMIT)
        )
    return thing


def from_envoy(thing: Thing) -> envoy_pb.RateLimitRequest:
    entry = envoy_pb.RateLimitDescriptor.Entry
    entries = [
        entry(key="path", value=b"/api/auth/login"),
        entry(key="remote_address", value=thing.name.encode()),
    ]
    return envoy_pb.RateLimitRequest(
        domain="mainstay",
        descriptors=[envoy_pb.RateLimitDescriptor(entries=entries)],
        hits_addend=LIMIT,
    )


async def an_address(owner: Caller, thing: Thing) -> Thing:
    """Use up what an address has."""
    await owner.ask(ENVOY, from_envoy(thing))
    return thing


CASES: Mapping[str, Entry] = {
    **ratelimit_check_cases.CASES,
    **ratelimit_plan_cases.CASES,
    "ReserveAiUsage": Case(
        make=a_budget,
        reach=asks(
            method("ReserveAiUsage"),
            lambda t: pb.ReserveAiUsageRequest(
                subject=t.name, provider="openai", model="gpt-4o-mini", input_tokens=USED
            ),
        ),
        shows=lambda answer, _: answer.decision.outcome == pb.OUTCOME_DENIED,
        state=budget,
    ),
    "RecordAiUsage": Case(
        make=a_usage,
        reach=asks(method("RecordAiUsage"), usage),
        shows=lambda answer, _: answer.repeated_request,
    ),
    "SummarizeAiUsage": Case(
        make=a_usage,
        reach=asks(
            method("SummarizeAiUsage"),
            lambda _: pb.SummarizeAiUsageRequest(group_by=[pb.AI_USAGE_DIMENSION_SUBJECT]),
        ),
        shows=lambda answer, t: any(t.name in group.values for group in answer.groups),
        late=True,
    ),
    "ListViolations": Case(
        make=a_denial,
        reach=asks(method("ListViolations"), lambda _: pb.ListViolationsRequest()),
        shows=lambda answer, t: any(each.subject == t.name for each in answer.violations),
        late=True,
    ),
    "GetAnalytics": Case(
        make=a_denial,
        reach=asks(method("GetAnalytics"), lambda _: pb.GetAnalyticsRequest(top=100)),
        shows=lambda answer, t: any(each.subject == t.name for each in answer.top_subjects),
        late=True,
    ),
}

ENVOY_CASES: Mapping[str, Entry] = {
    ENVOY: Case(
        make=an_address,
        reach=asks(ENVOY, from_envoy),
        shows=lambda answer, _: answer.overall_code == envoy_pb.RateLimitResponse.OVER_LIMIT,
    )
}
