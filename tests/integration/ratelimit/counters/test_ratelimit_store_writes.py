"""Counters in a real Redis: what is written, when, how large, and for how long."""

import pytest
import redis.asyncio

from services.ratelimit.policy import DAY, MAX_QUOTA, MAX_WINDOW, SECOND, Limit
from services.ratelimit.redis_counters import RedisCounterStore
from services.ratelimit.sliding_window import BUCKETS, bucket_width
from shared.redis.client import Redis
from tests.integration.ratelimit.counters.charging import (
    COUNTED,
    KEY,
    MONTH,
    START,
    WIDTH,
    Clock,
    admits,
    charge_of,
    name_of,
)


class TestTheServersClock:
    async def test_time_is_redis_own(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis"
    ) -> None:
        """Not that of the replica that asks."""
        before = await _server_time(raw)
        (verdict,) = await store.decide([charge_of()], consume=True)
        after = await _server_time(raw)

        assert before <= verdict.now <= after
        assert 0 < verdict.reset_at - verdict.now - (BUCKETS - 1) * WIDTH <= WIDTH

    async def test_a_calendar_is_found_by_it_too(self, store: RedisCounterStore) -> None:
        """The replica tells Redis the bounds, and is told when they are not those of now."""
        (verdict,) = await store.decide([charge_of(MONTH)], consume=True)

        assert 0 < verdict.reset_at - verdict.now <= 31 * DAY
        assert verdict.admits

    async def test_a_calendar_goes_on(self, link: Redis, raw: "redis.asyncio.Redis") -> None:
        """With the bounds of another month in mind, whatever is asked is asked anew."""
        store = RedisCounterStore(link)
        await store.decide([charge_of(MONTH)], consume=True)
        store._last_turn = START  # years ago
        limit = Limit(**{field: getattr(MONTH, field) for field in MONTH.__slots__})
        each = await store.decide_each([[charge_of(limit)], [charge_of(limit)]], consume=True)
        charged = await store.charge([charge_of(limit)])
        refunded = await store.refund([charge_of(limit)], admitted_at=None)

        assert [2, 3] == [verdict.used for (verdict,) in each]
        assert charged is not None
        assert [4, 3] == [charged[0].used, refunded.verdicts[0].used]


class TestWrites:
    @pytest.mark.parametrize("limit", COUNTED, ids=name_of)
    async def test_a_denial_and_a_peek_write_nothing(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis", limit: Limit
    ) -> None:
        """Not the value and not the time to live."""
        await admits(store, charge_of(limit, 10))
        value, life = await raw.get(KEY), await raw.pttl(KEY)
        (denied,) = await store.decide([charge_of(limit)], consume=True)
        (peeked,) = await store.decide([charge_of(limit, 5)], consume=False)

        assert [False, False] == [denied.admits, peeked.admits]
        assert value == await raw.get(KEY)
        assert 0 < await raw.pttl(KEY) <= life

    @pytest.mark.parametrize("limit", COUNTED, ids=name_of)
    async def test_a_first_peek_leaves_no_key(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis", limit: Limit
    ) -> None:
        """Nor does a denial of a cost that never fits, or a refund of nothing."""
        await store.decide([charge_of(limit)], consume=False)
        (never,) = await store.decide([charge_of(limit, 11)], consume=True)
        looked = await raw.dbsize()
        await store.refund([charge_of(limit)], admitted_at=None)

        assert (False, None) == (never.admits, never.retry_at)
        assert [0, 0] == [looked, await raw.dbsize()]

    @pytest.mark.parametrize("limit", COUNTED, ids=name_of)
    async def test_every_write_sets_the_time_to_live(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis", limit: Limit
    ) -> None:
        """Until all of it has left, by the millisecond: a counter that is forgotten counts anew."""
        lives = []
        for step in ("check", "charge", "refund"):
            if step == "check":
                (verdict,) = await store.decide([charge_of(limit)], consume=True)
            elif step == "charge":
                ((verdict,),) = [await store.charge([charge_of(limit, 2)]) or ()]
            else:
                ((verdict,),) = [
                    (await store.refund([charge_of(limit)], admitted_at=None)).verdicts
                ]
            lives.append(await _end(raw) - verdict.reset_at / 1_000)

        # A key lives through its last millisecond, and this was read in two.
        assert all(-2 <= late <= 3 for late in lives)

    async def test_a_ring_from_a_clock_far_ahead_is_healed_by_the_first_look(
        self, link: Redis, raw: "redis.asyncio.Redis"
    ) -> None:
        """The healing must be kept, or every look would begin it anew."""
        clock = Clock()
        store = RedisCounterStore(link, clock=clock)
        clock.now += DAY
        await admits(store, charge_of(cost=10))
        clock.now = START
        denied = await admits(store, charge_of())
        life = await raw.pttl(KEY) / 1_000
        clock.now = START + BUCKETS * WIDTH
        later = await admits(store, charge_of())

        assert [False, True] == denied + later
        assert life <= BUCKETS * WIDTH / SECOND


class TestSize:
    async def test_a_full_ring_of_the_largest_counts_takes_400_bytes_at_most(
        self, link: Redis, raw: "redis.asyncio.Redis"
    ) -> None:
        """Key and all, however busy the subject and however long it goes on."""
        clock = Clock()
        store = RedisCounterStore(link, clock=clock)
        limit = Limit(quota=MAX_QUOTA, window=MAX_WINDOW)
        for _ in range(2 * BUCKETS):
            clock.now += bucket_width(MAX_WINDOW)
            await admits(store, charge_of(limit, 70_000_000))
        size, length = await raw.memory_usage(KEY, samples=0), await raw.strlen(KEY)

        assert 252 == length
        assert size is not None
        assert size <= 400

    @pytest.mark.parametrize("limit", COUNTED, ids=name_of)
    async def test_a_quiet_subject_takes_less(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis", limit: Limit
    ) -> None:
        """A ring is as long as what it remembers; the others are always short."""
        await admits(store, charge_of(limit))
        size = await raw.memory_usage(KEY, samples=0)

        assert size is not None
        assert size <= 150


class TestOtherForms:
    @pytest.mark.parametrize("limit", COUNTED, ids=name_of)
    async def test_leases_of_a_rule_that_is_a_rate_now_are_no_consumption(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis", limit: Limit
    ) -> None:
        """A name that changes its kind works at once, not when the last lease has ended."""
        await raw.zadd(KEY, {"lease": 1})
        looked = await store.decide([charge_of(limit)], consume=False)
        checked = await store.decide([charge_of(limit)], consume=True)

        assert [0, 1] == [looked[0].used, checked[0].used]

    @pytest.mark.parametrize("after", COUNTED, ids=name_of)
    @pytest.mark.parametrize("before", COUNTED, ids=name_of)
    async def test_a_changed_algorithm_keeps_what_was_consumed(
        self, store: RedisCounterStore, before: Limit, after: Limit
    ) -> None:
        """All of it, at once."""
        await admits(store, charge_of(before, 7))
        (verdict,) = await store.decide([charge_of(after, 3)], consume=True)

        assert (True, 10) == (verdict.admits, verdict.used)


async def _end(raw: "redis.asyncio.Redis") -> float:
    """Return when Redis will forget the counter, in milliseconds since 1970."""
    async with raw.pipeline(transaction=True) as both:
        (seconds, micros), life = await both.time().pttl(KEY).execute()  # type: ignore[attr-defined]
    return float(seconds * 1_000 + micros / 1_000 + life)


async def _server_time(raw: "redis.asyncio.Redis") -> int:
    seconds, microseconds = await raw.time()
    return int(seconds) * SECOND + int(microseconds)
