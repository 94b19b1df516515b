"""Counters in a real Redis: what is written, when, how large, and for how long."""

import asyncio
from collections.abc import Sequence

import pytest
import redis.asyncio

from mainstay.errors import RateLimitStoreError
from services.ratelimit.keys import counter_key
from services.ratelimit.policy import (
    DAY,
    MAX_QUOTA,
    MAX_WINDOW,
    SECOND,
    Algorithm,
    Calendar,
    Limit,
    Rule,
)
from services.ratelimit.ports import Charge
from services.ratelimit.redis_counters import CHUNK, RedisCounterStore
from services.ratelimit.sliding_window import BUCKETS, bucket_width
from services.ratelimit.verdict import Verdict
from shared.redis.client import Redis
from shared.rpc.call import Tenant

WINDOW = 60 * SECOND
WIDTH = bucket_width(WINDOW)
START = 1_700_000_000 * WIDTH
LONG = 3_600 * SECOND

SLIDING = Limit(quota=10, window=LONG)
GCRA = Limit(quota=10, window=LONG, algorithm=Algorithm.GCRA)
FIXED = Limit(quota=10, window=186 * DAY, algorithm=Algorithm.FIXED_WINDOW)
MONTH = Limit(
    quota=10,
    window=30 * DAY,
    algorithm=Algorithm.FIXED_WINDOW,
    calendar=Calendar.MONTH,
    time_zone="Europe/Berlin",
)
COUNTED = [SLIDING, GCRA, FIXED, MONTH]


class Clock:
    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def _per_minute(quota: int = 10) -> Limit:
    return Limit(quota=quota, window=WINDOW)


def _charge(
    limit: Limit | None = None,
    cost: int = 1,
    *,
    tenant: str = "acme",
    rule: str = "ai_chat",
    position: int = 0,
    subject: str = "user:42",
    shadow: bool = False,
) -> Charge:
    of = Rule(name=rule, endpoints=(), default=(), shadow=shadow)
    return Charge(Tenant(tenant), of, position, subject, limit or _per_minute(), cost)


def _key(charge: Charge) -> str:
    return counter_key(
        tenant=charge.tenant,
        rule=charge.rule.name,
        position=charge.position,
        subject=charge.subject,
    )


KEY = _key(_charge())


async def _check(store: RedisCounterStore, *charges: Charge) -> list[bool]:
    return [verdict.admits for verdict in await store.decide(charges, consume=True)]


def _name(limit: Limit) -> str:
    return f"{limit.algorithm.value}{limit.calendar or ''}"


@pytest.fixture
def store(link: Redis) -> RedisCounterStore:
    return RedisCounterStore(link)


class TestConcurrentCallers:
    @pytest.mark.parametrize("limit", COUNTED, ids=_name)
    async def test_two_replicas_and_fifty_callers_admit_exactly_the_limit(
        self, redis_url: str, limit: Limit
    ) -> None:
        """Nothing is read in one step and written in another."""
        links = [Redis(redis_url, timeout=5), Redis(redis_url, timeout=5)]
        stores = [RedisCounterStore(link) for link in links]
        for link in links:
            await link.start()

        async def call_ten_times(store: RedisCounterStore) -> int:
            return sum([(await _check(store, _charge(limit)))[0] for _ in range(10)])

        admitted = await asyncio.gather(*(call_ten_times(stores[i % 2]) for i in range(50)))
        for link in links:
            await link.close()

        assert limit.quota == sum(admitted)


class TestTheServersClock:
    async def test_time_is_redis_own(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis"
    ) -> None:
        """Not that of the replica that asks."""
        before = await _server_time(raw)
        (verdict,) = await store.decide([_charge()], consume=True)
        after = await _server_time(raw)

        assert before <= verdict.now <= after
        assert 0 < verdict.reset_at - verdict.now - (BUCKETS - 1) * WIDTH <= WIDTH

    async def test_a_calendar_is_found_by_it_too(self, store: RedisCounterStore) -> None:
        """The replica tells Redis the bounds, and is told when they are not those of now."""
        (verdict,) = await store.decide([_charge(MONTH)], consume=True)

        assert 0 < verdict.reset_at - verdict.now <= 31 * DAY
        assert verdict.admits

    async def test_a_calendar_goes_on(self, link: Redis, raw: "redis.asyncio.Redis") -> None:
        """With the bounds of another month in mind, whatever is asked is asked anew."""
        store = RedisCounterStore(link)
        await store.decide([_charge(MONTH)], consume=True)
        store._last_turn = START  # years ago
        limit = Limit(**{field: getattr(MONTH, field) for field in MONTH.__slots__})
        each = await store.decide_each([[_charge(limit)], [_charge(limit)]], consume=True)
        charged = await store.charge([_charge(limit)])
        refunded = await store.refund([_charge(limit)], admitted_at=None)

        assert [2, 3] == [verdict.used for (verdict,) in each]
        assert charged is not None
        assert [4, 3] == [charged[0].used, refunded.verdicts[0].used]


class TestWrites:
    @pytest.mark.parametrize("limit", COUNTED, ids=_name)
    async def test_a_denial_and_a_peek_write_nothing(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis", limit: Limit
    ) -> None:
        """Not the value and not the time to live."""
        await _check(store, _charge(limit, 10))
        value, life = await raw.get(KEY), await raw.pttl(KEY)
        (denied,) = await store.decide([_charge(limit)], consume=True)
        (peeked,) = await store.decide([_charge(limit, 5)], consume=False)

        assert [False, False] == [denied.admits, peeked.admits]
        assert value == await raw.get(KEY)
        assert 0 < await raw.pttl(KEY) <= life

    @pytest.mark.parametrize("limit", COUNTED, ids=_name)
    async def test_a_first_peek_leaves_no_key(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis", limit: Limit
    ) -> None:
        """Nor does a denial of a cost that never fits, or a refund of nothing."""
        await store.decide([_charge(limit)], consume=False)
        (never,) = await store.decide([_charge(limit, 11)], consume=True)
        looked = await raw.dbsize()
        await store.refund([_charge(limit)], admitted_at=None)

        assert (False, None) == (never.admits, never.retry_at)
        assert [0, 0] == [looked, await raw.dbsize()]

    @pytest.mark.parametrize("limit", COUNTED, ids=_name)
    async def test_every_write_sets_the_time_to_live(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis", limit: Limit
    ) -> None:
        """Until all of it has left, by the millisecond: a counter that is forgotten counts anew."""
        lives = []
        for step in ("check", "charge", "refund"):
            if step == "check":
                (verdict,) = await store.decide([_charge(limit)], consume=True)
            elif step == "charge":
                ((verdict,),) = [await store.charge([_charge(limit, 2)]) or ()]
            else:
                ((verdict,),) = [(await store.refund([_charge(limit)], admitted_at=None)).verdicts]
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
        await _check(store, _charge(cost=10))
        clock.now = START
        denied = await _check(store, _charge())
        life = await raw.pttl(KEY) / 1_000
        clock.now = START + BUCKETS * WIDTH
        later = await _check(store, _charge())

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
            await _check(store, _charge(limit, 70_000_000))
        size, length = await raw.memory_usage(KEY, samples=0), await raw.strlen(KEY)

        assert 252 == length
        assert size is not None
        assert size <= 400

    @pytest.mark.parametrize("limit", COUNTED, ids=_name)
    async def test_a_quiet_subject_takes_less(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis", limit: Limit
    ) -> None:
        """A ring is as long as what it remembers; the others are always short."""
        await _check(store, _charge(limit))
        size = await raw.memory_usage(KEY, samples=0)

        assert size is not None
        assert size <= 150


class TestSeparateCounters:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (("acme", "user:42"), ("globex", "user:42")),
            (("acme", "user:42"), ("acme", "user:43")),
            (("a", "b_c=d"), ("a_b", "c=d")),
            (("a", "{a}:b"), ("a}", "b")),
            (("*", "a"), ("a", "a")),
        ],
    )
    async def test_neither_charges_the_other(
        self, store: RedisCounterStore, one: tuple[str, str], other: tuple[str, str]
    ) -> None:
        """Whatever stands in the names of tenants and subjects."""
        await _check(store, _charge(cost=10, tenant=one[0], subject=one[1]))
        charge = _charge(tenant=other[0], subject=other[1])
        (verdict,) = await store.decide([charge], consume=True)

        assert 1 == verdict.used


class TestSeveralLimits:
    MIX = (SLIDING, GCRA, FIXED, MONTH)

    def _charges(self, tight: int, *, shadow: bool = False) -> list[Charge]:
        """Return four charges, of which one fits once only; that one may be in shadow."""
        return [
            _charge(limit, 6, rule="tight", shadow=shadow)
            if n == tight
            else _charge(limit, position=n)
            for n, limit in enumerate(self.MIX)
        ]

    @pytest.mark.parametrize("tight", range(4))
    async def test_when_one_denies_none_is_charged(
        self, store: RedisCounterStore, tight: int
    ) -> None:
        """All or nothing, in one step, whatever they count by."""
        first = await store.decide(self._charges(tight), consume=True)
        second = await store.decide(self._charges(tight), consume=True)

        assert [True] * 4 == [verdict.admits for verdict in first]
        assert [n != tight for n in range(4)] == [verdict.admits for verdict in second]
        assert [v.used for v in first] == [v.used for v in second]

    @pytest.mark.parametrize("tight", range(4))
    async def test_one_in_shadow_keeps_nobody_from_anything(
        self, store: RedisCounterStore, tight: int
    ) -> None:
        """It tells that it would have denied, and consumes only what it admits."""
        charges = self._charges(tight, shadow=True)
        told = [await store.decide(charges, consume=True) for _ in range(2)]
        used = [6 if n == tight else 2 for n in range(4)]

        assert [n != tight for n in range(4)] == [verdict.admits for verdict in told[1]]
        assert used == [verdict.used for verdict in told[1]]


class TestBatches:
    async def test_decide_in_their_order_however_many(self, store: RedisCounterStore) -> None:
        """Each script decides a part; what comes later knows of what came before."""
        checks = [[_charge()] for _ in range(2 * CHUNK + 50)]
        told = await store.decide_each(checks, consume=True)
        admitted = [verdict.admits for (verdict,) in told]

        assert [True] * 10 + [False] * (len(checks) - 10) == admitted

    async def test_have_each_its_own_answer(self, store: RedisCounterStore) -> None:
        """Also where checks have several limits, and parts end in between."""
        costs = [n % 9 + 1 for n in range(3 * CHUNK)]
        checks = [
            [_charge(None, cost, subject=f"user:{n}", position=p) for p in range(1 + n % 3)]
            for n, cost in enumerate(costs)
        ]
        told = await store.decide_each(checks, consume=True)

        assert [[cost] * len(check) for cost, check in zip(costs, checks, strict=True)] == [
            [verdict.used for verdict in verdicts] for verdicts in told
        ]

    async def test_leave_in_parts(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis"
    ) -> None:
        """Redis serves others in between: no script decides more than a hundred."""
        await _check(store, _charge())
        await raw.config_resetstat()
        await store.decide_each([[_charge(position=n % 3)] for n in range(1_000)], consume=True)
        scripts = (await raw.info("commandstats"))["cmdstat_evalsha"]

        assert 10 == scripts["calls"]

    async def test_of_nothing_ask_nobody(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis"
    ) -> None:
        """A check without limits is one that nobody denies."""
        await raw.config_resetstat()
        told = [
            *await store.decide_each([], consume=True),
            *await store.decide_each([[], []], consume=True),
        ]
        told += [await store.decide([], consume=True), await store.charge([]) or ()]
        refunded = await store.refund([], admitted_at=None)
        statistics = await raw.info("commandstats")

        assert [[]] * 4 == [[*verdicts] for verdicts in told]
        assert [] == [*refunded.amounts]
        assert "cmdstat_evalsha" not in statistics


class TestCharges:
    async def test_consume_beyond_the_limit(self, store: RedisCounterStore) -> None:
        """It has taken place."""
        charges = [_charge(limit, 7, position=n) for n, limit in enumerate(COUNTED)]
        told = [await store.charge(charges) for _ in range(2)]

        assert [[7] * 4, [14] * 4] == [[v.used for v in verdicts or ()] for verdicts in told]
        assert [False] * 4 == [verdict.admits for verdict in told[1] or ()]

    async def test_once_is_once(self, store: RedisCounterStore, raw: "redis.asyncio.Redis") -> None:
        """For a day; a refund of the same name is another act, and so is one of another tenant."""
        told = [await store.charge([_charge()], once="name") for _ in range(2)]
        other = await store.charge([_charge(tenant="globex")], once="name")
        refunded = await store.refund([_charge()], admitted_at=None, once="name")
        keys = [key async for key in raw.scan_iter("rl:{acme}:~once:*")]
        lives = [await raw.pttl(key) / 1_000 for key in keys]
        (left,) = await store.decide([_charge()], consume=False)

        assert [1, None] == [None if verdicts is None else verdicts[0].used for verdicts in told]
        assert other is not None
        assert [1] == list(refunded.amounts)
        assert 0 == left.used
        assert 2 == len(lives)
        assert all(86_000 < life <= 86_400 for life in lives)


class TestRefunds:
    @pytest.mark.parametrize("limit", COUNTED, ids=_name)
    async def test_never_lift_what_remains_above_the_limit(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis", limit: Limit
    ) -> None:
        """Not one that comes first, not one that is too large."""
        first = await store.refund([_charge(limit, 5)], admitted_at=None)
        await _check(store, _charge(limit, 3))
        second = await store.refund([_charge(limit, 5)], admitted_at=None)

        assert [[0], [3]] == [list(refunded.amounts) for refunded in (first, second)]
        assert [0, 0] == [refunded.verdicts[0].used for refunded in (first, second)]
        assert 0 == await raw.dbsize()

    @pytest.mark.parametrize("limit", COUNTED, ids=_name)
    async def test_of_a_moment_before_give_nothing(
        self, store: RedisCounterStore, limit: Limit
    ) -> None:
        """What was admitted then has left."""
        (verdict,) = await store.decide([_charge(limit, 3)], consume=True)
        long_ago = verdict.now - 400 * DAY
        refunded = await store.refund([_charge(limit)], admitted_at=long_ago)
        now = await store.refund([_charge(limit)], admitted_at=verdict.now)

        assert [[0], [1]] == [list(refunded.amounts), list(now.amounts)]

    async def test_once_is_once(self, store: RedisCounterStore) -> None:
        """The repetition says so, and how the limits are now."""
        await _check(store, _charge(cost=5))
        told = [await store.refund([_charge()], admitted_at=None, once="x") for _ in range(2)]

        assert [(False, [1]), (True, [0])] == [(each.repeated, [*each.amounts]) for each in told]
        assert [4, 4] == [each.verdicts[0].used for each in told]


class TestResets:
    async def test_forget_every_limit_of_the_rules(self, store: RedisCounterStore) -> None:
        """Of this subject, and of no other."""
        rules = [Rule(name=name, endpoints=(), default=()) for name in ("one", "two", "three")]
        for name, position in (("one", 0), ("three", 0), ("three", 7), ("other", 0)):
            await _check(store, _charge(rule=name, position=position))
        await _check(store, _charge(rule="one", subject="user:43"))
        told = [await store.reset(Tenant("acme"), rules, "user:42") for _ in range(2)]
        left = await store.decide(
            [
                _charge(rule="one", subject="user:43"),
                _charge(rule="other"),
                _charge(rule="three"),
                _charge(rule="three", position=7),
            ],
            consume=False,
        )

        assert [["one", "three"], []] == [[*names] for names in told]
        assert [1, 1, 0, 0] == [verdict.used for verdict in left]


class TestOtherForms:
    @pytest.mark.parametrize("limit", COUNTED, ids=_name)
    async def test_leases_of_a_rule_that_is_a_rate_now_are_no_consumption(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis", limit: Limit
    ) -> None:
        """A name that changes its kind works at once, not when the last lease has ended."""
        await raw.zadd(KEY, {"lease": 1})
        looked = await store.decide([_charge(limit)], consume=False)
        checked = await store.decide([_charge(limit)], consume=True)

        assert [0, 1] == [looked[0].used, checked[0].used]

    @pytest.mark.parametrize("after", COUNTED, ids=_name)
    @pytest.mark.parametrize("before", COUNTED, ids=_name)
    async def test_a_changed_algorithm_keeps_what_was_consumed(
        self, store: RedisCounterStore, before: Limit, after: Limit
    ) -> None:
        """All of it, at once."""
        await _check(store, _charge(before, 7))
        (verdict,) = await store.decide([_charge(after, 3)], consume=True)

        assert (True, 10) == (verdict.admits, verdict.used)


class TestTrouble:
    @pytest.fixture
    def gone(self) -> RedisCounterStore:
        """Use a client that is not connected."""
        return RedisCounterStore(Redis("redis://127.0.0.1:1"))

    async def test_without_redis_everything_says_so(self, gone: RedisCounterStore) -> None:
        """In the rate limits' own words, with what is away."""
        charges = [_charge()]
        calls = [
            gone.decide(charges, consume=True),
            gone.decide_each([charges] * 300, consume=True),
            gone.charge(charges),
            gone.refund(charges, admitted_at=None),
            gone.reset(Tenant("acme"), [charges[0].rule], "user:42"),
        ]
        failed = await asyncio.gather(*calls, return_exceptions=True)

        assert [RateLimitStoreError] * 5 == [type(error) for error in failed]
        assert {"redis"} == {
            error.metadata["dependency"]
            for error in failed
            if isinstance(error, RateLimitStoreError)
        }

    async def test_what_redis_refuses_is_told_as_such(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis"
    ) -> None:
        """A counter that nobody of us has written."""
        await raw.set(KEY, "1234")
        with pytest.raises(RateLimitStoreError) as refused:
            await _check(store, _charge())

        assert "ERR" == refused.value.metadata["cause"]


class TestFaultsOfOthers:
    """What was found in other limiters, and must not come here."""

    async def test_a_cost_above_the_limit_is_not_admitted(self, store: RedisCounterStore) -> None:
        """Not even by an empty counter."""
        for n, limit in enumerate(COUNTED):
            (verdict,) = await store.decide([_charge(limit, 50, position=n)], consume=True)

            assert (False, 0, None) == (verdict.admits, verdict.used, verdict.retry_at)

    async def test_two_bursts_around_a_clocks_boundary_are_not_both_admitted(
        self, link: Redis
    ) -> None:
        """Not a microsecond before and after a full minute, nor of one of our buckets."""
        for boundary in (1_760_000_040 * SECOND, START + WIDTH):
            clock = Clock(boundary - 1)
            store = RedisCounterStore(link, clock=clock)
            subject = f"user:{boundary}"
            before = await _check(store, _charge(cost=10, subject=subject))
            clock.now = boundary
            after = await _check(store, _charge(subject=subject))

            assert [True, False] == before + after

    async def test_a_denied_check_charges_no_sibling(self, store: RedisCounterStore) -> None:
        """However often it is repeated."""
        tight, roomy = _charge(_per_minute(1)), _charge(_per_minute(100), position=1)
        told: list[Sequence[Verdict]] = [
            await store.decide([tight, roomy], consume=True) for _ in range(5)
        ]

        assert [1] * 5 == [verdicts[1].used for verdicts in told]

    async def test_a_rate_that_is_no_whole_number_of_microseconds_is_not_exceeded(
        self, link: Redis
    ) -> None:
        """Of 7/s one comes every 142,858 us, never every 142,857."""
        clock = Clock()
        store = RedisCounterStore(link, clock=clock)
        limit = Limit(quota=7, window=SECOND, burst=1, algorithm=Algorithm.GCRA)
        first = await _check(store, _charge(limit))
        clock.now += 142_858 - 1
        early = await _check(store, _charge(limit))
        clock.now += 1
        in_time = await _check(store, _charge(limit))

        assert [True, False, True] == first + early + in_time


async def _end(raw: "redis.asyncio.Redis") -> float:
    """Return when Redis will forget the counter, in milliseconds since 1970."""
    async with raw.pipeline(transaction=True) as both:
        (seconds, micros), life = await both.time().pttl(KEY).execute()  # type: ignore[attr-defined]
    return float(seconds * 1_000 + micros / 1_000 + life)


async def _server_time(raw: "redis.asyncio.Redis") -> int:
    seconds, microseconds = await raw.time()
    return int(seconds) * SECOND + int(microseconds)
