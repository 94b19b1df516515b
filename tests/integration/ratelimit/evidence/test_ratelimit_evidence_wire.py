"""ListViolations and GetAnalytics, as callers in any language see them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from mainstay import context
from mainstay.channel import Channel
from mainstay.errors import PreconditionError, ValidationError
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc
from tests.integration.ratelimit.conftest import ServeRateLimit

POLICY = """\
version: 1
limits:
  - name: chat
    endpoints: [/chat]
    default: 2/h
    plans: {pro: 3/h}
  - name: tried
    endpoints: [/tried]
    default: 1/h
    shadow: true
  - name: rest
    endpoints: ["*"]
    default: 100/h
"""


@pytest.fixture
async def acme(
    redis_url: str, postgres_url: str, tmp_path: Path, serve_ratelimit: ServeRateLimit
) -> AsyncIterator[Channel]:
    """Serve with PostgreSQL and a policy of two small limits."""
    (tmp_path / "ratelimit.yaml").write_text(POLICY, encoding="utf-8")
    async with serve_ratelimit(redis_url, policies=tmp_path, postgres_url=postgres_url) as channel:
        yield channel


class Caller:
    """Calls the service."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.stub = pb_grpc.RateLimitServiceStub(channel.raw)

    async def check(
        self, times: int, subject: str = "user:1", *, endpoint: str = "/chat", plan: str = ""
    ) -> None:
        request = pb.CheckRequest(subject=subject, endpoint=endpoint, plan=plan)
        for _ in range(times):
            await self.channel.unary(self.stub.Check, request)

    async def violations(self, **asked: Any) -> pb.ListViolationsResponse:
        request = pb.ListViolationsRequest(**asked)
        return await self.channel.unary(self.stub.ListViolations, request)

    async def analytics(self, **asked: Any) -> pb.GetAnalyticsResponse:
        request = pb.GetAnalyticsRequest(**asked)
        return await self.channel.unary(self.stub.GetAnalytics, request)


class TestListViolations:
    async def test_tells_who_was_denied_and_in_which_call(self, acme: Channel) -> None:
        """With the id that the caller gave it, and the limit as the policy writes it."""
        caller = Caller(acme)
        await caller.check(3, plan="pro")
        with context.request(request_id="the-fourth"):
            await caller.check(1, plan="pro")
        (violation,) = (await caller.violations()).violations

        assert ("acme", "user:1", "chat", "/chat", "pro", "3/h", "the-fourth") == (
            violation.tenant,
            violation.subject,
            violation.rule,
            violation.endpoint,
            violation.plan,
            violation.limit,
            violation.request_id,
        )
        assert (pb.DENIAL_REASON_LIMIT, False, 1) == (
            violation.reason,
            violation.shadow,
            violation.count,
        )
        assert violation.start_time == violation.end_time

    async def test_goes_page_by_page(self, acme: Channel) -> None:
        """With the token of the page before."""
        caller = Caller(acme)
        for number in range(3):
            await caller.check(3, f"user:{number}")
        first = await caller.violations(page_size=2)
        second = await caller.violations(page_size=2, page_token=first.next_page_token)
        subjects = [violation.subject for violation in (*first.violations, *second.violations)]

        assert ["user:2", "user:1", "user:0"] == subjects
        assert not second.next_page_token

    async def test_of_all_tenants_is_for_the_tenant_star(self, acme: Channel) -> None:
        """Another tenant sees nothing of it."""
        caller = Caller(acme)
        await caller.check(3)
        found = {}
        for tenant in ("*", "globex"):
            with context.request(tenant=tenant):
                found[tenant] = await caller.violations()

        assert (1, 0) == (len(found["*"].violations), len(found["globex"].violations))

    async def test_refuses_what_makes_no_sense(self, acme: Channel) -> None:
        """With each field that is wrong."""
        with pytest.raises(ValidationError) as caught:
            await Caller(acme).violations(subject="a\nb", rule="a\nb")

        assert {"subject", "rule"} == caught.value.fields.keys()

    async def test_needs_postgresql(self, channel: Channel) -> None:
        """And says so where there is none."""
        with pytest.raises(PreconditionError) as caught:
            await Caller(channel).violations()

        assert "NO_DATABASE" == caught.value.reason


class TestGetAnalytics:
    async def test_tells_what_was_decided(self, acme: Channel) -> None:
        """By rule and plan, of single checks and of batches."""
        caller = Caller(acme)
        await caller.check(4)
        await caller.check(2, plan="pro", subject="user:2")
        await caller.check(2, endpoint="/tried")
        acts = [pb.Act(subject="user:1", endpoint="/chat")] * 2
        await acme.unary(caller.stub.CheckBatch, pb.CheckBatchRequest(acts=acts))
        await acme.unary(caller.stub.Peek, pb.PeekRequest(subject="user:1", endpoint="/chat"))
        told = await caller.analytics()

        assert [
            ("chat", "", 2, 4, 0),
            ("tried", "", 2, 0, 1),
            ("chat", "pro", 2, 0, 0),
        ] == [
            (it.rule, it.plan, it.counts.allowed, it.counts.denied, it.counts.shadow_denied)
            for it in told.groups
        ]
        assert (6, 4, 1) == (told.total.allowed, told.total.denied, told.total.shadow_denied)
        assert [("acme", "user:1", "chat", 4, 0)] == [
            (it.tenant, it.subject, it.rule, it.denied, it.overcount) for it in told.top_subjects
        ]
        assert not told.incomplete

    async def test_names_nobody_when_none_are_wanted(self, acme: Channel) -> None:
        """Zero is a number."""
        caller = Caller(acme)
        await caller.check(3)

        assert not (await caller.analytics(top=0)).top_subjects

    async def test_refuses_what_makes_no_sense(self, acme: Channel) -> None:
        """With each field that is wrong."""
        with pytest.raises(ValidationError) as caught:
            await Caller(acme).analytics(window=Duration(seconds=90), top=101)

        assert {"window", "top"} == caught.value.fields.keys()
