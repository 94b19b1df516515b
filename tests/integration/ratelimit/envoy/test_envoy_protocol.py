"""What Envoy is told: by the protocol that it knows, about the limits that the policy has."""

import asyncio

import pytest

from mainstay.envoy.ratelimit.v3 import rls_pb2 as pb
from mainstay.errors import ValidationError
from services.ratelimit.act import Act
from services.ratelimit.policy import SECOND, Algorithm, Limit
from shared.rpc.call import Tenant
from tests.integration.ratelimit.envoy.edge_service import OK, OVER_LIMIT, Edge, descriptor

ADDRESS = ("remote_address", "192.0.2.1")
USER = ("user", "42")
RateLimit = pb.RateLimitResponse.RateLimit


def _codes(answer: pb.RateLimitResponse) -> list[int]:
    return [answer.overall_code, *(status.code for status in answer.statuses)]


class TestOneLimit:
    async def test_passes_until_it_is_used_up(self, edge: Edge) -> None:
        """Exactly as many as the policy says."""
        codes = [(await edge.ask(descriptor(ADDRESS))).overall_code for _ in range(7)]

        assert [OK] * 5 + [OVER_LIMIT] * 2 == codes

    async def test_is_told_in_the_status(self, edge: Edge) -> None:
        """With what is left and when all is back."""
        (status,) = (await edge.ask(descriptor(ADDRESS), hits=2)).statuses

        assert RateLimit(name="address", requests_per_unit=5, unit=RateLimit.HOUR) == (
            status.current_limit
        )
        assert status.limit_remaining == 3
        assert 3_590 < status.duration_until_reset.seconds < 3_700

    @pytest.mark.parametrize(
        ("entry", "limit"),
        [
            (
                ("monthly", "x"),
                RateLimit(name="monthly", requests_per_unit=9, unit=RateLimit.MONTH),
            ),
            (("user", "42"), RateLimit(name="api", requests_per_unit=100, unit=RateLimit.MINUTE)),
        ],
    )
    async def test_windows_are_told_in_the_longest_unit(
        self, edge: Edge, entry: tuple[str, str], limit: pb.RateLimitResponse.RateLimit
    ) -> None:
        """With a multiplier where the policy has one."""
        entries = [entry] if entry[0] == "monthly" else [entry, ("path", "/other")]
        (status,) = (await edge.ask(descriptor(*entries))).statuses

        if limit.name == "api":
            limit.unit_multiplier.value = 5
        assert limit == status.current_limit

    async def test_has_headers_in_both_dialects(self, edge: Edge) -> None:
        """Envoy puts them on the answer, whether it passes or not."""
        passed = await edge.ask(descriptor(ADDRESS), hits=5)
        refused = await edge.ask(descriptor(ADDRESS))

        names = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
        names += ["ratelimit-policy", "ratelimit"]
        assert names == [header.key for header in passed.response_headers_to_add]
        assert [*names, "retry-after"] == [it.key for it in refused.response_headers_to_add]
        assert refused.response_headers_to_add[3].value == '"address";q=5;w=3600'

    async def test_is_of_each_address(self, edge: Edge) -> None:
        """One that has used it up takes nothing from others."""
        await edge.ask(descriptor(ADDRESS), hits=5)

        assert [OK, OK] == _codes(await edge.ask(descriptor(("remote_address", "192.0.2.2"))))

    async def test_counts_with_the_checks_of_backends(self, edge: Edge) -> None:
        """The same rule and subject are the same counter, whoever asks."""
        for _ in range(3):
            await edge.ask(descriptor(USER, ("path", "/api/chat?model=x")))
        act = Act("user:42", "/api/chat", "", 1)

        assert not (await edge.limiter.check(Tenant("acme"), (act,))).allowed

    @pytest.mark.hostile
    async def test_holds_for_values_that_are_no_text(self, edge: Edge) -> None:
        """Clients write headers as they like; that must not get them past."""
        answers = [await edge.ask(descriptor(("remote_address", b"\xff\xfe"))) for _ in range(6)]

        assert OVER_LIMIT == answers[-1].overall_code


class TestNoLimit:
    @pytest.mark.parametrize(
        "entries",
        [
            [("unknown", "x")],
            [USER],
            [("generic_key", "home")],
            [("generic_key", "elsewhere")],
            [("free", "x")],
        ],
    )
    async def test_what_the_policy_does_not_name_passes(
        self, edge: Edge, entries: list[tuple[str, str]]
    ) -> None:
        """As what it exempts, and what is unlimited."""
        answer = await edge.ask(descriptor(*entries))

        assert [OK, OK] == _codes(answer)
        assert not answer.statuses[0].HasField("current_limit")
        assert not answer.response_headers_to_add

    async def test_an_unknown_domain_passes(self, edge: Edge) -> None:
        """Somebody else's Envoy."""
        assert [OK, OK] == _codes(await edge.ask(descriptor(ADDRESS), domain="unknown"))

    async def test_nothing_asked_passes(self, edge: Edge) -> None:
        """A route without descriptors."""
        assert [OK] == _codes(await edge.ask())

    async def test_a_watching_rule_passes(self, edge: Edge) -> None:
        """Shadow rules never deny."""
        answers = [await edge.ask(descriptor(("watched", "x"))) for _ in range(3)]

        assert [[OK, OK]] * 3 == [_codes(answer) for answer in answers]


class TestSeveralDescriptors:
    async def test_none_is_charged_when_one_is_over(self, edge: Edge) -> None:
        """All or nothing, in one step."""
        address, chat = descriptor(ADDRESS), descriptor(USER, ("path", "/api/chat"))
        await edge.ask(chat, hits=3)
        answer = await edge.ask(address, chat)

        assert [OVER_LIMIT, OK, OVER_LIMIT] == _codes(answer)
        assert [5] == await edge.left(address)

    async def test_statuses_have_the_order_of_the_request(self, edge: Edge) -> None:
        """Also between those that nothing limits."""
        answer = await edge.ask(
            descriptor(("unknown", "x")),
            descriptor(("twofold", "x")),
            descriptor(("free", "x")),
            descriptor(ADDRESS),
        )

        assert ["", "twofold", "", "address"] == [it.current_limit.name for it in answer.statuses]
        assert [0, 2, 0, 4] == [status.limit_remaining for status in answer.statuses]

    async def test_two_of_one_counter_are_charged_together(self, edge: Edge) -> None:
        """Neither could pass by not seeing the other."""
        both = [descriptor(ADDRESS, hits=3), descriptor(ADDRESS, hits=3)]
        answer = await edge.ask(*both)

        assert [OVER_LIMIT] * 3 == _codes(answer)
        assert [5] == await edge.left(descriptor(ADDRESS))

    async def test_are_not_endless(self, edge: Edge) -> None:
        """All of them are asked in one step of the store, which does nothing else meanwhile."""
        with pytest.raises(ValidationError, match="descriptors is 33; give 0 to 32"):
            await edge.ask(*[descriptor(ADDRESS)] * 33)

    async def test_exactly_the_limit_passes_at_once(self, edge: Edge) -> None:
        """Fifty calls at the same time."""
        asked = (edge.ask(descriptor(ADDRESS), descriptor(("twofold", "x"))) for _ in range(50))
        answers = await asyncio.gather(*asked)

        assert 3 == [answer.overall_code for answer in answers].count(OK)
        assert [2] == await edge.left(descriptor(ADDRESS))


class TestHits:
    @pytest.mark.parametrize(("call", "own", "left"), [(0, None, 4), (2, None, 3), (2, 4, 1)])
    async def test_are_of_the_descriptor_else_of_the_call(
        self, edge: Edge, call: int, own: int | None, left: int
    ) -> None:
        """One where neither says more."""
        answer = await edge.ask(descriptor(ADDRESS, hits=own), hits=call)

        assert left == answer.statuses[0].limit_remaining

    async def test_zero_only_looks(self, edge: Edge) -> None:
        """And tells whether another one would pass."""
        look = descriptor(ADDRESS, hits=0)
        before = await edge.ask(look)
        await edge.ask(descriptor(ADDRESS), hits=5)
        after = await edge.ask(look)

        assert [(OK, 5), (OVER_LIMIT, 0)] == [
            (answer.overall_code, answer.statuses[0].limit_remaining) for answer in (before, after)
        ]

    async def test_a_look_without_room_keeps_the_others_from_charging(self, edge: Edge) -> None:
        """The request does not pass, so it consumes nothing; there is evidence of why."""
        await edge.ask(descriptor(ADDRESS), hits=5)
        edge.circumstances.observed.clear()
        answer = await edge.ask(descriptor(ADDRESS, hits=0), descriptor(("twofold", "x")))

        assert [OVER_LIMIT, OVER_LIMIT, OK] == _codes(answer)
        assert [3] == await edge.left(descriptor(("twofold", "x")))
        ((tenant, act, decision),) = edge.circumstances.observed[:1]
        assert ("acme", "envoy:edge", "address", False) == (
            tenant, act.endpoint, decision.rule, decision.allowed,
        )  # fmt: skip

    async def test_negative_ones_are_given_back(self, edge: Edge) -> None:
        """Never above the limit."""
        await edge.ask(descriptor(ADDRESS), hits=3)
        answer = await edge.ask(descriptor(ADDRESS, hits=2, gives_back=True))
        more = await edge.ask(descriptor(ADDRESS, hits=9, gives_back=True))

        assert [(OK, 4), (OK, 5)] == [
            (it.overall_code, it.statuses[0].limit_remaining) for it in (answer, more)
        ]

    async def test_what_is_always_charged_goes_beyond_the_limit(self, edge: Edge) -> None:
        """Tokens that were spent were spent; the next look finds no room."""
        tokens = (USER, ("tokens", "gpt"))
        codes = [
            (await edge.ask(descriptor(*tokens, hits=hits))).overall_code
            for hits in (0, 900, 0, 900, 0)
        ]

        assert [OK, OK, OK, OK, OVER_LIMIT] == codes

    async def test_too_many_are_refused(self, edge: Edge) -> None:
        """By name."""
        with pytest.raises(ValidationError) as caught:
            await edge.ask(descriptor(ADDRESS), descriptor(ADDRESS, hits=1_000_001))

        assert ["descriptors[1].hits_addend"] == list(caught.value.fields)


class TestWhoAsks:
    async def test_a_plan_comes_with_the_descriptor(self, edge: Edge) -> None:
        """Where the policy says which entry has it; one that there is not is none."""
        limits = [
            (await edge.ask(descriptor(USER, ("tier", tier)))).statuses[0].current_limit
            for tier in ("pro", "basic", "platinum")
        ]

        assert [6, 3, 3] == [limit.requests_per_unit for limit in limits]

    async def test_a_plan_that_was_assigned_is_looked_up(self, edge: Edge) -> None:
        """As for every check."""
        edge.circumstances.plans["user:42"] = "pro"
        (status,) = (await edge.ask(descriptor(USER, ("path", "/api/chat")))).statuses

        assert 6 == status.current_limit.requests_per_unit

    async def test_an_override_of_the_subject_holds(self, edge: Edge) -> None:
        """As for every check."""
        limit = Limit(quota=70, window=60 * SECOND, written="70/min")
        edge.circumstances.overrides["chat", "user:42"] = (limit,)
        (status,) = (await edge.ask(descriptor(USER, ("path", "/api/chat")))).statuses

        assert (70, 69) == (status.current_limit.requests_per_unit, status.limit_remaining)

    async def test_more_than_the_protocol_can_say_is_told_as_the_most_that_it_can(
        self, edge: Edge
    ) -> None:
        """Its numbers have 32 bits."""
        limit = Limit(quota=2**40, window=60 * SECOND, algorithm=Algorithm.FIXED_WINDOW)
        edge.circumstances.overrides["chat", "user:42"] = (limit,)
        (status,) = (await edge.ask(descriptor(USER, ("path", "/api/chat")))).statuses

        assert [2**32 - 1] * 2 == [status.current_limit.requests_per_unit, status.limit_remaining]

    async def test_tenants_share_nothing(self, edge: Edge) -> None:
        """A domain's own tenant stands before the caller's."""
        await edge.ask(descriptor(ADDRESS), hits=5)
        answer = await edge.ask(descriptor(ADDRESS), domain="other")

        assert [OK, OK] == _codes(answer)
        assert ["acme", "globex"] == [tenant for tenant, _, _ in edge.circumstances.observed]


class TestLimitsOfTheRequest:
    @pytest.mark.parametrize(
        ("unit", "multiple", "told"),
        [
            (pb.SECOND, None, (RateLimit.SECOND, 0)),
            (pb.SECOND, 90, (RateLimit.SECOND, 90)),
            (pb.MINUTE, 30, (RateLimit.MINUTE, 30)),
            (pb.HOUR, None, (RateLimit.HOUR, 0)),
            (pb.DAY, 7, (RateLimit.WEEK, 0)),
            (pb.MONTH, None, (RateLimit.DAY, 30)),
        ],
    )
    async def test_hold_instead_of_the_policys(
        self,
        edge: Edge,
        unit: pb.RateLimitUnit.ValueType,
        multiple: int | None,
        told: tuple[RateLimit.Unit.ValueType, int],
    ) -> None:
        """On the counter of the rule that the descriptor finds."""
        asked = descriptor(ADDRESS)
        asked.limit.requests_per_unit, asked.limit.unit = 2, unit
        if multiple is not None:
            asked.limit.unit_multiplier.value = multiple
        answers = [await edge.ask(asked) for _ in range(3)]
        limit = answers[0].statuses[0].current_limit

        assert [OK, OK, OVER_LIMIT] == [answer.overall_code for answer in answers]
        assert (2, *told) == (limit.requests_per_unit, limit.unit, limit.unit_multiplier.value)

    async def test_of_nothing_lets_nothing_pass(self, edge: Edge) -> None:
        """Nor does it let the other descriptors consume."""
        asked = descriptor(ADDRESS)
        asked.limit.unit = pb.MINUTE
        answer = await edge.ask(asked, descriptor(("twofold", "x")))

        assert [OVER_LIMIT, OVER_LIMIT, OK] == _codes(answer)
        assert [3] == await edge.left(descriptor(("twofold", "x")))

    @pytest.mark.parametrize(
        ("unit", "multiple", "told"),
        [
            (pb.YEAR, 1, "write one such as 20/min"),
            (99, 1, "write one such as 20/min"),
            (pb.DAY, 300, "has the window 300d"),
            (pb.DAY, 0, "has the window 0d"),
        ],
    )
    async def test_that_cannot_be_counted_are_refused(
        self, edge: Edge, unit: int, multiple: int, told: str
    ) -> None:
        """By name, instead of being taken for another one."""
        asked = descriptor(ADDRESS)
        asked.limit.requests_per_unit = 2
        asked.limit.unit = pb.RateLimitUnit.ValueType(unit)
        asked.limit.unit_multiplier.value = multiple
        with pytest.raises(ValidationError) as caught:
            await edge.ask(descriptor(("twofold", "x")), asked)

        assert told in caught.value.fields["descriptors[1].limit"]
