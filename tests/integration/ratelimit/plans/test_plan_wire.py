"""Plans through whole services: two rate limits, a cache and jobs, as `mainstay up` runs them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import grpc
import pytest

from mainstay.channel import Channel
from mainstay.errors import MainstayError, NotFoundError, PreconditionError, ValidationError
from mainstay.jobs import JobClient
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc
from services.ratelimit.app import build
from services.ratelimit.settings import RateLimitSettings
from tests.integration.ratelimit.plans.replica import ACME, ANN, POLICIES
from tests.integration.shared.waiting import PATIENCE

SECOND = 1.0


class Caller:
    """Calls one replica of the rate limits as the tenant `acme`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stub = pb_grpc.RateLimitServiceStub(channel.raw)

    async def assign(self, subject: str, plan: str) -> pb.PlanAssignment:
        """Put a subject on a plan."""
        request = pb.AssignPlanRequest(subject=subject, plan=plan, reason="a test")
        return (await self._channel.unary(self._stub.AssignPlan, request)).assignment

    async def get(self, subject: str) -> pb.GetPlanResponse:
        """Return the plan of a subject."""
        return await self._channel.unary(self._stub.GetPlan, pb.GetPlanRequest(subject=subject))

    async def feature(self, subject: str, feature: str) -> pb.CheckFeatureResponse:
        """Check a feature."""
        request = pb.CheckFeatureRequest(subject=subject, feature=feature)
        return await self._channel.unary(self._stub.CheckFeature, request)

    async def peek(self, subject: str) -> pb.Decision:
        """Look at the limit of a chat."""
        request = pb.PeekRequest(subject=subject, endpoint="ai_chat")
        return (await self._channel.unary(self._stub.Peek, request)).decision

    async def until_plan(self, subject: str, plan: str) -> float:
        """Peek until the limits of a plan apply; returns the seconds that took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(PATIENCE):
            while (await self.peek(subject)).plan != plan:  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.002)
        return loop.time() - began


async def start_ratelimit(stack: AsyncExitStack, **settings: object) -> Caller:
    """Start a replica and call it."""
    service = build(
        RateLimitSettings.model_validate(
            {
                "policies_dir": POLICIES,
                "ratelimit_port": 0,
                "ratelimit_ops_port": 0,
                "shutdown_grace": 0.2,
                **settings,
            }
        )
    )
    await stack.enter_async_context(service.running())
    return Caller(await stack.enter_async_context(Channel(service.address, tenant=ACME)))


@pytest.fixture
async def callers(
    redis_url: str, postgres_url: str, cache_address: str, jobs_address: str, stack: AsyncExitStack
) -> Sequence[Caller]:
    """Start two replicas that know of all the others."""
    return [
        await start_ratelimit(
            stack,
            redis_url=redis_url,
            postgres_url=postgres_url,
            ratelimit_cache_address=cache_address,
            ratelimit_jobs_address=jobs_address,
        )
        for _ in range(2)
    ]


@pytest.fixture
async def jobs(jobs_address: str) -> AsyncIterator[JobClient]:
    async with Channel(jobs_address, tenant=ACME) as channel:
        yield JobClient(channel)


class TestAssignPlan:
    async def test_changes_the_limits_on_every_replica_within_a_second(
        self, callers: Sequence[Caller]
    ) -> None:
        """From the answer to the call that assigned it, while everybody is asking."""
        here, there = callers
        took = []
        for plan in ("basic", "pro", "basic", "pro"):
            await here.assign(ANN, plan)
            took += await asyncio.gather(*(each.until_plan(ANN, plan) for each in (here, there)))
        decision = await there.peek(ANN)

        assert max(took) < SECOND
        assert ("pro", 50) == (decision.plan, decision.limit.limit)

    async def test_is_what_another_replica_tells(self, callers: Sequence[Caller]) -> None:
        """Who, since when, by whom."""
        here, there = callers
        assignment = await here.assign(ANN, "pro")

        assert assignment == (await there.get(ANN)).assignment
        assert (ANN, "pro", "anonymous") == (
            assignment.subject,
            assignment.plan,
            assignment.assigner,
        )
        assert assignment.HasField("assign_time")

    async def test_refuses_what_cannot_be(self, callers: Sequence[Caller]) -> None:
        """With the field's name."""
        with pytest.raises(ValidationError) as error:
            await callers[0].assign(ANN, "gold")

        assert ["plan"] == list(error.value.fields)


class TestGetPlan:
    async def test_of_somebody_unknown_is_empty(self, callers: Sequence[Caller]) -> None:
        """No plan, and no time."""
        response = await callers[0].get(ANN)

        assert ("", False) == (
            response.assignment.plan,
            response.assignment.HasField("assign_time"),
        )


class TestCheckFeature:
    async def test_names_the_plan_to_offer(self, callers: Sequence[Caller]) -> None:
        """Of the features that the shipped policy names."""
        here, there = callers
        await here.assign(ANN, "enterprise")
        await there.until_plan(ANN, "enterprise")
        feature = (await there.get(ANN)).features[0]
        included = await there.feature(ANN, feature)
        nobody = await there.feature("user:bob", feature)

        assert (True, "enterprise", pb.PLAN_SOURCE_ASSIGNED, "") == (
            included.included,
            included.plan,
            included.plan_source,
            included.upgrade_plan,
        )
        assert (False, "", pb.PLAN_SOURCE_NONE) == (
            nobody.included,
            nobody.plan,
            nobody.plan_source,
        )
        assert nobody.upgrade_plan == nobody.plans[0] == included.plans[0]

    async def test_of_a_feature_that_there_is_not_fails(self, callers: Sequence[Caller]) -> None:
        """NOT_FOUND, with a reason for programs."""
        with pytest.raises(NotFoundError) as error:
            await callers[0].feature(ANN, "no-such-thing")

        assert "FEATURE_NOT_FOUND" == error.value.reason


class TestMembership:
    async def test_changes_the_limits_on_every_replica_within_a_second(
        self, callers: Sequence[Caller], jobs: JobClient
    ) -> None:
        """From the call that sends the event."""
        loop = asyncio.get_running_loop()
        await self._first(callers, jobs)
        began = loop.time()
        await self._update(jobs, "pro")
        await asyncio.gather(*(each.until_plan("user:42", "pro") for each in callers))

        assert loop.time() - began < SECOND

    async def _first(self, callers: Sequence[Caller], jobs: JobClient) -> None:
        """Send until there is a worker: what was sent before there was one started nothing."""
        async with asyncio.timeout(PATIENCE):
            while not await self._update(jobs, "basic"):  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.02)
        await asyncio.gather(*(each.until_plan("user:42", "basic") for each in callers))

    async def _update(self, jobs: JobClient, plan: str) -> Sequence[str]:
        data = {"user_id": "42", "plan": plan, "status": "active"}
        return (await jobs.send_event("membership/updated", data)).job_ids


class TestServiceAlone:
    async def test_without_a_database_says_so(self, redis_url: str, stack: AsyncExitStack) -> None:
        """FAILED_PRECONDITION, and checks go on."""
        alone = await start_ratelimit(stack, redis_url=redis_url)
        failures: list[MainstayError] = []
        for call in (alone.assign(ANN, "pro"), alone.get(ANN)):
            with pytest.raises(PreconditionError) as error:
                await call
            failures.append(error.value)

        assert ["NO_DATABASE"] * 2 == [failure.reason for failure in failures]
        assert {grpc.StatusCode.FAILED_PRECONDITION} == {failure.code for failure in failures}
        assert pb.OUTCOME_ALLOWED == (await alone.peek(ANN)).outcome

    async def test_without_a_cache_has_plans_all_the_same(
        self, redis_url: str, postgres_url: str, stack: AsyncExitStack
    ) -> None:
        """PostgreSQL is asked."""
        alone = await start_ratelimit(stack, redis_url=redis_url, postgres_url=postgres_url)
        await alone.assign(ANN, "pro")

        assert await alone.until_plan(ANN, "pro") < SECOND

    async def test_does_not_wait_for_cache_and_jobs(
        self, redis_url: str, postgres_url: str, stack: AsyncExitStack
    ) -> None:
        """It starts without them, and serves; whoever is not on a plan has the default limits."""
        alone = await start_ratelimit(
            stack,
            redis_url=redis_url,
            postgres_url=postgres_url,
            ratelimit_cache_address="127.0.0.1:1",
            ratelimit_jobs_address="127.0.0.1:1",
        )
        await alone.assign(ANN, "pro")

        assert await alone.until_plan(ANN, "pro") < SECOND
        assert 20 == (await alone.peek("user:bob")).limit.limit
