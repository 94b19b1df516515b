"""Queues with bounds, whatever comes."""

from collections.abc import Sequence
from itertools import count
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from mainstay.errors import QueueFullError
from services.jobs.acceptance import Acceptance, Functions, Known
from services.jobs.event import NewCall, NewEvent, Origin
from services.jobs.function import (
    DEFAULT_BACKOFF,
    FunctionDefinition,
    Overflow,
    OverflowPolicy,
)
from services.jobs.job import EventId, JobId
from services.jobs.overflow import Fullness
from shared.rpc.call import Tenant

ORIGIN = Origin(tenant=Tenant("acme"), request_id="r", traceparent="")
CALLS = st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=5), max_size=8)
BEFORE = st.builds(Fullness, depth=st.integers(0, 10), size=st.integers(0, 100))


def rules(policy: OverflowPolicy) -> st.SearchStrategy[Overflow]:
    """Return bounds of a queue."""
    return st.builds(
        Overflow,
        policy=st.just(policy),
        max_depth=st.integers(0, 10),
        max_bytes=st.integers(0, 100),
    )


def call(sizes: Sequence[int]) -> NewCall:
    """Return a call whose payloads have these sizes."""
    events = [
        NewEvent(
            event_id=EventId(UUID(int=number)),
            name="e",
            data="",
            size=size,
            value={},
            idempotency_key="",
            content_hash=b"",
        )
        for number, size in enumerate(sizes)
    ]
    return NewCall(origin=ORIGIN, events=tuple(events))


def taken(
    rule: Overflow, before: Fullness, calls: Sequence[Sequence[int]]
) -> tuple[Acceptance, int]:
    """Take calls; returns what follows and how many events were accepted."""
    function = FunctionDefinition(
        name="f", trigger="e", max_attempts=1, backoff=DEFAULT_BACKOFF, overflow=rule
    )
    ids = count(1)
    acceptance = Acceptance(
        Functions(by_event={"e": [function]}, by_name={}),
        Known(fullness={"f": before}),
        lambda: JobId(UUID(int=next(ids))),
    )
    accepted = 0
    for sizes in calls:
        try:
            accepted += len(acceptance.take(call(sizes)))
        except QueueFullError:
            continue
    return acceptance, accepted


def after(acceptance: Acceptance, before: Fullness) -> Fullness:
    """Return how full the queue is then."""
    ready = [job for job in acceptance.jobs.values() if job.delay <= 0]
    return Fullness(
        depth=before.depth + len(ready), size=before.size + sum(job.size for job in ready)
    )


def within(rule: Overflow, fullness: Fullness) -> bool:
    """Return whether a queue is within its bounds."""
    depth = not rule.max_depth or fullness.depth <= rule.max_depth
    return depth and (not rule.max_bytes or fullness.size <= rule.max_bytes)


@given(rules(OverflowPolicy.REJECT), BEFORE, CALLS)
def test_reject(rule: Overflow, before: Fullness, calls: list[list[int]]) -> None:
    """Nothing is accepted beyond the bounds, and every call as a whole or not at all."""
    acceptance, accepted = taken(rule, before, calls)

    assert accepted == len(acceptance.jobs) == len(acceptance.events)
    assert not accepted or within(rule, after(acceptance, before))


@given(rules(OverflowPolicy.SPILL), BEFORE, CALLS)
def test_spill(rule: Overflow, before: Fullness, calls: list[list[int]]) -> None:
    """Everything is accepted, and what becomes ready keeps within the bounds."""
    acceptance, accepted = taken(rule, before, calls)

    ready = [job for job in acceptance.jobs.values() if job.delay <= 0]
    assert sum(map(len, calls)) == accepted == len(acceptance.jobs)
    assert not ready or within(rule, after(acceptance, before))


@given(rules(OverflowPolicy.SHED_OLDEST), BEFORE, CALLS.filter(bool))
def test_shed(rule: Overflow, before: Fullness, calls: list[list[int]]) -> None:
    """Everything is accepted, and just as much has to leave as is beyond the bounds."""
    acceptance, accepted = taken(rule, before, calls)

    full = after(acceptance, before)
    much = acceptance.excess().get("f")
    assert sum(map(len, calls)) == accepted
    assert (much is None) == within(rule, full)
    if much is not None:
        assert within(rule, Fullness(depth=full.depth - much.jobs, size=full.size - much.size))
