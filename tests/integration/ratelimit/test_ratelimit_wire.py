"""Check and Peek through the real server, on the shipped policy."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis.asyncio
from prometheus_client import REGISTRY

from mainstay import context
from mainstay.channel import Channel
from mainstay.errors import ValidationError
from mainstay.ratelimit.client import RateLimitClient
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc

SUBJECT = "user:42"
ROOM_FOR_BUCKETS = 1.05  # a ring frees up to a 59th late; the rest is for the clock to move on


def _decided(outcome: str) -> float:
    labels = {"rule": "auth", "outcome": outcome}
    return REGISTRY.get_sample_value("mainstay_ratelimit_decisions_total", labels) or 0.0


class TestCheck:
    async def test_it_allows_and_consumes_until_the_limit(self, limits: RateLimitClient) -> None:
        """Ten chats a minute on the plan basic."""
        decisions = [await limits.check(SUBJECT, "ai_chat", plan="basic") for _ in range(11)]

        assert [told.allowed for told in decisions] == [True] * 10 + [False]
        assert [told.remaining for told in decisions] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]

    async def test_the_decision_says_what_applied(self, limits: RateLimitClient) -> None:
        """The rule, the plan and the limit, and when all is back."""
        told = await limits.check(SUBJECT, "ai_chat", plan="pro", cost=7)

        assert (told.rule, told.plan) == ("ai_chat", "pro")
        assert (told.limit, told.window, told.remaining) == (50, 60.0, 43)
        assert told.retry_after is None
        assert told.reset_time is not None
        assert timedelta(0) < told.reset_time - datetime.now(UTC) < timedelta(seconds=63)

    async def test_a_denial_says_how_long_to_wait(self, limits: RateLimitClient) -> None:
        """At least the window, because all was consumed just now."""
        await limits.check(SUBJECT, "ai_chat", plan="basic", cost=10)
        told = await limits.check(SUBJECT, "ai_chat", plan="basic")

        assert not told.allowed
        assert told.retry_after is not None
        assert 59 < told.retry_after < 60 * ROOM_FOR_BUCKETS

    async def test_a_cost_above_the_limit_is_denied_without_a_time(
        self, limits: RateLimitClient
    ) -> None:
        """Waiting does not help; a smaller cost passes at once."""
        told = await limits.check(SUBJECT, "ai_chat", plan="basic", cost=11)
        after = await limits.check(SUBJECT, "ai_chat", plan="basic", cost=10)

        assert (told.allowed, told.retry_after, told.remaining) == (False, None, 10)
        assert "retry-after" not in told.headers
        assert after.allowed

    async def test_a_change_of_plan_keeps_what_was_consumed(self, limits: RateLimitClient) -> None:
        """Or one could consume every plan's limit in turn."""
        await limits.check(SUBJECT, "ai_chat", plan="basic", cost=10)
        told = await limits.check(SUBJECT, "ai_chat", plan="pro")

        assert (told.allowed, told.remaining) == (True, 39)

    async def test_endpoints_of_one_rule_share_a_counter(self, limits: RateLimitClient) -> None:
        """Otherwise a longer path would be a way around the limit."""
        await limits.check(SUBJECT, "/api/one", cost=60)
        told = await limits.check(SUBJECT, "/api/two?x=1", cost=60)

        assert (told.allowed, told.remaining) == (False, 40)


class TestPeek:
    async def test_it_decides_and_consumes_nothing(self, limits: RateLimitClient) -> None:
        """Peek as often as you like."""
        await limits.check(SUBJECT, "ai_chat", plan="basic", cost=4)
        peeks = [await limits.peek(SUBJECT, "ai_chat", plan="basic", cost=6) for _ in range(3)]
        too_much = await limits.peek(SUBJECT, "ai_chat", plan="basic", cost=7)

        assert [(told.allowed, told.remaining) for told in peeks] == [(True, 6)] * 3
        assert not too_much.allowed
        assert too_much.retry_after is not None

    async def test_nothing_consumed_has_nothing_to_reset(self, limits: RateLimitClient) -> None:
        """The reset of a subject nobody has seen is now."""
        told = await limits.peek(SUBJECT, "ai_chat")

        assert (told.remaining, told.headers["x-ratelimit-reset"]) == (20, "0")


class TestHeaders:
    async def test_both_dialects_come_ready_to_copy(self, limits: RateLimitClient) -> None:
        """Names in lower case, as HTTP/2 wants them."""
        told = await limits.check(SUBJECT, "/api/auth/login", cost=2)
        reset = told.headers["x-ratelimit-reset"]

        assert told.headers == {
            "x-ratelimit-limit": "5",
            "x-ratelimit-remaining": "3",
            "x-ratelimit-reset": reset,
            "ratelimit-policy": '"auth";q=5;w=300',
            "ratelimit": f'"auth";r=3;t={reset}',
        }
        assert 300 <= int(reset) <= 300 * ROOM_FOR_BUCKETS

    async def test_a_denial_adds_the_wait_in_whole_seconds(self, limits: RateLimitClient) -> None:
        """Rounded up: who waits this long passes."""
        await limits.check(SUBJECT, "auth", cost=5)
        told = await limits.check(SUBJECT, "auth")

        assert told.retry_after is not None
        assert 0 <= int(told.headers["retry-after"]) - told.retry_after < 1


class TestUnlimited:
    async def test_it_is_allowed_and_counted_nowhere(
        self, limits: RateLimitClient, raw: "redis.asyncio.Redis"
    ) -> None:
        """No state, no headers, no key."""
        told = await limits.check(SUBJECT, "ai_chat", plan="enterprise", cost=1_000_000)

        assert await raw.keys("rl:{*") == []
        assert (told.allowed, told.rule, told.plan) == (True, "ai_chat", "enterprise")
        assert (told.limit, told.remaining, told.reset_time, told.headers) == (None, None, None, {})


class TestMetrics:
    async def test_checks_are_counted_by_rule_and_outcome(self, limits: RateLimitClient) -> None:
        """Peeks are not: they decide nothing."""
        before = _decided("allowed"), _decided("denied")
        for _ in range(7):
            await limits.check(SUBJECT, "auth")
            await limits.peek(SUBJECT, "auth")
        after = _decided("allowed"), _decided("denied")

        assert (after[0] - before[0], after[1] - before[1]) == (5, 2)


class TestTenants:
    async def test_one_tenant_never_consumes_anothers_limit(self, limits: RateLimitClient) -> None:
        """The same subject, the same endpoint."""
        await limits.check(SUBJECT, "auth", cost=5)
        with context.request(tenant="globex"):
            told = await limits.check(SUBJECT, "auth")

        assert (told.allowed, told.remaining) == (True, 4)


class TestValidation:
    @pytest.mark.parametrize(
        ("fields", "mistakes"),
        [
            ({"cost": 0}, {"cost": "is 0; give 1 to 1,000,000, or leave it out for 1"}),
            (
                {"cost": 1_000_001},
                {"cost": "is 1000001; give 1 to 1,000,000, or leave it out for 1"},
            ),
            ({"subject": ""}, {"subject": "is empty; give 1 to 256 bytes"}),
            ({"subject": "a\x00b"}, {"subject": "contains a control character; leave it out"}),
            ({"subject": "é" * 129}, {"subject": "has 258 bytes; give 1 to 256 bytes"}),
            ({"endpoint": ""}, {"endpoint": "is empty; give 1 to 256 bytes"}),
            ({"endpoint": "/a\n"}, {"endpoint": "contains a control character; leave it out"}),
            ({"endpoint": "a" * 257}, {"endpoint": "has 257 bytes; give 1 to 256 bytes"}),
            (
                {"plan": "gold"},
                {"plan": "is not in the policy; known are basic, pro, enterprise; or leave it out"},
            ),
            (
                {"subject": "", "endpoint": "", "cost": 0},
                {
                    "subject": "is empty; give 1 to 256 bytes",
                    "endpoint": "is empty; give 1 to 256 bytes",
                    "cost": "is 0; give 1 to 1,000,000, or leave it out for 1",
                },
            ),
        ],
    )
    @pytest.mark.parametrize("method", ["Check", "Peek"])
    async def test_every_wrong_field_is_named(
        self, channel: Channel, method: str, fields: dict[str, Any], mistakes: dict[str, str]
    ) -> None:
        """With what is wrong and what would be right, and nothing is consumed."""
        stub = pb_grpc.RateLimitServiceStub(channel.raw)
        request_type = getattr(pb, f"{method}Request")
        request = request_type(**({"subject": SUBJECT, "endpoint": "ai_chat"} | fields))
        with pytest.raises(ValidationError) as caught:
            await channel.unary(getattr(stub, method), request)

        assert caught.value.fields == mistakes

    async def test_a_cost_that_is_left_out_is_one(self, channel: Channel) -> None:
        """Unset differs from zero."""
        stub = pb_grpc.RateLimitServiceStub(channel.raw)
        request = pb.CheckRequest(subject=SUBJECT, endpoint="ai_chat")
        response = await channel.unary(stub.Check, request)

        assert response.decision.limit.remaining == 19

    @pytest.mark.parametrize("cost", [-1, 0, 2**32])
    async def test_the_client_refuses_what_the_message_cannot_carry(
        self, limits: RateLimitClient, cost: int
    ) -> None:
        """With the same kind of error as the service's."""
        with pytest.raises(ValidationError) as caught:
            await limits.check(SUBJECT, "ai_chat", cost=cost)

        assert caught.value.fields == {"cost": f"is {cost}; give 1 to 1,000,000"}
