"""Rate limits: what a subject consumed, it consumed in one tenant."""

from collections.abc import Mapping
from dataclasses import replace

from google.protobuf.duration_pb2 import Duration

from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from tests.integration.tenants.caller import Caller
from tests.integration.tenants.case import OF_A_TOKEN, Case, Entry, Thing, asks

SERVICE = "mainstay.ratelimit.v1.RateLimitService"
ENDPOINT = "auth"
"""Five in five minutes, whatever the plan."""
LIMIT = 5
COST = 3
PLACES = "video_processing"
"""One at a time."""


def method(name: str) -> str:
    return f"{SERVICE}.{name}"


async def a_subject(owner: Caller, thing: Thing) -> Thing:
    """Consume a part of what a subject has."""
    answer = await owner.ask(
        method("Check"), pb.CheckRequest(subject=thing.name, endpoint=ENDPOINT, cost=COST)
    )
    return replace(thing, more=answer.decision.decide_time)


async def remaining(owner: Caller, thing: Thing) -> object:
    request = pb.PeekRequest(subject=thing.name, endpoint=ENDPOINT)
    return (await owner.ask(method("Peek"), request)).decision.limit.remaining


def counts(answer: pb.CheckResponse, _: Thing) -> bool:
    """Whether more is gone than one act costs."""
    return answer.decision.limit.remaining < LIMIT - 1


async def a_place(owner: Caller, thing: Thing) -> Thing:
    """Take the one place of a subject."""
    answer = await owner.ask(
        method("AcquireLease"), pb.AcquireLeaseRequest(subject=thing.name, endpoint=PLACES)
    )
    return replace(thing, id=answer.lease.token)


async def places(owner: Caller, thing: Thing) -> object:
    request = pb.ExplainRequest(subject=thing.name, endpoint=PLACES)
    rules = (await owner.ask(method("Explain"), request)).rules
    return [limit.remaining for rule in rules for limit in rule.limits]


async def a_share(owner: Caller, thing: Thing) -> Thing:
    """Reserve a part of what a subject has."""
    answer = await owner.ask(
        method("ReserveTokens"),
        pb.ReserveTokensRequest(subject=thing.name, endpoint=ENDPOINT, amount=COST),
    )
    return replace(thing, id=answer.reservation.token)


def denied(answer: pb.AcquireLeaseResponse, _: Thing) -> bool:
    return answer.decision.outcome == pb.OUTCOME_DENIED


CASES: Mapping[str, Entry] = {
    "Check": Case(
        make=a_subject,
        reach=asks(method("Check"), lambda t: pb.CheckRequest(subject=t.name, endpoint=ENDPOINT)),
        shows=counts,
        state=remaining,
        changes=True,
    ),
    "CheckBatch": Case(
        make=a_subject,
        reach=asks(
            method("CheckBatch"),
            lambda t: pb.CheckBatchRequest(acts=[pb.Act(subject=t.name, endpoint=ENDPOINT)]),
        ),
        shows=lambda answer, _: any(
            decision.limit.remaining < LIMIT - 1 for decision in answer.decisions
        ),
        state=remaining,
        changes=True,
    ),
    "Peek": Case(
        make=a_subject,
        reach=asks(method("Peek"), lambda t: pb.PeekRequest(subject=t.name, endpoint=ENDPOINT)),
        shows=counts,
        state=remaining,
    ),
    "Enforce": Case(
        make=a_subject,
        reach=asks(
            method("Enforce"), lambda t: pb.EnforceRequest(subject=t.name, endpoint=ENDPOINT)
        ),
        shows=counts,
        state=remaining,
        changes=True,
    ),
    "Refund": Case(
        make=a_subject,
        reach=asks(
            method("Refund"),
            lambda t: pb.RefundRequest(
                subject=t.name, endpoint=ENDPOINT, cost=COST, admit_time=t.more
            ),
        ),
        shows=lambda answer, _: answer.refunded > 0,
        state=remaining,
        changes=True,
    ),
    "Reset": Case(
        make=a_subject,
        reach=asks(
            method("Reset"),
            lambda t: pb.ResetRequest(subject=t.name, everything=True, reason="test"),
        ),
        state=remaining,
        changes=True,
    ),
    "AcquireLease": Case(
        make=a_place,
        reach=asks(
            method("AcquireLease"),
            lambda t: pb.AcquireLeaseRequest(subject=t.name, endpoint=PLACES),
        ),
        shows=denied,
        state=places,
    ),
    "RenewLease": Case(
        make=a_place,
        reach=asks(
            method("RenewLease"),
            lambda t: pb.RenewLeaseRequest(token=t.id, ttl=Duration(seconds=60)),
        ),
        refused=True,
        refusals=OF_A_TOKEN,
        state=places,
    ),
    "ReleaseLease": Case(
        make=a_place,
        reach=asks(method("ReleaseLease"), lambda t: pb.ReleaseLeaseRequest(token=t.id)),
        shows=lambda answer, _: answer.released,
        state=places,
        changes=True,
    ),
    "ReserveTokens": Case(
        make=a_share,
        reach=asks(
            method("ReserveTokens"),
            lambda t: pb.ReserveTokensRequest(subject=t.name, endpoint=ENDPOINT, amount=COST),
        ),
        # Of its owner's limit so much is not left.
        shows=lambda answer, _: answer.reservation.amount < COST,
        state=remaining,
    ),
    "ReturnTokens": Case(
        make=a_share,
        reach=asks(
            method("ReturnTokens"), lambda t: pb.ReturnTokensRequest(token=t.id, unused=COST)
        ),
        shows=lambda answer, _: answer.returned > 0,
        state=remaining,
        changes=True,
    ),
}
