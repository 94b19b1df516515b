"""Places while Redis is away: each rule's failure mode, and what holds when it is back."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from google.protobuf.duration_pb2 import Duration

from cli.embedded.redis import RedisServer
from mainstay.errors import PreconditionError, RateLimitStoreError
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from services.ratelimit.act import Act
from services.ratelimit.audit import Actor
from services.ratelimit.database import Database
from services.ratelimit.degrading_leases import DegradingLeases
from services.ratelimit.lending_ports import Holder, LeaseName
from services.ratelimit.ports import Charge
from services.ratelimit.redis_counters import RedisCounterStore
from services.ratelimit.redis_leases import RedisLeases
from services.ratelimit.resetting import Resetting
from shared.redis.clock import StoreClock
from tests.integration.ratelimit.lending.lender import (
    ACME,
    ANN,
    MINUTE,
    VIDEO,
    Lender,
    lender,
    places,
)

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
async def replicas(private_redis: RedisServer) -> AsyncIterator[list[Lender]]:
    """Run two replicas that know of each other, on a Redis that the test may end."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                lender(private_redis.url, replicas=2, redis_timeout=0.2)
            )
            for _ in range(2)
        ]


async def until_noticed(replicas: list[Lender]) -> None:
    """Return when every replica knows that its Redis is away."""
    async with asyncio.timeout(20):
        for replica in replicas:
            while replica.redis.connected:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.01)


async def until_handed_over(replicas: list[Lender]) -> None:
    """Return when no replica holds leases in its memory."""
    async with asyncio.timeout(20):
        for replica in replicas:
            while replica.leases.holders:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.01)


class TestWhileRedisIsAway:
    async def test_a_local_rule_gives_each_replica_its_share(
        self, replicas: list[Lender], private_redis: RedisServer
    ) -> None:
        """Of three places one each; together they stay within the three."""
        await private_redis.kill()
        await until_noticed(replicas)
        answers = [await replica.acquire() for replica in replicas for _ in range(2)]
        leased = [answer.HasField("lease") for answer in answers]
        denied = answers[1].decision

        assert [True, False, True, False] == leased
        assert all(answer.decision.degraded for answer in answers)
        assert {pb.FAILURE_MODE_LOCAL} == {answer.decision.failure_mode for answer in answers}
        assert (pb.OUTCOME_DENIED, pb.DENIAL_REASON_LIMIT) == (denied.outcome, denied.reason)
        assert Duration(seconds=1) == denied.retry_after

    async def test_its_leases_are_leases(
        self, replicas: list[Lender], private_redis: RedisServer
    ) -> None:
        """Repeated, renewed and given back where they were taken."""
        here, _ = replicas
        await private_redis.kill()
        await until_noticed(replicas)
        first = (await here.acquire(request_id="upload-1")).lease
        again = (await here.acquire(request_id="upload-1")).lease
        renewed = await here.renew(first.token, ttl=Duration(seconds=600))
        released = await here.release(first.token)
        next_one = await here.acquire()

        assert first.token == again.token == renewed.token
        assert 539 <= renewed.expire_time.seconds - first.expire_time.seconds <= 541
        assert released
        assert next_one.HasField("lease")

    @pytest.mark.parametrize(
        ("endpoint", "outcome", "mode"),
        [
            ("/open_video", pb.OUTCOME_ALLOWED, pb.FAILURE_MODE_OPEN),
            ("/closed_video", pb.OUTCOME_DENIED, pb.FAILURE_MODE_CLOSED),
        ],
    )
    async def test_open_lets_pass_and_closed_does_not(
        self,
        replicas: list[Lender],
        private_redis: RedisServer,
        endpoint: str,
        outcome: pb.Outcome.ValueType,
        mode: pb.FailureMode.ValueType,
    ) -> None:
        """Both without a lease, however many come."""
        await private_redis.kill()
        await until_noticed(replicas)
        answers = [await replicas[0].acquire(endpoint=endpoint) for _ in range(3)]

        assert {(outcome, mode, False)} == {
            (each.decision.outcome, each.decision.failure_mode, each.HasField("lease"))
            for each in answers
        }
        if outcome == pb.OUTCOME_DENIED:
            assert pb.DENIAL_REASON_STORE_UNAVAILABLE == answers[0].decision.reason

    async def test_leases_in_redis_can_be_neither_renewed_nor_given_back(
        self, replicas: list[Lender], private_redis: RedisServer
    ) -> None:
        """The holder is told that nobody knows, which is not that it has lost the lease."""
        here, _ = replicas
        token = (await here.acquire()).lease.token
        await private_redis.kill()
        await until_noticed(replicas)
        for attempt in (here.renew(token), here.release(token)):
            with pytest.raises(RateLimitStoreError) as failed:
                await attempt

            assert failed.value.reason == "RATE_LIMIT_STORE_UNAVAILABLE"

    async def test_nobody_waits_for_redis(
        self, replicas: list[Lender], private_redis: RedisServer
    ) -> None:
        """Half of the answers come within 10 ms once it is known to be away."""
        here, _ = replicas
        private_redis.pause()
        await until_noticed_by_asking(here)
        took = []
        for number in range(100):
            began = time.perf_counter()
            act = Act.of(f"user:{number}", "/video", "", 1)
            await here.leasing.acquire(ACME, act, ttl=MINUTE)
            took.append(time.perf_counter() - began)
        private_redis.resume()

        assert sorted(took)[50] < 0.01

    async def test_shares_are_neither_made_nor_taken_back(
        self, replicas: list[Lender], private_redis: RedisServer
    ) -> None:
        """What is let pass meanwhile is charged later; a share of it could not be noted."""
        here, _ = replicas
        share = (await here.reserve(10)).reservation
        await private_redis.kill()
        await until_noticed(replicas)
        answer = await here.reserve(10)
        with pytest.raises(RateLimitStoreError):
            await here.give_back(share.token, 10)

        assert pb.OUTCOME_ALLOWED == answer.decision.outcome
        assert (True, False) == (answer.decision.degraded, answer.HasField("reservation"))

    async def test_of_a_share_that_cannot_be_made_only_the_least_is_consumed(
        self, replicas: list[Lender], private_redis: RedisServer
    ) -> None:
        """That much is granted, and nobody could give back the rest."""
        here, _ = replicas
        await private_redis.kill()
        await until_noticed(replicas)
        first = (await here.reserve(40)).decision.limit
        second = (await here.reserve(40, min_amount=5)).decision.limit

        assert first.remaining in {100 // replicas - 1 for replicas in (1, 2)}
        assert first.remaining - 5 == second.remaining


class TestWhenRedisIsBack:
    async def test_what_was_given_out_meanwhile_counts_for_everybody(
        self, replicas: list[Lender], private_redis: RedisServer
    ) -> None:
        """And can be renewed and given back at every replica."""
        here, there = replicas
        await private_redis.kill()
        await until_noticed(replicas)
        leases = [(await replica.acquire()).lease for replica in replicas]
        await private_redis.start()
        await until_handed_over(replicas)
        last, beyond = [await here.acquire(), await there.acquire()]
        renewed = await here.renew(leases[1].token)
        released = await here.release(leases[1].token)
        after = await there.acquire()

        assert [True, False] == [last.HasField("lease"), beyond.HasField("lease")]
        assert not last.decision.degraded
        assert leases[1].token == renewed.token
        assert (True, True) == (released, after.HasField("lease"))

    async def test_more_than_there_are_places_go_on_until_they_end(
        self, replicas: list[Lender], private_redis: RedisServer
    ) -> None:
        """Those from before the outage and those from it: what holds is the sum of both."""
        here, there = replicas
        before = [(await here.acquire()).lease for _ in range(3)]
        await _leave_without_data_loss(private_redis)
        await until_noticed(replicas)
        during = [(await replica.acquire()).lease for replica in replicas]
        await private_redis.start()
        await until_handed_over(replicas)
        tokens = [lease.token for lease in (*before, *during)]
        renewed = [(await there.renew(token)).token for token in tokens]
        denied = await here.acquire()
        for token in tokens[:3]:
            await here.release(token)
        allowed = await here.acquire()

        assert tokens == renewed
        assert not denied.HasField("lease")
        assert allowed.HasField("lease")

    async def test_a_place_that_was_taken_when_no_answer_came_is_counted_once(
        self, replicas: list[Lender], private_redis: RedisServer
    ) -> None:
        """A Redis that was only silent carries out what it was asked, when it wakes up."""
        here, there = replicas
        await here.release((await here.acquire()).lease.token)
        private_redis.pause()
        lease = (await here.acquire()).lease
        private_redis.resume()
        await until_handed_over(replicas)
        answer = await there.acquire()

        assert lease.token
        assert answer.decision.limit.remaining == 1

    async def test_a_replica_that_stops_leaves_none_behind(
        self, replicas: list[Lender], private_redis: RedisServer
    ) -> None:
        """Also when Redis has only just come back."""
        here, _ = replicas
        async with lender(private_redis.url, replicas=3, redis_timeout=0.2) as leaving:
            await private_redis.kill()
            await until_noticed([*replicas, leaving])
            token = (await leaving.acquire()).lease.token
            await private_redis.start()
            await until_connected(leaving)
        await until_connected(here)

        assert token == (await here.renew(token)).token

    async def test_what_was_given_back_meanwhile_does_not_come_again(
        self, replicas: list[Lender], private_redis: RedisServer
    ) -> None:
        """A place that is free stays free."""
        here, _ = replicas
        await private_redis.kill()
        await until_noticed(replicas)
        token = (await here.acquire()).lease.token
        await here.release(token)
        await private_redis.start()
        await until_handed_over(replicas)
        answer = await _acquire_when_reached(here)
        with pytest.raises(PreconditionError) as failed:
            await here.renew(token)

        assert answer.decision.limit.remaining == 2
        assert failed.value.reason == "LEASE_LOST"


class TestReset:
    async def test_ends_the_leases_that_are_still_in_memory(
        self, replicas: list[Lender], private_redis: RedisServer
    ) -> None:
        """When Redis is back they do not come again."""
        here, _ = replicas
        clock = StoreClock(here.redis)
        leases = DegradingLeases(
            RedisLeases(here.redis), replicas=lambda: 1, now_us=clock.now_us
        )  # hands nothing over by itself
        resetting = Resetting(
            policies=here.policies,
            store=RedisCounterStore(here.redis),
            leases=leases,
            database=Database(None),
        )
        place = Charge(ACME, VIDEO, 0, ANN, places(3), 1)
        await private_redis.kill()
        await until_noticed(replicas)
        lease = b"a" * 16
        await leases.acquire(place, lease, MINUTE)
        held = leases.holders
        await private_redis.start()
        await until_connected(here)
        told = [
            await resetting.reset(
                ACME, ANN, endpoint="", rule="video", reason="", actor=Actor("ops", "request-1")
            )
            for _ in range(2)
        ]
        await leases.hand_over()
        used = (await leases.look(place)).used
        renewed = await leases.renew(LeaseName(Holder(ACME, "video", ANN), lease), MINUTE)

        assert 1 == held
        assert [["video"], []] == told
        assert (0, None) == (used, renewed)


async def until_connected(replica: Lender) -> None:
    """Return when a replica has reached Redis again."""
    async with asyncio.timeout(20):
        while not replica.redis.connected:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)


async def until_noticed_by_asking(replica: Lender) -> None:
    """Return when Redis, which is silent, is given up."""
    async with asyncio.timeout(20):
        while replica.redis.connected:
            await replica.leasing.acquire(ACME, Act.of(ANN, "/video", "", 1), ttl=MINUTE)


async def _acquire_when_reached(replica: Lender) -> pb.AcquireLeaseResponse:
    await until_connected(replica)
    return await replica.acquire()


async def _leave_without_data_loss(server: RedisServer) -> None:
    """Stop in order: a kill may lose what was written within the last second."""
    await server.stop()
