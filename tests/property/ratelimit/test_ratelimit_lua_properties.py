"""The scripts inside Redis do what the pure algorithms do, on every Redis we support."""

import asyncio
import struct
from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.ratelimit import oracles
from services.ratelimit.fixed_window import Count
from services.ratelimit.gcra import Debt
from services.ratelimit.keys import counter_key
from services.ratelimit.oracles import State
from services.ratelimit.policy import DAY, SECOND, Algorithm, Limit, Rule
from services.ratelimit.ports import Charge
from services.ratelimit.redis_counters import RedisCounterStore
from services.ratelimit.sliding_window import Ring
from services.ratelimit.verdict import Verdict
from shared.redis.client import Redis
from shared.rpc.call import Tenant
from tests.property.ratelimit.histories import START, Step, histories, limits

TENANT, SUBJECT = Tenant("acme"), "user:42"

FAST = settings(max_examples=150, suppress_health_check=list(HealthCheck))


class Counters:
    """A store under a clock that the test sets, and what lies in Redis."""

    def __init__(self, url: str) -> None:
        self.raw = redis.Redis.from_url(url)
        self.now = 0
        self._runner = asyncio.Runner()
        self._redis = Redis(url, timeout=5)
        self._runner.run(self._redis.start())
        self.store = RedisCounterStore(self._redis, clock=lambda: self.now)

    def close(self) -> None:
        self._runner.run(self._redis.close())
        self._runner.close()
        self.raw.close()

    def put(self, charge: Charge, state: State | None) -> None:
        """Let this lie in Redis, without an end: its own time is not what is under test."""
        key = key_of(charge)
        if state is None:
            self.raw.delete(key)
        else:
            self.raw.set(key, encoded(state))

    def do(self, step: Step, charge: Charge) -> tuple[int, Verdict]:
        """Return what came back and the verdict."""
        self.now = step.now
        match step.act:
            case "charge":
                charged = self._runner.run(self.store.charge([charge]))
                assert charged is not None
                return 0, charged[0]
            case "refund":
                moment = step.admitted_at
                refunded = self._runner.run(self.store.refund([charge], admitted_at=moment))
                return refunded.amounts[0], refunded.verdicts[0]
            case "batch":
                return 0, self.decide_each([[], [charge]])[1][0]
            case _:
                return 0, self.decide([charge], consume=step.act == "check")[0]

    def decide(self, charges: list[Charge], *, consume: bool) -> list[Verdict]:
        return list(self._runner.run(self.store.decide(charges, consume=consume)))

    def decide_each(self, checks: list[list[Charge]]) -> list[list[Verdict]]:
        told = self._runner.run(self.store.decide_each(checks, consume=True))
        return [list(verdicts) for verdicts in told]


@pytest.fixture(scope="module")
def counters(any_redis_url: str) -> Iterator[Counters]:
    counters = Counters(any_redis_url)
    yield counters
    counters.close()


def encoded(state: State) -> bytes:
    """Return how a state stands in Redis."""
    match state:
        case Ring():
            head = struct.pack("<QIIxxxxx", state.newest, 0, 0)[:5]
            head += struct.pack("<I", sum(state.counters))
            head += (state.window // SECOND).to_bytes(3, "little")
            return head + struct.pack(f"<{len(state.counters)}I", *state.counters)
        case Debt():
            numbers = (state.due, state.written, state.interval)
            return b"".join(number.to_bytes(7, "little") for number in numbers)
        case Count():
            bounds = b"".join(number.to_bytes(7, "little") for number in state.bounds)
            return bounds + struct.pack("<Q", state.used)


def key_of(charge: Charge) -> str:
    return counter_key(
        tenant=charge.tenant,
        rule=charge.rule.name,
        position=charge.position,
        subject=charge.subject,
    )


def charge_of(limit: Limit, cost: int, *, position: int = 0, shadow: bool = False) -> Charge:
    rule = Rule(name="watched" if shadow else "chat", endpoints=(), default=(), shadow=shadow)
    return Charge(TENANT, rule, position, SUBJECT, limit, cost)


def by_rule(state: State | None, step: Step) -> tuple[State | None, int, Verdict]:
    """Return what the pure algorithm says."""
    now, limit, cost = step.now, step.limit, step.cost
    match step.act:
        case "charge":
            kept, verdict = oracles.charge(state, now=now, limit=limit, cost=cost)
            return kept, 0, verdict
        case "refund":
            return oracles.refund(
                state, now=now, limit=limit, cost=cost, admitted_at=step.admitted_at
            )
        case _:
            consume = step.act != "peek"
            kept, verdict = oracles.decide(state, now=now, limit=limit, cost=cost, consume=consume)
            return kept, 0, verdict


def checked(*moments: int, quota: int = 10) -> list[Step]:
    """Return checks of one sliding window at moments, in seconds."""
    limit = Limit(quota=quota, window=60 * SECOND)
    return [
        Step(act="check", now=START + moment * SECOND, limit=limit, cost=1, admitted_at=None)
        for moment in moments
    ]


def large_count_taken_over() -> list[Step]:
    """Return what happens to a month's money when its limit gets the other algorithms."""
    month = Limit(quota=10, window=30 * DAY, algorithm=Algorithm.FIXED_WINDOW)
    spent = Step(act="charge", now=START, limit=month, cost=2**52 + 5, admitted_at=None)
    kinds = (Algorithm.SLIDING_WINDOW, Algorithm.GCRA)
    others = [Limit(quota=1_000, window=30 * DAY, algorithm=kind) for kind in kinds]
    checks = [
        Step(act=act, now=START, limit=limit, cost=1, admitted_at=None)
        for limit in others
        for act in ("peek", "check", "charge")
    ]
    return [spent, *checks[:3], spent, *checks[3:]]


class TestOneCounter:
    @given(history=histories())
    # Back by some buckets, back by more than all of them, and where the first begin to leave.
    @example(history=checked(0, -5, 5, 61))
    @example(history=checked(0, -200, 0))
    @example(history=checked(0, 1, 30, 62, quota=3))
    @example(history=large_count_taken_over())
    @FAST
    def test_every_step_is_that_of_the_pure_algorithm(
        self, counters: Counters, history: list[Step]
    ) -> None:
        """Every verdict and every byte that is kept, through changes of limits and of the clock."""
        state: State | None = None
        for step in history:
            charge = charge_of(step.limit, step.cost)
            counters.put(charge, state)
            before = None if state is None else encoded(state)
            state, amount, verdict = by_rule(state, step)
            told = counters.do(step, charge)
            kept, life = counters.raw.get(key_of(charge)), counters.raw.pttl(key_of(charge))

            assert (amount, verdict) == told
            assert kept == (None if state is None else encoded(state)) or -1 != life < 100
            # Whatever was written ends by itself; what was only looked at is as it was put.
            assert (kept == before) == (life == -1) or kept is None or 0 < life


# In Redis's own time none of what they write may end while a history runs.
slow_limits = limits.filter(lambda limit: limit.quota <= 10 and limit.window >= 3_600 * SECOND)


@st.composite
def checks(draw: st.DrawFn) -> list[Charge]:
    """Draw charges of one check: positions of two rules, one of them in shadow."""
    places = st.tuples(st.booleans(), st.integers(0, 2))
    return [
        charge_of(draw(slow_limits), draw(st.integers(1, 3)), position=position, shadow=shadow)
        for shadow, position in draw(st.lists(places, min_size=1, max_size=4, unique=True))
    ]


class Oracle:
    """Several counters, decided together by the pure algorithms."""

    def __init__(self) -> None:
        self.states: dict[str, State | None] = {}

    def decide(self, charges: list[Charge], now: int) -> list[Verdict]:
        verdicts = [self._decide(charge, now, consume=False) for charge in charges]
        admitted = all(
            verdict.admits or charge.rule.shadow
            for charge, verdict in zip(charges, verdicts, strict=True)
        )
        return [
            self._decide(charge, now, consume=True) if admitted and verdict.admits else verdict
            for charge, verdict in zip(charges, verdicts, strict=True)
        ]

    def _decide(self, charge: Charge, now: int, *, consume: bool) -> Verdict:
        key = key_of(charge)
        self.states[key], verdict = oracles.decide(
            self.states.get(key), now=now, limit=charge.limit, cost=charge.cost, consume=consume
        )
        return verdict


class TestSeveralLimits:
    @given(history=st.lists(checks(), min_size=1, max_size=8))
    @FAST
    def test_all_or_nothing_and_shadows_keep_nobody_from_anything(
        self, counters: Counters, history: list[list[Charge]]
    ) -> None:
        """Any mix of algorithms in one step, as the pure ones would decide together."""
        counters.raw.flushall()
        counters.now, oracle = START, Oracle()
        for charges in history:
            assert oracle.decide(charges, START) == counters.decide(charges, consume=True)

    @given(batch=st.lists(checks(), min_size=1, max_size=12))
    @FAST
    def test_a_batch_is_as_one_check_after_the_other(
        self, counters: Counters, batch: list[list[Charge]]
    ) -> None:
        """Also where several of its checks are on one counter."""
        counters.raw.flushall()
        counters.now, oracle = START, Oracle()

        assert [oracle.decide(charges, START) for charges in batch] == counters.decide_each(batch)


class TestAlgorithms:
    def test_each_has_its_scripts(self, counters: Counters) -> None:
        """All that can be a limit, but for concurrency, which is held and not counted."""
        counters.raw.flushall()
        counters.now = START
        counted = [Algorithm.SLIDING_WINDOW, Algorithm.GCRA, Algorithm.FIXED_WINDOW]
        told = [
            counters.decide(
                [charge_of(Limit(quota=1, window=SECOND, algorithm=kind), 1)], consume=False
            )
            for kind in counted
        ]

        assert [True] * 3 == [verdict.admits for (verdict,) in told]
        assert {*Algorithm} == {*counted, Algorithm.CONCURRENCY}
