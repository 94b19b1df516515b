"""ReserveTokens and ReturnTokens over gRPC, on two replicas and a real Redis."""

import asyncio
from typing import Any

import pytest
import redis.asyncio
from google.protobuf.duration_pb2 import Duration

from mainstay.errors import ValidationError
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from services.ratelimit.opaque import seal
from services.ratelimit.policy import Policy
from services.ratelimit.reservation import Held, share_token
from tests.integration.ratelimit.lending.lender import (
    ACME,
    ANN,
    CATCH_ALL,
    MINUTE,
    SECOND,
    Lender,
    per_minute,
    rate_rule,
)


async def left(lender: Lender, **fields: Any) -> int:
    """Return what is left of the limit, by asking for more than there can be."""
    answer = await lender.reserve(1_000_000, min_amount=1_000_000, **fields)
    return int(min(state.remaining for state in answer.decision.limits or [answer.decision.limit]))


class TestShares:
    async def test_a_share_counts_as_consumed_at_once(self, here: Lender, there: Lender) -> None:
        """On every replica; it may be spent for a tenth of the window."""
        answer = await here.reserve(40)
        share, decision = answer.reservation, answer.decision

        assert pb.OUTCOME_ALLOWED == decision.outcome
        assert (40, 60) == (share.amount, decision.limit.remaining)
        assert Duration(seconds=6) == share.ttl
        assert share.expire_time.seconds == decision.decide_time.seconds + 6
        assert await left(there) == 60

    async def test_less_is_granted_when_less_is_left(self, here: Lender) -> None:
        """Exactly what is left."""
        await here.reserve(90)
        answer = await here.reserve(40)
        denied = await here.reserve(1)

        assert (10, 0) == (answer.reservation.amount, answer.decision.limit.remaining)
        assert pb.OUTCOME_ALLOWED == answer.decision.outcome
        assert pb.OUTCOME_DENIED == denied.decision.outcome

    async def test_more_than_the_limit_is_all_of_it(self, here: Lender) -> None:
        """Nobody has to know the limit."""
        assert (await here.reserve(1_000_000)).reservation.amount == 100

    async def test_a_share_too_small_to_be_of_use_is_not_taken(self, here: Lender) -> None:
        """The denial says when the least that is of use will be there."""
        await here.reserve(90)
        answer = await here.reserve(40, min_amount=20)

        assert pb.OUTCOME_DENIED == answer.decision.outcome
        assert not answer.HasField("reservation")
        assert 59 <= answer.decision.retry_after.seconds <= 62
        assert await left(here) == 10

    async def test_a_least_above_the_limit_can_never_be_had(self, here: Lender) -> None:
        """And the denial says so."""
        answer = await here.reserve(200, min_amount=101)

        assert pb.DENIAL_REASON_COST_ABOVE_LIMIT == answer.decision.reason
        assert not answer.decision.HasField("retry_after")

    async def test_the_tightest_of_several_limits_decides(self, here: Lender) -> None:
        """And every one of them is charged as much as was granted."""
        answer = await here.reserve(25, endpoint="/burst")

        assert answer.reservation.amount == 10
        assert [0, 20] == [state.remaining for state in answer.decision.limits]

    async def test_fifty_callers_at_two_replicas(self, here: Lender, there: Lender) -> None:
        """Get all of the limit and nothing beyond it, however they share it."""
        answers = await asyncio.gather(
            *(replica.reserve(7) for replica in (here, there) for _ in range(25))
        )
        granted = [answer.reservation.amount for answer in answers]

        assert sum(granted) == 100
        assert all(
            (amount > 0) == (answer.decision.outcome == pb.OUTCOME_ALLOWED)
            for amount, answer in zip(granted, answers, strict=True)
        )

    @pytest.mark.parametrize(
        ("endpoint", "before"), [("/free", 0), ("/watched", 5)], ids=["unlimited", "shadow"]
    )
    async def test_who_is_not_limited_spends_freely(
        self, here: Lender, endpoint: str, before: int
    ) -> None:
        """Unlimited, and what a rule in shadow would have denied."""
        if before:
            await here.reserve(before, endpoint=endpoint)
        answer = await here.reserve(40, endpoint=endpoint)

        assert pb.OUTCOME_ALLOWED == answer.decision.outcome
        assert not answer.HasField("reservation")

    async def test_the_observer_hears_of_what_was_granted(self, here: Lender) -> None:
        """Once for each call, not of every attempt."""
        for amount in (90, 40, 3):
            await here.reserve(amount)
        told = [(seen.act.cost, seen.decision.allowed) for seen in here.observer.seen]

        assert [(90, True), (10, True), (1, False)] == told


class TestReturns:
    async def test_what_was_not_spent_comes_back(self, here: Lender, there: Lender) -> None:
        """At once, through any replica."""
        share = (await here.reserve(40)).reservation
        returned = await there.give_back(share.token, 30)

        assert (30, 90) == (returned, await left(here))

    async def test_it_comes_back_once(self, here: Lender, there: Lender) -> None:
        """Whoever asks again, even for another part, or at the same time."""
        share = (await here.reserve(40)).reservation
        told = await asyncio.gather(
            *(replica.give_back(share.token, 10) for replica in (here, there) for _ in range(5))
        )
        later = await here.give_back(share.token, 40)

        assert [0] * 9 + [10] == sorted(told)
        assert (0, 70) == (later, await left(here))

    async def test_having_spent_all_is_the_end_of_it(
        self, here: Lender, raw: "redis.asyncio.Redis"
    ) -> None:
        """Nothing comes back, and nothing is kept."""
        share = (await here.reserve(40)).reservation
        returned = await here.give_back(share.token, 0)

        assert (0, 60) == (returned, await left(here))
        assert await raw.keys("*~held*") == []

    async def test_every_limit_of_the_rule_gets_it(self, here: Lender) -> None:
        """Those that were charged."""
        share = (await here.reserve(10, endpoint="/burst")).reservation
        await here.give_back(share.token, 10)
        answer = await here.reserve(1, endpoint="/burst")

        assert [9, 29] == [state.remaining for state in answer.decision.limits]

    async def test_what_has_left_the_window_does_not_come_back(self, here: Lender) -> None:
        """Nor in the place of what others consumed since."""
        await here.reserve(40)
        ago = await _server_time(here) - 3 * MINUTE
        held = Held(subject=ANN, plan="", consumed_at=ago, amounts={("chat", 0): 40})
        reservation = await here.reservations.hold(ACME, held, MINUTE)
        returned = await here.give_back(share_token(reservation, 40), 40)

        assert (0, 60) == (returned, await left(here))

    async def test_another_tenant_gets_nothing(self, here: Lender, elsewhere: Lender) -> None:
        """And takes nothing from whoever holds the share."""
        share = (await here.reserve(40)).reservation

        assert await elsewhere.give_back(share.token, 40) == 0
        assert await here.give_back(share.token, 40) == 40

    async def test_a_changed_limit_gets_it_too(self, here: Lender) -> None:
        """It goes to the rule as it is now."""
        share = (await here.reserve(40)).reservation
        here.policies.current = Policy([CATCH_ALL, rate_rule("chat", per_minute(50))])

        assert (40, 50) == (await here.give_back(share.token, 40), await left(here))

    @pytest.mark.parametrize("rules", [[CATCH_ALL], [CATCH_ALL, rate_rule("chat")]])
    async def test_a_limit_that_is_gone_has_nothing_to_get(
        self, here: Lender, rules: list[Any]
    ) -> None:
        """The rule, or its limit."""
        share = (await here.reserve(40)).reservation
        here.policies.current = Policy(rules)

        assert await here.give_back(share.token, 40) == 0

    async def test_a_plan_that_is_gone_hinders_nothing(self, here: Lender) -> None:
        """The share was the subject's, whatever plan was named."""
        share = (await here.reserve(40, plan="pro")).reservation
        here.policies.current = Policy([CATCH_ALL, rate_rule("chat", per_minute(50))])

        assert await here.give_back(share.token, 40) == 40


class TestHowLongAShareMayBeSpent:
    @pytest.mark.parametrize(
        ("endpoint", "asked", "given"),
        [("/chat", None, 6), ("/chat", 60, 60), ("/chat", 1, 1), ("/burst", None, 1)],
    )
    async def test_up_to_the_shortest_window(
        self, here: Lender, endpoint: str, asked: int | None, given: int
    ) -> None:
        """By default a tenth of it, and at least a second."""
        ttl = None if asked is None else Duration(seconds=asked)
        share = (await here.reserve(1, endpoint=endpoint, ttl=ttl)).reservation

        assert Duration(seconds=given) == share.ttl

    async def test_it_can_be_returned_for_some_minutes_more(
        self, here: Lender, raw: "redis.asyncio.Redis"
    ) -> None:
        """A holder that was held up is late, not wrong."""
        await here.reserve(1)
        (key,) = await raw.keys("*~held*")

        assert 600 <= await raw.ttl(key) <= 606


class TestWrongRequests:
    @pytest.mark.parametrize(
        ("fields", "wrong"),
        [
            ({"amount": 0}, {"amount"}),
            ({"amount": 1_000_001}, {"amount"}),
            ({"amount": 5, "min_amount": 6}, {"min_amount"}),
            ({"amount": 5, "min_amount": 0, "ttl": Duration(seconds=61)}, {"min_amount", "ttl"}),
            ({"amount": 5, "ttl": Duration(nanos=999_999_999)}, {"ttl"}),
            ({"amount": 5, "endpoint": "/burst", "ttl": Duration(seconds=2)}, {"ttl"}),
            ({"amount": 5, "subject": "", "endpoint": "\0"}, {"subject", "endpoint"}),
            ({"amount": 5, "plan": "gold"}, {"plan"}),
        ],
    )
    async def test_each_wrong_field_is_named(
        self, here: Lender, fields: dict[str, Any], wrong: set[str]
    ) -> None:
        """And nothing is consumed."""
        with pytest.raises(ValidationError) as failed:
            await here.reserve(**fields)

        assert wrong == set(failed.value.fields)
        assert await left(here) == 100

    @pytest.mark.parametrize(
        "forge",
        [
            lambda token: "",
            lambda token: token[:-1],
            lambda token: ("B" if token[0] == "A" else "A") + token[1:],
            lambda token: seal(b"R"),
            lambda token: seal(b"L" + bytes(20)),
        ],
        ids=range(5),
    )
    async def test_a_token_that_was_never_issued_is_refused(self, here: Lender, forge: Any) -> None:
        """And not taken for one that was returned before."""
        token = forge((await here.reserve(40)).reservation.token)
        with pytest.raises(ValidationError) as failed:
            await here.give_back(token, 1)

        assert {"token"} == set(failed.value.fields)

    async def test_more_than_the_share_cannot_come_back(self, here: Lender) -> None:
        """The share is still there to be returned."""
        share = (await here.reserve(40)).reservation
        with pytest.raises(ValidationError) as failed:
            await here.give_back(share.token, 41)

        assert {"unused"} == set(failed.value.fields)
        assert await here.give_back(share.token, 40) == 40


async def _server_time(lender: Lender) -> int:
    seconds, microseconds = await lender.redis.execute("TIME")
    return int(seconds) * SECOND + int(microseconds)
