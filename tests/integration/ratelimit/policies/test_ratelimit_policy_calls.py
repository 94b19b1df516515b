"""The policy and overrides by call, on two replicas of the real service."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.channel import Channel
from mainstay.errors import ConflictError, NotFoundError, PreconditionError, ValidationError
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc
from services.ratelimit.app import build
from services.ratelimit.settings import RateLimitSettings
from tests.integration.ratelimit.policies.policy_replica import text_of
from tests.integration.shared.waiting import PATIENCE

SHADOW = """\
version: 1
plans: {basic: {features: [chat]}, pro: {}}
limits:
  - name: api
    endpoints: ["*"]
    default: 10/s 200/min
    plans: {basic: 10/min, pro: unlimited}
    tenants: {acme: {default: 50/min}}
    algorithm: fixed_window
    on_failure: open
    shadow: true
budgets:
  - {name: spend, measure: money, default: 5.00/month}
"""


WITH_PLANS = """
version: 1
plans: {gold: {}}
limits:
  - {name: chat, endpoints: [chat], default: 5/min}
  - {name: api, endpoints: ["*"], default: 5/min}
"""


class Replica:
    """A service, and calls to it."""

    def __init__(self, channel: Channel) -> None:
        self.stub = pb_grpc.RateLimitServiceStub(channel.raw)
        self._channel = channel

    async def call(self, method: str, request: Any) -> Any:
        """Call a method by its name."""
        unary: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = getattr(self.stub, method)
        return await self._channel.unary(unary, request, timeout=30)

    async def put(self, text: str, **fields: Any) -> pb.PolicyVersion:
        """Put a policy."""
        request = pb.PutPolicyRequest(text=text, reason="test", **fields)
        version: pb.PolicyVersion = (await self.call("PutPolicy", request)).version
        return version

    async def check(self, subject: str = "ann", endpoint: str = "x") -> pb.Decision:
        """Check once."""
        request = pb.CheckRequest(subject=subject, endpoint=endpoint)
        decision: pb.Decision = (await self.call("Check", request)).decision
        return decision

    async def until(self, holds: Callable[[pb.Decision], bool]) -> None:
        """Peek until the answer is the one that is waited for."""
        request = pb.PeekRequest(subject="ann", endpoint="x")
        async with asyncio.timeout(PATIENCE):
            while not holds((await self.call("Peek", request)).decision):  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.01)


@pytest.fixture
async def replicas(redis_url: str, postgres_url: str, path: Path) -> AsyncIterator[list[Replica]]:
    """Start two, which share a file and their stores."""
    async with AsyncExitStack() as stack:
        yield [await _start(stack, redis_url, postgres_url, path) for _ in range(2)]


@pytest.fixture
async def alone(redis_url: str, path: Path) -> AsyncIterator[Replica]:
    """Start one without a database."""
    async with AsyncExitStack() as stack:
        yield await _start(stack, redis_url, None, path)


async def _start(
    stack: AsyncExitStack, redis_url: str, postgres_url: str | None, path: Path
) -> Replica:
    settings = RateLimitSettings.model_validate(
        {
            "redis_url": redis_url,
            "redis_timeout": 5.0,
            "postgres_url": postgres_url,
            "postgres_pool_size": 3,
            "policies_dir": path.parent,
            "ratelimit_port": 0,
            "ratelimit_ops_port": 0,
            "shutdown_grace": 0.2,
        }
    )
    service = build(settings)
    await stack.enter_async_context(service.running())
    return Replica(await stack.enter_async_context(Channel(service.address, tenant="acme")))


class TestPolicy:
    async def test_that_was_put_holds_on_every_replica_within_two_seconds(
        self, replicas: list[Replica]
    ) -> None:
        """And what was consumed stays consumed."""
        here, there = replicas
        for _ in range(4):
            await here.check()
        loop = asyncio.get_running_loop()
        began = loop.time()
        version = await here.put(text_of("7/h"))
        await there.until(lambda decision: decision.limit.limit == 7)
        took = loop.time() - began
        decision = await there.check()

        assert (2, True, "anonymous") == (version.version, version.in_force, version.creator)
        assert (2, 2) == (decision.policy_version, decision.limit.remaining)
        assert took < 2

    async def test_says_what_it_leaves_without_effect(self, replicas: list[Replica]) -> None:
        """Overrides of a rule that is gone, and subjects on a plan that is; put all the same."""
        here, _ = replicas
        await here.put(WITH_PLANS)
        end = Timestamp(seconds=int(time.time()) + 3600)
        override = pb.Override(
            subject="ann", rule="chat", limits="9/min", expire_time=end, reason="vip"
        )
        await here.call("PutOverride", pb.PutOverrideRequest(override=override))
        await here.call("AssignPlan", pb.AssignPlanRequest(subject="ann", plan="gold"))
        request = pb.PutPolicyRequest(text=text_of("7/min"), reason="test", validate_only=True)
        asked: pb.PutPolicyResponse = await here.call("PutPolicy", request)
        request.validate_only = False
        told: pb.PutPolicyResponse = await here.call("PutPolicy", request)
        explained: pb.ExplainResponse = await here.call(
            "Explain", pb.ExplainRequest(subject="ann", endpoint="x")
        )

        assert [
            "rule chat is not in this policy; overrides on it: 1",
            "plan gold is not in this policy; subjects on it, now on none: 1",
        ] == list(told.warnings)
        assert asked.warnings == told.warnings
        assert explained.plan_source == pb.PLAN_SOURCE_REMOVED

    async def test_that_is_expected_to_be_in_force(self, replicas: list[Replica]) -> None:
        """Of two who change the same version one is told."""
        here, there = replicas
        await here.put(text_of("7/min"), expected_version=1)
        with pytest.raises(ConflictError) as caught:
            await there.put(text_of("8/min"), expected_version=1)

        assert "ETAG_MISMATCH" == caught.value.reason

    async def test_with_mistakes_names_each_line_and_field(self, replicas: list[Replica]) -> None:
        """Also where it is only validated, and where it is previewed."""
        here, _ = replicas
        text = text_of("7").replace("version: 1", "version: 2")
        expected = {
            "version": "line 1: is not known; write 1",
            "limits[0].default": "line 3: is '7'",
        }
        for method, request in (
            ("PutPolicy", pb.PutPolicyRequest(text=text, reason="test")),
            ("PutPolicy", pb.PutPolicyRequest(text=text, validate_only=True)),
            ("PreviewPolicy", pb.PreviewPolicyRequest(text=text)),
        ):
            with pytest.raises(ValidationError) as caught:
                await here.call(method, request)
            assert "POLICY_REFUSED" == caught.value.reason
            assert expected.keys() == caught.value.fields.keys()
            assert all(
                caught.value.fields[field].startswith(told) for field, told in expected.items()
            )

    async def test_that_is_only_validated_changes_nothing(self, replicas: list[Replica]) -> None:
        """There is no version to return."""
        here, _ = replicas
        request = pb.PutPolicyRequest(text=text_of("7/min"), validate_only=True)
        response = await here.call("PutPolicy", request)
        found = await here.call("GetPolicy", pb.GetPolicyRequest())

        assert not response.HasField("version")
        assert (text_of("10/min"), 1) == (found.text, found.version.version)

    async def test_versions_are_listed_and_gone_back_to(self, replicas: list[Replica]) -> None:
        """Page by page, the newest first."""
        here, there = replicas
        await here.put(text_of("7/min"))
        await here.put(text_of("8/min"))
        rolled = await here.call(
            "RollbackPolicy", pb.RollbackPolicyRequest(version=2, reason="oops")
        )
        await there.until(lambda decision: decision.limit.limit == 7)
        listed, token = list[pb.PolicyVersion](), ""
        for _ in range(2):
            request = pb.ListPolicyVersionsRequest(page_size=3, page_token=token)
            response = await there.call("ListPolicyVersions", request)
            listed.extend(response.versions)
            token = response.next_page_token

        assert ([4, 3, 2, 1], "") == ([version.version for version in listed], token)
        assert [True, False, False, False] == [version.in_force for version in listed]
        assert (4, listed[0]) == (rolled.version.version, rolled.version)
        assert ("oops", listed[2].digest) == (listed[0].reason, listed[0].digest)

    async def test_that_is_not_there_is_told(self, replicas: list[Replica]) -> None:
        """With a reason of its own."""
        here, _ = replicas
        for method, request in (
            ("GetPolicy", pb.GetPolicyRequest(version=9)),
            ("RollbackPolicy", pb.RollbackPolicyRequest(version=9, reason="x")),
        ):
            with pytest.raises(NotFoundError) as caught:
                await here.call(method, request)
            assert "POLICY_VERSION_NOT_FOUND" == caught.value.reason


class TestPreview:
    async def test_tells_who_would_have_been_denied(self, replicas: list[Replica]) -> None:
        """From the checks of both replicas, a second or two later."""
        for replica in replicas:
            for _ in range(3):
                await replica.check()
            await replica.check("bob")
        request = pb.PreviewPolicyRequest(text=text_of("2/min"), window=Duration(seconds=600))
        async with asyncio.timeout(PATIENCE):
            preview = await replicas[0].call("PreviewPolicy", request)
            while preview.replayed < 8:
                await asyncio.sleep(0.05)  # it is written once a second
                preview = await replicas[0].call("PreviewPolicy", request)

        (rule,), (subject,) = preview.rules, preview.subjects
        assert ("api", 8, 0, 4) == (rule.rule, rule.checks, rule.denied_before, rule.denied_after)
        assert ("ann", "api", 0, 4) == (
            subject.subject,
            subject.rule,
            subject.denied_before,
            subject.denied_after,
        )
        assert (1.0, True) == (preview.sampled, preview.HasField("start_time"))


class TestListLimits:
    async def test_tells_all_of_every_rule(self, replicas: list[Replica]) -> None:
        """As it holds for the tenant."""
        here, _ = replicas
        await here.put(SHADOW)
        first = await here.call("ListLimits", pb.ListLimitsRequest(page_size=1))
        request = pb.ListLimitsRequest(page_size=1, page_token=first.next_page_token)
        last = await here.call("ListLimits", request)

        (api,), (spend,) = first.rules, last.rules
        assert [
            ("", ["50/min"], True),
            ("basic", ["10/min"], False),
            ("pro", ["unlimited"], False),
        ] == [(each.plan, [*each.limits], each.tenant_specific) for each in api.plan_limits]
        assert (pb.ALGORITHM_FIXED_WINDOW, pb.MEASURE_COST) == (api.algorithm, api.measure)
        assert (pb.FAILURE_MODE_OPEN, True, ["*"]) == (api.on_failure, api.shadow, [*api.endpoints])
        assert ("spend", pb.MEASURE_MONEY, []) == (spend.name, spend.measure, [*spend.endpoints])
        assert (2, "") == (last.policy_version, last.next_page_token)
        assert [("basic", ["chat"]), ("pro", [])] == [
            (plan.name, [*plan.features]) for plan in last.plans
        ]


def _override(limits: str, **fields: Any) -> pb.PutOverrideRequest:
    end = Timestamp()
    end.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    override = {"subject": "ann", "rule": "api", "expire_time": end, "reason": "test", **fields}
    return pb.PutOverrideRequest(override=pb.Override(limits=limits, **override))


class TestOverride:
    async def test_holds_on_every_replica_and_ends_there(self, replicas: list[Replica]) -> None:
        """What was consumed before stays consumed."""
        here, there = replicas
        for _ in range(3):
            await here.check()
        put = (await here.call("PutOverride", _override("99/min"))).override
        await there.until(lambda decision: decision.limit.limit == 99)
        remaining = (await there.check()).limit.remaining
        explained = await there.call("Explain", pb.ExplainRequest(subject="ann", endpoint="x"))
        others = (await there.check("bob")).limit.limit
        delete = pb.DeleteOverrideRequest(subject="ann", rule="api", reason="over")
        deleted = [(await here.call("DeleteOverride", delete)).deleted for _ in range(2)]
        await there.until(lambda decision: decision.limit.limit == 10)

        assert (95, 10, [True, False]) == (remaining, others, deleted)
        assert pb.LIMIT_SOURCE_OVERRIDE == explained.rules[0].limit_source
        assert put == explained.rules[0].override

    async def test_is_listed_as_it_was_put(self, replicas: list[Replica]) -> None:
        """By subject, page by page; it can be changed with its mark only."""
        here, there = replicas
        put = [
            (await here.call("PutOverride", _override("9/s", subject=subject))).override
            for subject in ("b", "a:{}\N{SNOWMAN}" * 20, "c")
        ]
        listed, token = list[pb.Override](), ""
        while not listed or token:
            request = pb.ListOverridesRequest(page_size=1, page_token=token)
            response = await there.call("ListOverrides", request)
            listed.extend(response.overrides)
            token = response.next_page_token
        with pytest.raises(ConflictError):
            await there.call("PutOverride", _override("9/s", subject="b", etag=put[1].etag))

        assert sorted(put, key=lambda override: override.subject) == listed
        assert ("anonymous", "test") == (listed[0].creator, listed[0].reason)

    async def test_of_a_rule_that_there_is_not_is_told(self, replicas: list[Replica]) -> None:
        """With a reason of its own."""
        with pytest.raises(NotFoundError) as caught:
            await replicas[0].call("PutOverride", _override("9/s", rule="nothing"))

        assert "RULE_NOT_FOUND" == caught.value.reason

    async def test_that_says_nothing_is_told_all_of_it(self, replicas: list[Replica]) -> None:
        """Every field that is required."""
        with pytest.raises(ValidationError) as caught:
            await replicas[0].call("PutOverride", pb.PutOverrideRequest())

        parts = ("subject", "rule", "limits", "expire_time", "reason")
        assert [f"override.{part}" for part in parts] == [*caught.value.fields]


class TestWithoutDatabase:
    async def test_the_file_is_shown_and_followed(self, alone: Replica, path: Path) -> None:
        """It has no version."""
        before = await alone.call("GetPolicy", pb.GetPolicyRequest())
        await asyncio.to_thread(path.write_text, text_of("7/min"))
        await alone.until(lambda decision: decision.limit.limit == 7)
        after = await alone.call("GetPolicy", pb.GetPolicyRequest())

        assert [text_of("10/min"), text_of("7/min")] == [before.text, after.text]
        assert not before.HasField("version")
        assert 0 == (await alone.check()).policy_version

    @pytest.mark.parametrize(
        ("method", "request_"),
        [
            ("PutPolicy", pb.PutPolicyRequest(text=text_of("7/min"), reason="x")),
            ("RollbackPolicy", pb.RollbackPolicyRequest(version=1, reason="x")),
            ("GetPolicy", pb.GetPolicyRequest(version=1)),
            ("ListPolicyVersions", pb.ListPolicyVersionsRequest()),
            ("PutOverride", _override("9/s")),
            ("ListOverrides", pb.ListOverridesRequest()),
            ("DeleteOverride", pb.DeleteOverrideRequest(subject="ann", rule="api")),
            ("AssignPlan", pb.AssignPlanRequest(subject="ann")),
            ("GetPlan", pb.GetPlanRequest(subject="ann")),
            ("ListViolations", pb.ListViolationsRequest()),
            ("GetAnalytics", pb.GetAnalyticsRequest()),
            ("SummarizeAiUsage", pb.SummarizeAiUsageRequest()),
        ],
    )
    async def test_what_has_to_be_kept_says_what_is_missing(
        self, alone: Replica, method: str, request_: Any
    ) -> None:
        """And which setting would help."""
        with pytest.raises(PreconditionError, match="MAINSTAY_POSTGRES_URL") as caught:
            await alone.call(method, request_)

        assert "NO_DATABASE" == caught.value.reason

    @pytest.mark.parametrize(
        ("method", "request_"),
        [
            ("ListLimits", pb.ListLimitsRequest()),
            ("Explain", pb.ExplainRequest(subject="ann", endpoint="x")),
            ("Reset", pb.ResetRequest(subject="ann", everything=True)),
            ("PutPolicy", pb.PutPolicyRequest(text=text_of("7/min"), validate_only=True)),
            ("PreviewPolicy", pb.PreviewPolicyRequest(text=text_of("7/min"))),
            ("ReserveAiUsage", pb.ReserveAiUsageRequest(subject="ann", provider="p", model="m")),
            ("RecordAiUsage", pb.RecordAiUsageRequest(subject="ann", provider="p", model="m")),
        ],
    )
    async def test_what_need_not_be_kept_is_done(
        self, alone: Replica, method: str, request_: Any
    ) -> None:
        """An AI call is charged and a reset carried out, though neither is in a table."""
        await alone.call(method, request_)
