"""Acts of several subjects in one check: who is told and noted as the one that was denied."""

import pytest

from mainstay.errors import ValidationError
from services.ratelimit.act import Act
from services.ratelimit.decision import PlanSource
from services.ratelimit.limiter import Limiter
from services.ratelimit.policy import Policy
from services.ratelimit.redis_counters import RedisCounterStore
from services.ratelimit.resolving import Resolver
from shared.redis.client import Redis
from tests.integration.ratelimit.lending.lender import (
    ACME,
    CATCH_ALL,
    KnownOverrides,
    Listening,
    NobodyAssigned,
    per_minute,
    rate_rule,
)

POLICY = Policy(
    [
        CATCH_ALL,
        rate_rule("chat", per_minute(5), plans={"pro": (per_minute(50),)}),
        rate_rule("video", per_minute(2), plans={"pro": (per_minute(20),)}),
        rate_rule("watched", per_minute(1), shadow=True),
        rate_rule("free"),
    ]
)


class InForce:
    """The policy."""

    current = POLICY


def act(subject: str, endpoint: str = "/chat", *, plan: str = "", cost: int = 1) -> Act:
    return Act.of(subject, endpoint, plan, cost)


@pytest.fixture
def observer() -> Listening:
    """Hear what is noted."""
    return Listening()


@pytest.fixture
def limiter(link: Redis, observer: Listening) -> Limiter:
    """Decide about acts by the policy."""
    return Limiter(
        policies=InForce(),
        resolver=Resolver(KnownOverrides(), NobodyAssigned()),
        store=RedisCounterStore(link),
        observer=observer,
        now_us=lambda: 0,
    )


class TestDenied:
    async def test_who_was_over_is_noted_and_nobody_else(
        self, limiter: Limiter, observer: Listening
    ) -> None:
        """Also where somebody else asked the same rule before."""
        denied = await limiter.check(ACME, [act("user:ann"), act("user:bob", cost=6)])

        assert not denied.allowed
        assert [("user:bob", False, 1)] == [
            (seen.act.subject, seen.decision.allowed, len(seen.decision.states))
            for seen in observer.seen
        ]

    async def test_the_plan_is_that_of_the_limit_that_decided(self, limiter: Limiter) -> None:
        """Not that of the first act."""
        acts = [act("user:ann", plan="pro"), act("user:bob", "/video", cost=3)]
        denied = await limiter.check(ACME, acts)
        peeked = await limiter.peek(ACME, acts[::-1])

        assert {("video", "", PlanSource.NONE)} == {
            (told.rule, told.plan, told.plan_source) for told in (denied, peeked)
        }


class TestAllowed:
    async def test_each_act_is_noted_with_its_own_limits(
        self, limiter: Limiter, observer: Listening
    ) -> None:
        """A rule that only watches would have denied one of them, not the other."""
        acts = [act("user:ann", "/watched"), act("user:bob", "/watched", cost=2)]
        allowed = await limiter.check(ACME, acts)

        assert allowed.allowed
        assert [("user:ann", (True,)), ("user:bob", (False,))] == [
            (seen.act.subject, tuple(state.admits for state in seen.decision.states))
            for seen in observer.seen
        ]

    async def test_what_is_unlimited_is_told_as_the_first_act(self, limiter: Limiter) -> None:
        """There is no limit that decided."""
        told = await limiter.check(ACME, [act("a", "/free"), act("b", "/free", plan="pro")])

        assert ("free", None) == (told.rule, told.state)

    async def test_a_plan_that_there_is_not_refuses_all(self, limiter: Limiter) -> None:
        """Nothing is consumed."""
        with pytest.raises(ValidationError):
            await limiter.check(ACME, [act("a"), act("b", plan="gold")])

        assert (await limiter.peek(ACME, [act("a", cost=5)])).allowed
