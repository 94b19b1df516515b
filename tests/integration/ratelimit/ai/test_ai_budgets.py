"""Budgets in tokens and money: asked by an estimate before a call, charged after it."""

import asyncio
from typing import Any

import pytest

from mainstay.errors import ValidationError
from services.ratelimit.decision import DenialReason, PlanSource
from services.ratelimit.overrides import Override
from services.ratelimit.policy import DAY, MAX_QUOTA, SECOND, Algorithm, Measure
from tests.integration.ratelimit.ai.conftest import StartSpender
from tests.integration.ratelimit.ai.spender import (
    ACME,
    ANN,
    GLOBEX,
    MONEY,
    TOKENS,
    Spender,
    budget,
    per_day,
)

MILLION = 1_000_000


class TestEstimate:
    async def test_is_consumed_at_once_and_held(self, here: Spender) -> None:
        """What a call may take at most, of all budgets."""
        reserved = await here.reserve(1_000, 2_000)

        assert reserved.decision.allowed
        assert reserved.reservation
        assert 22_500 == reserved.cost
        assert [7_000, 27_500] == [state.remaining for state in reserved.decision.states]

    async def test_above_what_is_left_is_denied_and_takes_nothing(self, here: Spender) -> None:
        """Of no budget: it is all or nothing."""
        await here.record(0, 4_000)  # 40,000 of 50,000
        reserved = await here.reserve(5_000)  # 12,500
        left = await here.left()

        assert not reserved.decision.allowed
        assert ("ai_money", DenialReason.LIMIT) == (
            reserved.decision.rule,
            reserved.decision.reason,
        )
        assert ("", [6_000, 10_000]) == (reserved.reservation, left)

    async def test_above_the_budget_can_never_pass(self, here: Spender) -> None:
        """Which is said."""
        reserved = await here.reserve(10_001, plan="")

        assert DenialReason.COST_ABOVE_LIMIT is reserved.decision.reason
        assert reserved.decision.retry_after is None

    async def test_reckons_with_the_dearest(self, here: Spender) -> None:
        """What the provider has cached is known only afterwards."""
        assert 2_500 == (await here.reserve(1_000)).cost
        assert 3_000 == (await here.reserve(1_000, model="odd")).cost

    async def test_of_a_model_without_a_price_asks_for_tokens_alone(self, here: Spender) -> None:
        """Money is nothing that could be guessed."""
        reserved = await here.reserve(1_000, model="unheard-of")

        assert reserved.cost is None
        assert ["ai_tokens"] == [state.rule.name for state in reserved.decision.states]

    async def test_of_a_free_model_asks_for_tokens_alone(self, here: Spender) -> None:
        """It has a price, which is nothing."""
        reserved = await here.reserve(1_000, model="free")

        assert 0 == reserved.cost
        assert ["ai_tokens"] == [state.rule.name for state in reserved.decision.states]

    async def test_holds_nothing_where_nothing_is_limited(self, here: Spender) -> None:
        """There is nothing to settle."""
        reserved = await here.reserve(5 * MILLION, plan="enterprise")

        assert reserved.decision.allowed
        assert ("", ()) == (reserved.reservation, reserved.decision.states)

    async def test_holds_nothing_of_a_budget_in_shadow_that_is_used_up(
        self, start_spender: StartSpender
    ) -> None:
        """It goes ahead, and consumed nothing."""
        watched = budget("watched", Measure.TOKENS, per_day(100), shadow=True)
        here = await start_spender(rules=(watched,))
        reserved = await here.reserve(101)

        assert reserved.decision.allowed
        assert "" == reserved.reservation

    async def test_is_evidence_of_each_budget(self, here: Spender) -> None:
        """As checks are, with the model for an endpoint."""
        await here.reserve(1_000)
        await here.reserve(9_500)

        assert [
            ("openai/gpt-4o", "ai_tokens", True),
            ("openai/gpt-4o", "ai_money", True),
            ("openai/gpt-4o", "ai_tokens", False),
        ] == [(act.endpoint, it.rule, it.allowed) for act, it in here.seen.decisions]


class TestPlans:
    async def test_decide_the_budgets(self, here: Spender) -> None:
        """The plan of the call first, else the assigned one."""
        here.plans.assigned[ANN] = "pro"
        assigned = await here.reserve(100_000)
        named = await here.reserve(100_000, plan="enterprise")
        other = await here.reserve(100_000, subject="user:bob")

        assert (True, "pro", PlanSource.ASSIGNED) == (
            assigned.decision.allowed,
            assigned.decision.plan,
            assigned.decision.plan_source,
        )
        assert (True, PlanSource.CALL) == (named.decision.allowed, named.decision.plan_source)
        assert not other.decision.allowed

    async def test_stand_behind_overrides(self, here: Spender) -> None:
        """Limits that one subject has for itself."""
        here.overrides.put["ai_tokens", ANN] = Override(
            tenant=ACME, rule="ai_tokens", subject=ANN, limits=(per_day(100),), written="100/d",
            expires_at=2**60, reason="", creator="", created_at=0, etag="",
        )  # fmt: skip
        reserved = await here.reserve(101)

        assert ("ai_tokens", False) == (reserved.decision.rule, reserved.decision.allowed)

    async def test_that_do_not_exist_are_refused(self, here: Spender) -> None:
        """Nothing else would tell of the mistake."""
        with pytest.raises(ValidationError) as caught:
            await here.record(1, plan="gold")

        assert ["plan"] == list(caught.value.fields)


class TestSettlement:
    @pytest.mark.parametrize(
        ("tokens", "answer", "cached", "left"),
        [
            (1_000, 2_000, 0, [7_000, 27_500]),  # as estimated
            (1_000, 500, 0, [8_500, 42_500]),  # less
            (1_000, 500, 1_000, [8_500, 43_750]),  # much of it cached
            (3_000, 4_000, 0, [3_000, 2_500]),  # more
            (9_000, 100, 0, [900, 26_500]),  # more tokens for less money
            (0, 0, 0, [10_000, 50_000]),  # the provider failed
        ],
    )
    async def test_leaves_what_the_call_really_took(
        self, here: Spender, tokens: int, answer: int, cached: int, left: list[int]
    ) -> None:
        """Up or down, of each budget by itself."""
        reserved = await here.reserve(1_000, 2_000)
        recorded = await here.record(tokens, answer, cached, reservation=reserved.reservation)

        assert left == [state.remaining for state in recorded.budgets]

    async def test_goes_beyond_the_limits(self, here: Spender) -> None:
        """It has taken place; then nothing is left."""
        reserved = await here.reserve(1_000)
        recorded = await here.record(20_000, reservation=reserved.reservation)

        assert [0, 0] == [state.remaining for state in recorded.budgets]
        assert not (await here.reserve(1)).decision.allowed

    async def test_happens_once(self, here: Spender) -> None:
        """An estimate that was settled gives back nothing any more."""
        reserved = await here.reserve(1_000, 2_000)
        await here.record(1_000, reservation=reserved.reservation)
        recorded = await here.record(1_000, reservation=reserved.reservation)

        assert [8_000, 45_000] == [state.remaining for state in recorded.budgets]

    async def test_on_two_replicas_at_once_happens_once(
        self, here: Spender, there: Spender
    ) -> None:
        """Whoever comes second charges in full."""
        reserved = await here.reserve(1_000, 2_000)
        await asyncio.gather(
            *(each.record(1_000, reservation=reserved.reservation) for each in (here, there) * 3)
        )

        assert [4_000, 35_000] == await here.left()

    async def test_never_comes_for_those_who_crash(self, here: Spender) -> None:
        """The estimate stays consumed, and what ends by itself gives nothing back."""
        await here.reserve(1_000, 2_000, ttl=SECOND)

        assert [7_000, 27_500] == await here.left()

    async def test_is_for_the_subject_of_the_estimate(self, here: Spender) -> None:
        """Whoever made the call is charged for it."""
        reserved = await here.reserve(1_000, 2_000)
        await here.record(500, reservation=reserved.reservation, subject="user:bob")

        assert [10_000, 50_000] == await here.left()
        assert [9_500, 48_750] == await here.left(subject="user:bob")

    @pytest.mark.parametrize(
        "algorithm", [Algorithm.SLIDING_WINDOW, Algorithm.FIXED_WINDOW, Algorithm.GCRA]
    )
    async def test_is_the_same_however_a_budget_counts(
        self, start_spender: StartSpender, algorithm: Algorithm
    ) -> None:
        """Also where it has several limits."""
        burst = {"burst": 5_000} if algorithm is Algorithm.GCRA else {}
        limits = [per_day(5_000, algorithm=algorithm, **burst)]
        if algorithm is not Algorithm.GCRA:
            limits.append(per_day(100_000, algorithm=algorithm))
        here = await start_spender(rules=(budget("ai", Measure.TOKENS, *limits),))
        reserved = await here.reserve(3_000)
        recorded = await here.record(1_000, reservation=reserved.reservation)

        assert 4_000 == recorded.budgets[0].remaining


class TestRecord:
    async def test_charges_what_was_not_asked_for(self, here: Spender) -> None:
        """Without an estimate, all of it."""
        recorded = await here.record(1_000, 500, 400)

        assert 7_000 == recorded.cost
        assert [8_500, 43_000] == [state.remaining for state in recorded.budgets]
        assert (False, False) == (recorded.repeated, recorded.degraded)

    async def test_believes_what_the_provider_says_it_costs(self, here: Spender) -> None:
        """Also of a model without a price."""
        dear = await here.record(1_000, cost=9_000)
        unheard_of = await here.record(1_000, model="unheard-of", cost=1)

        assert (9_000, 1) == (dear.cost, unheard_of.cost)
        assert [8_000, 40_999] == [state.remaining for state in unheard_of.budgets]

    async def test_of_more_than_a_counter_holds_uses_a_budget_up(self, here: Spender) -> None:
        """However often: counters have 32 bits."""
        for _ in range(3):
            recorded = await here.record(1, cost=10**15, plan="pro")

        assert 10**15 == recorded.cost
        assert [MAX_QUOTA, 0] == [recorded.budgets[1].limit.quota, recorded.budgets[1].remaining]

    async def test_tells_all_budgets(self, here: Spender) -> None:
        """Also those that it took nothing of."""
        recorded = await here.record(1_000, model="unheard-of")

        assert [9_000, 50_000] == [state.remaining for state in recorded.budgets]
        assert recorded.cost is None


class TestRepeatedRequest:
    async def test_charges_nothing(self, here: Spender, there: Spender) -> None:
        """Nor on another replica."""
        first = await here.record(1_000, request_id="r1")
        again = [await each.record(1_000, request_id="r1") for each in (here, there)]

        assert [False, True, True] == [it.repeated for it in (first, *again)]
        assert [9_000, 47_500] == [state.remaining for state in again[-1].budgets]
        assert 2_500 == again[-1].cost

    async def test_settles_nothing_again(self, here: Spender) -> None:
        """Neither the charge nor what is given back."""
        reserved = await here.reserve(1_000, 2_000)
        facts: dict[str, Any] = {"reservation": reserved.reservation, "request_id": "r1"}
        for _ in range(3):
            recorded = await here.record(1_000, **facts)

        assert [9_000, 47_500] == [state.remaining for state in recorded.budgets]

    async def test_completes_what_a_crash_left(self, here: Spender) -> None:
        """The first was charged, and died before its estimate was given back."""
        reserved = await here.reserve(1_000, 2_000)
        await here.record(1_000, request_id="r1")
        recorded = await here.record(1_000, reservation=reserved.reservation, request_id="r1")

        assert [9_000, 47_500] == [state.remaining for state in recorded.budgets]

    async def test_is_told_where_there_are_no_budgets(self, here: Spender) -> None:
        """By what is kept."""
        told = [await here.record(1, plan="enterprise", request_id="r1") for _ in range(2)]

        assert [False, True] == [recorded.repeated for recorded in told]

    async def test_is_of_one_tenant(self, here: Spender) -> None:
        """Another's request of the same name is another."""
        await here.record(1_000, request_id="r1")
        other = await here.record(1_000, request_id="r1", tenant=GLOBEX)

        assert not other.repeated

    async def test_at_the_same_time_charges_once(self, here: Spender, there: Spender) -> None:
        """Impatient callers."""
        told = await asyncio.gather(
            *(each.record(1_000, request_id="r1") for each in (here, there) * 5)
        )

        assert 1 == [recorded.repeated for recorded in told].count(False)
        assert [9_000, 47_500] == await here.left()


class TestTogether:
    async def test_callers_never_get_more_than_the_budget(
        self, here: Spender, there: Spender
    ) -> None:
        """50 on two replicas, for a budget of ten calls."""
        reserved = await asyncio.gather(
            *(each.reserve(1_000, model="unheard-of") for each in (here, there) * 25)
        )

        assert 10 == sum(each.decision.allowed for each in reserved)


class TestBadInput:
    @pytest.mark.parametrize(
        ("facts", "field"),
        [
            ({"subject": ""}, "subject"),
            ({"provider": ""}, "provider"),
            ({"provider": "a" * 65}, "provider"),
            ({"provider": "a/b"}, "provider"),
            ({"model": ""}, "model"),
            ({"model": "a" * 129}, "model"),
            ({"model": "a\nb"}, "model"),
            ({"tokens": 100_000_001}, "input_tokens"),
            ({"answer": 100_000_001}, "output_tokens"),
            ({"cached": 11}, "cached_input_tokens"),
            ({"latency": DAY + 1}, "latency"),
            ({"latency": -1}, "latency"),
            ({"operation": "a" * 65}, "operation"),
            ({"error": "a" * 501}, "error"),
            ({"cost": -1}, "cost_micros"),
            ({"cost": 10**15 + 1}, "cost_micros"),
            ({"reservation": "made-up"}, "reservation"),
            ({"request_id": "a" * 129}, "request_id"),
        ],
    )
    async def test_is_told_with_its_field(
        self, here: Spender, facts: dict[str, Any], field: str
    ) -> None:
        """And nothing is charged."""
        with pytest.raises(ValidationError) as caught:
            await here.record(**{"tokens": 10, **facts})

        assert [field] == list(caught.value.fields)
        assert [10_000, 50_000] == await here.left()

    @pytest.mark.parametrize(
        ("facts", "field"),
        [
            ({"ttl": SECOND - 1}, "ttl"),
            ({"ttl": DAY + 1}, "ttl"),
            ({"answer": 100_000_001}, "max_output_tokens"),
            ({"provider": "a/b"}, "provider"),
        ],
    )
    async def test_of_an_estimate_is_told_with_its_field(
        self, here: Spender, facts: dict[str, Any], field: str
    ) -> None:
        """And nothing is held."""
        with pytest.raises(ValidationError) as caught:
            await here.reserve(**{"tokens": 10, **facts})

        assert [field] == list(caught.value.fields)


class TestRulesOfATest:
    def test_are_those_of_the_figures_above(self) -> None:
        """10,000 tokens and five cents a day."""
        assert [10_000, 50_000] == [rule.default[0].quota for rule in (TOKENS, MONEY)]
