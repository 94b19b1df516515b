"""AcquireLease, RenewLease and ReleaseLease over gRPC, on two replicas and a real Redis."""

import asyncio
from typing import Any

import pytest
import redis.asyncio
from google.protobuf.duration_pb2 import Duration

from mainstay.errors import NotFoundError, PreconditionError, ValidationError
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from services.ratelimit.act import Act
from services.ratelimit.opaque import seal
from services.ratelimit.policy import UNLIMITED
from tests.integration.ratelimit.lending.lender import (
    ACME,
    ANN,
    MINUTE,
    SECOND,
    VIDEO,
    Lender,
    places,
)

LONG = Duration(seconds=120)


async def take_all(lender: Lender, count: int = 3, **fields: Any) -> list[pb.AcquireLeaseResponse]:
    return [await lender.acquire(**fields) for _ in range(count)]


class TestAcquisition:
    async def test_a_place_is_held_for_a_minute_by_default(self, here: Lender) -> None:
        """By the store's clock, which the decision shows."""
        answer = await here.acquire()
        decision, lease = answer.decision, answer.lease

        assert pb.OUTCOME_ALLOWED == decision.outcome
        assert ("video", "", 3, 2) == (
            decision.rule,
            decision.plan,
            decision.limit.limit,
            decision.limit.remaining,
        )
        assert pb.ALGORITHM_CONCURRENCY == decision.limit.algorithm
        assert not decision.limit.HasField("window")
        assert decision.policy_version == 7
        assert lease.ttl == Duration(seconds=60)
        assert lease.expire_time == decision.limit.reset_time
        assert lease.expire_time.seconds == decision.decide_time.seconds + 60

    async def test_a_full_rule_denies_and_says_when_a_place_will_be_free(
        self, here: Lender, there: Lender
    ) -> None:
        """When the next lease ends, which is not the one that was taken first."""
        await take_all(here, 2, ttl=LONG)
        await there.acquire()
        answer = await here.acquire()
        decision = answer.decision

        assert pb.OUTCOME_DENIED == decision.outcome
        assert pb.DENIAL_REASON_LIMIT == decision.reason
        assert 59 <= decision.retry_after.seconds < 60
        assert {"retry-after": "60", "x-ratelimit-remaining": "0"}.items() <= {
            header.name: header.value for header in decision.headers
        }.items()
        assert not answer.HasField("lease")

    async def test_a_released_place_is_free_at_once(self, here: Lender, there: Lender) -> None:
        """On every replica."""
        first, *_ = await take_all(here)
        released = await there.release(first.lease.token)
        answer = await there.acquire()

        assert released
        assert answer.HasField("lease")

    async def test_fifty_callers_at_two_replicas(self, here: Lender, there: Lender) -> None:
        """Get exactly as many leases as there are places, all different."""
        answers = await asyncio.gather(
            *(replica.acquire() for replica in (here, there) for _ in range(25))
        )
        tokens = [answer.lease.token for answer in answers if answer.HasField("lease")]

        assert (3, 3) == (len(tokens), len(set(tokens)))
        assert sum(answer.decision.outcome == pb.OUTCOME_ALLOWED for answer in answers) == 3


class TestCrashedHolders:
    async def test_their_places_are_back_when_they_were_promised_to_be(
        self, here: Lender, there: Lender
    ) -> None:
        """Nobody gives them back, and nobody comes to look."""
        second = Duration(seconds=1)
        crashed = await take_all(here, ttl=second)
        async with asyncio.timeout(10):
            while not (answer := await there.acquire(ttl=second)).HasField("lease"):
                assert answer.decision.retry_after.ToMicroseconds() <= SECOND
        freed, promised = answer.decision.decide_time, crashed[0].lease.expire_time

        assert 0 <= freed.ToMicroseconds() - promised.ToMicroseconds() < 2 * SECOND


class TestWhoHasHowManyPlaces:
    async def test_a_plan_has_its_own(self, here: Lender) -> None:
        """Those taken on another plan count."""
        await take_all(here)
        answer = await here.acquire(plan="pro")

        assert ("pro", 10, 6) == (
            answer.decision.plan,
            answer.decision.limit.limit,
            answer.decision.limit.remaining,
        )

    async def test_unlimited_has_nothing_to_renew_or_release(
        self, here: Lender, raw: "redis.asyncio.Redis"
    ) -> None:
        """And asks no store."""
        answer = await here.acquire(plan="enterprise")

        assert pb.OUTCOME_ALLOWED == answer.decision.outcome
        assert (False, False) == (answer.HasField("lease"), answer.decision.HasField("limit"))
        assert await raw.keys("rl:{acme}*") == []

    @pytest.mark.parametrize(("limits", "leases"), [((places(5),), 5), (UNLIMITED, 0)])
    async def test_an_override_stands_before_both(
        self, here: Lender, limits: tuple[Any, ...], leases: int
    ) -> None:
        """As it does for rates."""
        here.overrides.put("video", ANN, *limits)
        answers = await take_all(here, 6, plan="pro")

        assert leases == sum(answer.HasField("lease") for answer in answers)

    async def test_a_rule_in_shadow_denies_nobody(self, here: Lender) -> None:
        """Who finds it full goes ahead without a lease, and the evidence says so."""
        _, answer = await take_all(here, 2, endpoint="/watched_video")

        assert pb.OUTCOME_ALLOWED == answer.decision.outcome
        assert (False, True) == (answer.decision.limit.admits, answer.decision.limit.shadow)
        assert not answer.HasField("lease")

    async def test_an_endpoint_that_no_rule_covers(self, here: Lender) -> None:
        """Is told from one that is free for all."""
        with pytest.raises(NotFoundError) as failed:
            await here.acquire(endpoint="/audio")

        assert failed.value.reason == "RULE_NOT_FOUND"


class TestRepetition:
    async def test_a_request_id_takes_one_place(self, here: Lender, there: Lender) -> None:
        """At any replica, and the token and the end are the same."""
        first = await here.acquire(request_id="upload-1")
        again = await there.acquire(request_id="upload-1")
        other = await there.acquire(request_id="upload-2")

        assert (first.lease.token, first.lease.expire_time) == (
            again.lease.token,
            again.lease.expire_time,
        )
        assert again.lease.ttl.ToMicroseconds() <= MINUTE
        assert other.lease.token != first.lease.token
        assert other.decision.limit.remaining == 1

    async def test_also_when_the_rule_is_full(self, here: Lender) -> None:
        """Who holds a place is not denied."""
        first = await here.acquire(request_id="upload-1")
        await take_all(here, 2)
        again = await here.acquire(request_id="upload-1")

        assert pb.OUTCOME_ALLOWED == again.decision.outcome
        assert first.lease.token == again.lease.token


class TestRenewal:
    async def test_it_lasts_from_now_as_long_as_it_was_asked_for(
        self, here: Lender, there: Lender
    ) -> None:
        """Or as long as the renewal says; the token stays."""
        token = (await here.acquire(ttl=LONG)).lease.token
        by_default = await there.renew(token)
        longer = await there.renew(token, ttl=Duration(seconds=600))

        assert (LONG, Duration(seconds=600)) == (by_default.ttl, longer.ttl)
        assert (token, token) == (by_default.token, longer.token)
        assert 479 <= longer.expire_time.seconds - by_default.expire_time.seconds <= 481

    async def test_a_lease_that_is_over_is_lost(self, here: Lender) -> None:
        """Which names whose it was, and does not take a place."""
        token = (await here.acquire()).lease.token
        await here.release(token)
        with pytest.raises(PreconditionError) as failed:
            await here.renew(token)
        released_again = await here.release(token)

        assert failed.value.reason == "LEASE_LOST"
        assert {"subject": ANN, "rule": "video"}.items() <= failed.value.metadata.items()
        assert released_again is False

    async def test_a_rule_that_was_removed_meanwhile_changes_nothing(self, here: Lender) -> None:
        """Its holders go on until they are done."""
        token = (await here.acquire()).lease.token
        rules = [rule for rule in here.policies.current.rules if rule is not VIDEO]
        here.policies.current = type(here.policies.current)(rules)

        assert (await here.renew(token)).token == token
        assert await here.release(token)


class TestOtherTenants:
    async def test_a_token_is_worth_nothing_to_them(self, here: Lender, elsewhere: Lender) -> None:
        """Lost, as any other that is gone; its holder keeps it."""
        token = (await here.acquire()).lease.token
        with pytest.raises(PreconditionError) as failed:
            await elsewhere.renew(token)
        released = await elsewhere.release(token)

        assert ("LEASE_LOST", False) == (failed.value.reason, released)
        assert (await here.renew(token)).token == token


class TestWrongRequests:
    @pytest.mark.parametrize(
        ("fields", "wrong"),
        [
            ({"subject": "", "endpoint": ""}, {"subject", "endpoint"}),
            ({"subject": "a\n"}, {"subject"}),
            ({"ttl": Duration(nanos=999_999_999)}, {"ttl"}),
            ({"ttl": Duration(seconds=3601), "request_id": "x" * 129}, {"ttl", "request_id"}),
            ({"ttl": Duration(seconds=-1)}, {"ttl"}),
            ({"ttl": Duration(seconds=2**40)}, {"ttl"}),
            ({"plan": "gold"}, {"plan"}),
        ],
    )
    async def test_each_wrong_field_is_named(
        self, here: Lender, fields: dict[str, Any], wrong: set[str]
    ) -> None:
        """And no place is taken."""
        with pytest.raises(ValidationError) as failed:
            await here.acquire(**fields)
        left = await here.acquire()

        assert wrong == set(failed.value.fields)
        assert left.decision.limit.remaining == 2

    @pytest.mark.parametrize(
        "forge",
        [
            lambda token: "",
            lambda token: token[:-1],
            lambda token: token + "A",
            lambda token: ("B" if token[0] == "A" else "A") + token[1:],
            lambda token: token[:-2] + ("BB" if token[-2:] != "BB" else "CC"),
            lambda token: "é" + token,
            lambda token: "A" * 5_000,
            lambda token: seal(b""),
            lambda token: seal(b"L"),
            lambda token: seal(b"L" + bytes(24) + b"\x05video"),
            lambda token: seal(b"L" + bytes(24) + b"\x05video\xff"),
            lambda token: seal(b"L" + bytes(24) + b"\x05video\n"),
            lambda token: seal(b"R" + bytes(20)),
        ],
        ids=range(13),
    )
    async def test_a_token_that_was_never_issued_is_refused(self, here: Lender, forge: Any) -> None:
        """By every method, and not taken for one that is gone."""
        token = forge((await here.acquire()).lease.token)
        for attempt in (here.renew(token), here.release(token)):
            with pytest.raises(ValidationError) as failed:
                await attempt

            assert {"token"} == set(failed.value.fields)

    async def test_a_renewal_has_the_bounds_of_an_acquisition(self, here: Lender) -> None:
        """A lease that is needed longer is renewed again."""
        token = (await here.acquire()).lease.token
        with pytest.raises(ValidationError) as failed:
            await here.renew(token, ttl=Duration(seconds=3601))

        assert {"ttl"} == set(failed.value.fields)


class TestEvidence:
    async def test_every_acquisition_is_told_of(self, here: Lender) -> None:
        """Allowed, denied and unlimited ones."""
        await take_all(here, 4)
        await here.acquire(plan="enterprise")
        told = [
            (seen.tenant, seen.act.subject, seen.act.cost, seen.decision.allowed)
            for seen in here.observer.seen
        ]

        assert told == [(ACME, ANN, 1, allowed) for allowed in (True, True, True, False, True)]


class TestCallersWhoGoAway:
    async def test_what_they_were_granted_is_given_back(
        self, here: Lender, there: Lender, raw: "redis.asyncio.Redis"
    ) -> None:
        """Nobody would ever release it."""
        await _warm_up(here)
        await _give_up_waiting(here, raw)
        remaining = (await here.acquire()).decision.limit.remaining

        assert remaining == 2

    async def test_unless_they_can_ask_for_it_again(
        self, here: Lender, there: Lender, raw: "redis.asyncio.Redis"
    ) -> None:
        """The repetition may be on its way to another replica already."""
        await _warm_up(here)
        await _give_up_waiting(here, raw, request_id="upload-1")
        others = [await replica.acquire() for replica in (here, there, there)]
        again = await there.acquire(request_id="upload-1")

        assert [1, 0, 0] == [other.decision.limit.remaining for other in others]
        assert pb.OUTCOME_DENIED == others[2].decision.outcome
        assert again.HasField("lease")


async def _warm_up(lender: Lender) -> None:
    """Have Redis know the scripts: one that does not has nothing to give back."""
    await lender.release((await lender.acquire()).lease.token)


async def _give_up_waiting(
    lender: Lender, raw: "redis.asyncio.Redis", *, request_id: str = ""
) -> None:
    """Ask for a place while Redis answers nobody, and go away."""
    await raw.client_pause(10_000, all=False)
    asking = asyncio.create_task(
        lender.leasing.acquire(
            ACME, Act.of(ANN, "/video", "", 1), ttl=MINUTE, request_id=request_id
        )
    )
    await asyncio.sleep(0)  # it has asked by now, and nothing answers
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await raw.client_unpause()

    assert asking.cancelled()
