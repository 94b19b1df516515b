"""Leases in a real Redis: who gets one, what is written, when, and for how long."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from services.ratelimit.concurrency import CLEARED, MAX_TTL
from services.ratelimit.lending_ports import Acquired, Holder, LeaseName
from services.ratelimit.ports import Charge
from services.ratelimit.redis_leases import RedisLeases
from shared.redis.client import Redis
from shared.rpc.call import Tenant
from tests.integration.ratelimit.lending.lender import ACME, ANN, MINUTE, SECOND, VIDEO, places

START = 1_760_000_000 * SECOND
KEY = "rl:{acme}:video:0:user:ann"
HOLDER = Holder(ACME, "video", ANN)
A, B, C, D = (letter * 16 for letter in (b"a", b"b", b"c", b"d"))


class Clock:
    """Shows what a test wants."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


def place(quota: int = 3, *, tenant: str = ACME, subject: str = ANN) -> Charge:
    return Charge(Tenant(tenant), VIDEO, 0, subject, places(quota), 1)


def named(lease: bytes, holder: Holder = HOLDER) -> LeaseName:
    return LeaseName(holder, lease)


@pytest.fixture
def clock() -> Clock:
    """Return the clock of `leases`."""
    return Clock()


@pytest.fixture
def leases(link: Redis, clock: Clock) -> RedisLeases:
    """Keep leases by a clock that stands still."""
    return RedisLeases(link, clock=clock)


@pytest.fixture
async def replicas(redis_url: str) -> AsyncIterator[list[RedisLeases]]:
    """Connect twice, by Redis's own clock."""
    links = [Redis(redis_url, timeout=5) for _ in range(2)]
    for link in links:
        await link.start()
    yield [RedisLeases(link) for link in links]
    for link in links:
        await link.close()


class Crowd:
    """Callers who hold a place for a moment, again and again, and count themselves."""

    def __init__(self, quota: int) -> None:
        self.inside = self.most = self.entered = 0
        self._place = place(quota)

    async def come_and_go(self, leases: RedisLeases) -> None:
        """Try ten times."""
        for _ in range(10):
            lease = secrets.token_bytes(16)
            if (await leases.acquire(self._place, lease, MINUTE)).expires_at is None:
                continue
            self.entered += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
            await leases.look(self._place)  # a round trip, in which others come
            self.inside -= 1
            await leases.release(named(lease))


class TestConcurrentCallers:
    async def test_two_replicas_and_fifty_callers_get_exactly_the_places(
        self, replicas: list[RedisLeases]
    ) -> None:
        """Whoever asks first."""
        told = await asyncio.gather(
            *(replicas[n % 2].acquire(place(7), b"%016d" % n, MINUTE) for n in range(50))
        )

        assert sum(acquired.expires_at is not None for acquired in told) == 7
        assert sum(acquired.verdict.admits for acquired in told) == 7

    async def test_nor_do_more_hold_one_at_any_moment(self, replicas: list[RedisLeases]) -> None:
        """While all of them come and go."""
        crowd = Crowd(7)
        await asyncio.gather(*(crowd.come_and_go(replicas[n % 2]) for n in range(50)))
        left = await replicas[0].look(place(7))

        assert (7, 0) == (crowd.most, left.used)
        assert crowd.entered > 7


class TestTheServersClock:
    async def test_time_is_redis_own(
        self, replicas: list[RedisLeases], raw: "redis.asyncio.Redis"
    ) -> None:
        """Not that of the replica that asks."""
        before = await _server_time(raw)
        verdict, end = await replicas[0].acquire(place(), A, MINUTE)
        renewed = await replicas[0].renew(named(A), 2 * MINUTE)
        after = await _server_time(raw)

        assert before <= verdict.now <= after
        assert end == verdict.now + MINUTE
        assert renewed is not None
        assert before <= renewed - 2 * MINUTE <= after


class TestCrashedHolders:
    async def test_a_place_is_back_at_the_end_of_its_lease(
        self, leases: RedisLeases, clock: Clock
    ) -> None:
        """To the microsecond, and the denial said so."""
        await leases.acquire(place(1), A, MINUTE)
        clock.now += MINUTE - 1
        early = await leases.acquire(place(1), B, MINUTE)
        clock.now += 1
        in_time = await leases.acquire(place(1), B, MINUTE)

        assert (None, START + MINUTE) == (early.expires_at, early.verdict.retry_at)
        assert START + 2 * MINUTE == in_time.expires_at

    async def test_who_comes_back_late_has_lost_it(self, leases: RedisLeases, clock: Clock) -> None:
        """Even while nobody else has taken the place."""
        await leases.acquire(place(1), A, MINUTE)
        clock.now += MINUTE

        assert await leases.renew(named(A), MINUTE) is None
        assert await leases.release(named(A)) is False

    async def test_a_clock_that_was_far_ahead_keeps_no_place_for_long(
        self, leases: RedisLeases, clock: Clock, raw: "redis.asyncio.Redis"
    ) -> None:
        """From the first look on it is an hour at most."""
        clock.now += 86_400 * SECOND
        await leases.acquire(place(1), A, MINUTE)
        clock.now = START
        denied = await leases.acquire(place(1), B, MINUTE)
        life = await raw.pttl(KEY) * 1_000
        clock.now += MAX_TTL
        later = await leases.acquire(place(1), B, MINUTE)

        assert (None, START + MAX_TTL) == (denied.expires_at, denied.verdict.retry_at)
        assert life <= MAX_TTL
        assert later.expires_at is not None


class TestRepetition:
    async def test_the_same_lease_keeps_its_place_and_its_end(
        self, leases: RedisLeases, clock: Clock
    ) -> None:
        """Also when all places are taken."""
        first = await leases.acquire(place(1), A, MINUTE)
        clock.now += SECOND
        again = await leases.acquire(place(1), A, 5 * MINUTE)

        assert (True, 1, first.expires_at) == (
            again.verdict.admits,
            again.verdict.used,
            again.expires_at,
        )

    async def test_after_its_end_it_takes_a_place_like_any_other(
        self, leases: RedisLeases, clock: Clock
    ) -> None:
        """If there is one."""
        await leases.acquire(place(1), A, MINUTE)
        clock.now += MINUTE
        await leases.acquire(place(1), B, MINUTE)
        again = await leases.acquire(place(1), A, MINUTE)

        assert again.expires_at is None


class TestFewerPlaces:
    async def test_holders_keep_theirs_and_nobody_gets_one_until_enough_are_free(
        self, leases: RedisLeases, clock: Clock
    ) -> None:
        """`retry_at` is when the second of three ends, for the one place that is left."""
        for lease in (A, B, C):
            await leases.acquire(place(3), lease, MINUTE)
            clock.now += SECOND
        denied = await leases.acquire(place(2), D, MINUTE)

        assert denied.verdict._replace(now=0) == (
            False,
            0,
            3,
            START + 2 * SECOND + MINUTE,
            START + SECOND + MINUTE,
            None,
        )
        assert await leases.renew(named(A), MINUTE) is not None


class TestWrites:
    async def test_a_denial_and_a_look_write_nothing(
        self, leases: RedisLeases, clock: Clock, raw: "redis.asyncio.Redis"
    ) -> None:
        """Not the leases, not even those that are over, and not the time to live."""
        await leases.acquire(place(1), A, SECOND)
        clock.now += SECOND
        await leases.acquire(place(2), B, MINUTE)
        await leases.acquire(place(2), C, SECOND)
        clock.now += SECOND
        dump, life = await raw.dump(KEY), await raw.pttl(KEY)
        denied = await leases.acquire(place(1), D, MAX_TTL)
        await leases.look(place(5))

        assert denied.expires_at is None
        assert dump == await raw.dump(KEY)
        assert await raw.pttl(KEY) <= life

    async def test_a_first_look_leaves_no_key(
        self, leases: RedisLeases, raw: "redis.asyncio.Redis"
    ) -> None:
        """Nor does a renewal or a release of what was never held."""
        verdict = await leases.look(place())
        await leases.renew(named(A), MINUTE)
        await leases.release(named(A))

        assert (True, START, 0, START, None, None) == verdict
        assert await raw.dbsize() == 0

    async def test_the_key_lives_as_long_as_its_last_lease(
        self, leases: RedisLeases, raw: "redis.asyncio.Redis"
    ) -> None:
        """Whatever comes and goes."""
        lives = []
        await leases.acquire(place(), A, MINUTE)
        lives.append(await raw.pttl(KEY))
        await leases.acquire(place(), B, 10 * MINUTE)
        lives.append(await raw.pttl(KEY))
        await leases.renew(named(A), 20 * MINUTE)
        lives.append(await raw.pttl(KEY))
        await leases.renew(named(A), MINUTE)
        lives.append(await raw.pttl(KEY))
        await leases.adopt(HOLDER, {C: START + 30 * MINUTE})
        lives.append(await raw.pttl(KEY))

        assert [1, 10, 20, 10, 30] == [-(-life // 60_000) for life in lives]

    async def test_nothing_is_left_after_the_last_release(
        self, leases: RedisLeases, raw: "redis.asyncio.Redis"
    ) -> None:
        """The second release changes nothing."""
        await leases.acquire(place(), A, MINUTE)
        released = [await leases.release(named(A)) for _ in range(2)]

        assert [True, False] == released
        assert await raw.dbsize() == 0

    async def test_an_acquisition_clears_away_a_bounded_number(
        self, leases: RedisLeases, clock: Clock, raw: "redis.asyncio.Redis"
    ) -> None:
        """What crashed holders left goes, without Redis being held up by any number of them."""
        await leases.adopt(HOLDER, {b"%016d" % n: START + SECOND for n in range(250)})
        before = await raw.zcard(KEY)
        clock.now += SECOND
        await leases.acquire(place(), A, MINUTE)
        after = await raw.zcard(KEY)
        verdict = await leases.look(place())

        assert (250, 250 - CLEARED + 1, 1) == (before, after, verdict.used)

    async def test_three_places_take_400_bytes_at_most(
        self, leases: RedisLeases, raw: "redis.asyncio.Redis"
    ) -> None:
        """Key and all."""
        for lease in (A, B, C):
            await leases.acquire(place(), lease, MINUTE)
        size = await raw.memory_usage(KEY, samples=0)

        assert size is not None
        assert size <= 400


class TestSeparateHolders:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (("acme", "user:42"), ("globex", "user:42")),
            (("acme", "user:42"), ("acme", "user:43")),
            (("a", "{a}:b"), ("a}", "b")),
            (("*", "a"), ("a", "a")),
        ],
    )
    async def test_neither_takes_the_others_place(
        self, leases: RedisLeases, one: tuple[str, str], other: tuple[str, str]
    ) -> None:
        """Whatever stands in the names of tenants and subjects."""
        await leases.acquire(place(1, tenant=one[0], subject=one[1]), A, MINUTE)
        holder = Holder(Tenant(other[0]), "video", other[1])
        renewed = await leases.renew(named(A, holder), MINUTE)
        acquired = await leases.acquire(place(1, tenant=other[0], subject=other[1]), B, MINUTE)

        assert renewed is None
        assert acquired.expires_at is not None


class TestForeignData:
    async def test_what_another_rule_of_the_name_left_counts_as_nothing(
        self, leases: RedisLeases, raw: "redis.asyncio.Redis"
    ) -> None:
        """As after a rate has become a concurrency; it goes when somebody takes a place."""
        await raw.set(KEY, b"a ring")
        looked = await leases.look(place())
        gone = (await leases.renew(named(A), MINUTE), await leases.release(named(A)))
        untouched = await raw.get(KEY)
        acquired = await leases.acquire(place(), A, MINUTE)

        assert (True, 0) == (looked.admits, looked.used)
        assert (None, False) == gone
        assert untouched == b"a ring"
        assert (1, START + MINUTE) == (acquired.verdict.used, acquired.expires_at)

    async def test_leases_from_elsewhere_replace_it_too(
        self, leases: RedisLeases, raw: "redis.asyncio.Redis"
    ) -> None:
        """They are held, whatever lies there."""
        await raw.set(KEY, b"a ring")
        await leases.adopt(HOLDER, {A: START + MINUTE})

        assert (await leases.look(place())).used == 1


class TestAdoption:
    async def test_leases_are_kept_beyond_the_places(self, leases: RedisLeases) -> None:
        """Of any number; nobody else gets a place until enough have ended."""
        await leases.adopt(HOLDER, {b"%016d" % n: START + MINUTE + n for n in range(250)})
        verdict, end = await leases.acquire(place(), A, MINUTE)

        assert (250, None) == (verdict.used, end)
        assert verdict.retry_at == START + MINUTE + 247

    async def test_neither_those_that_are_over_nor_a_shorter_end(self, leases: RedisLeases) -> None:
        """Whoever was told a later end goes on until then."""
        _, end = await leases.acquire(place(), A, MINUTE)
        await leases.adopt(HOLDER, {A: START + SECOND, B: START, C: START - SECOND})
        verdict = await leases.look(place())

        assert (1, end) == (verdict.used, verdict.reset_at)


class TestAbandonment:
    async def test_the_place_is_back_without_waiting(
        self, leases: RedisLeases, link: Redis, raw: "redis.asyncio.Redis"
    ) -> None:
        """Also on a Redis that knows no script yet; what is asked after it finds the place free."""
        await leases.acquire(place(), A, MINUTE)
        await leases.look(place())
        await raw.script_flush()
        leases.abandon(named(A))
        told: Acquired = await leases.acquire(place(1), B, MINUTE)

        assert told.expires_at is not None


async def _server_time(raw: "redis.asyncio.Redis") -> int:
    seconds, microseconds = await raw.time()
    return int(seconds) * SECOND + int(microseconds)
