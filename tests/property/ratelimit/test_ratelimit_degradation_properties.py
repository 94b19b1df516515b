"""What holds of a limit through any outages: replicas with one real Redis between them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.errors import RateLimitStoreError
from services.ratelimit.debts import Debts
from services.ratelimit.degrading import DegradingStore
from services.ratelimit.local_counters import LocalCounters
from services.ratelimit.policy import SECOND, FailureMode, Limit, Rule
from services.ratelimit.ports import Charge
from services.ratelimit.redis_counters import RedisCounterStore
from services.ratelimit.settling import Settling
from services.ratelimit.verdict import Verdict
from shared.redis.client import Redis
from shared.rpc.call import Tenant

# While a history runs in Redis's own time its keys must not expire.
WINDOW = 600 * SECOND
START = 1_760_000_000 * SECOND
REPLICAS = 3

_numbers = count(1)


class Cut(RedisCounterStore):
    """The real store behind a network that can be cut, before a call or before its answer."""

    state = "whole"

    async def decide(self, charges: Sequence[Charge], *, consume: bool) -> Sequence[Verdict]:
        self._refuse("gone", "REDIS_BREAKER_OPEN")
        verdicts = await super().decide(charges, consume=consume)
        self._refuse("silent", "REDIS_TIMEOUT")
        return verdicts

    async def charge(
        self, charges: Sequence[Charge], *, once: str = ""
    ) -> Sequence[Verdict] | None:
        self._refuse("gone", "REDIS_BREAKER_OPEN")
        verdicts = await super().charge(charges, once=once)
        self._refuse("silent", "REDIS_TIMEOUT")
        return verdicts

    def _refuse(self, state: str, cause: str) -> None:
        if self.state == state:
            raise RateLimitStoreError("cut", metadata={"cause": cause})


class Step(NamedTuple):
    """What happens next: time passes, then `what`, at one of the replicas."""

    passes: int
    what: str
    replica: int
    cost: int


class Admission(NamedTuple):
    at: int
    cost: int
    local: int | None
    settled: bool


@dataclass(kw_only=True)
class World:
    """Replicas, their Redis, and what was admitted."""

    quota: int
    mode: FailureMode
    now: int = START
    admitted: list[Admission] = field(default_factory=list)

    def begin(self, redis: Redis) -> None:
        rule = Rule(name=f"r{next(_numbers)}", endpoints=("*",), default=(), on_failure=self.mode)
        limit = Limit(quota=self.quota, window=WINDOW)
        self.charge = Charge(Tenant("acme"), rule, 0, "user:1", limit, 1)
        self.stores = [Cut(redis, clock=lambda: self.now) for _ in range(REPLICAS)]
        self.locals = [LocalCounters() for _ in range(REPLICAS)]
        self.debts = [Debts(replica=f"{rule.name}-{n}") for n in range(REPLICAS)]
        self.settlings = [
            Settling(
                *parts,
                now_us=lambda: self.now,
                connected=lambda: True,
                settling=lambda: False,
                report=lambda _: None,
            )
            for parts in zip(self.stores, self.locals, self.debts, strict=True)
        ]
        self.replicas = [
            DegradingStore(
                *parts,
                now_us=lambda: self.now,
                seconds=lambda: self.now / SECOND,
                replicas=lambda: REPLICAS,
                settling=lambda: False,
            )
            for parts in zip(self.stores, self.locals, self.debts, strict=True)
        ]

    async def do(self, step: Step) -> None:
        self.now += step.passes
        match step.what:
            case "check":
                await self._check(step.replica, step.cost)
            case "settle":
                await self.settlings[step.replica].run_once()
            case state:
                for store in self.stores:
                    store.state = state

    async def settle_all(self) -> None:
        for settling, debts in zip(self.settlings, self.debts, strict=True):
            while debts:
                await settling.run_once()

    async def _check(self, replica: int, cost: int) -> None:
        settled = not any(self.debts)
        charge = self.charge._replace(cost=cost)
        (verdict,) = await self.replicas[replica].decide([charge], consume=True)
        if verdict.admits:
            local = None if verdict.degraded is None else replica
            self.admitted.append(Admission(self.now, cost, local, settled))

    def most(self, admissions: Sequence[Admission]) -> int:
        """Return the most that any window admits."""
        return max((self.within(admissions, last) for last in admissions), default=0)

    @staticmethod
    def within(admissions: Sequence[Admission], last: Admission) -> int:
        """Return what the window admits that ends with one of them."""
        upto = admissions[: admissions.index(last) + 1]
        return sum(each.cost for each in upto if each.at > last.at - WINDOW)


steps = st.lists(
    st.builds(
        Step,
        st.one_of(st.just(1), st.integers(1, WINDOW // 30), st.sampled_from([WINDOW // 2, WINDOW])),
        st.sampled_from(["check"] * 12 + ["settle"] * 3 + ["whole"] * 2 + ["gone", "silent"]),
        st.integers(0, REPLICAS - 1),
        st.integers(1, 4),
    ),
    min_size=30,
    max_size=90,
)


def lived(redis_url: str, quota: int, mode: FailureMode, steps: Sequence[Step]) -> World:
    """Let a history happen and Redis be whole and paid at its end."""

    async def live() -> World:
        redis = Redis(redis_url, timeout=5)
        await redis.start()
        world = World(quota=quota, mode=mode)
        world.begin(redis)
        try:
            for step in steps:
                await world.do(step)
            await world.do(Step(1, "whole", 0, 1))
            await world.settle_all()
            for _ in range(2 * quota):
                await world.do(Step(1, "check", 0, 1))
        finally:
            await redis.close()
        return world

    return asyncio.run(live())


class TestLocalRules:
    @settings(max_examples=60)
    @given(quota=st.integers(1, 30), steps=steps)
    def test_a_replica_never_admits_more_than_its_share(
        self, session_redis_url: str, quota: int, steps: Sequence[Step]
    ) -> None:
        """In no window, however often Redis comes and goes."""
        world = lived(session_redis_url, quota, FailureMode.LOCAL, steps)

        for replica in range(REPLICAS):
            alone = [each for each in world.admitted if each.local == replica]
            assert world.most(alone) <= max(1, quota // REPLICAS)

    @settings(max_examples=60)
    @given(quota=st.integers(1, 30), steps=steps)
    def test_no_window_holds_more_than_the_limit_and_the_shares(
        self, session_redis_url: str, quota: int, steps: Sequence[Step]
    ) -> None:
        """The price of an outage: what Redis admitted just before it, replicas do not know."""
        world = lived(session_redis_url, quota, FailureMode.LOCAL, steps)

        assert world.most(world.admitted) <= quota + REPLICAS * max(1, quota // REPLICAS)


class TestAfterAnOutage:
    @settings(max_examples=100)
    @given(
        quota=st.integers(1, 30),
        mode=st.sampled_from([FailureMode.LOCAL, FailureMode.OPEN]),
        steps=steps,
    )
    def test_redis_admits_nothing_beyond_the_limit_once_it_was_charged(
        self, session_redis_url: str, quota: int, mode: FailureMode, steps: Sequence[Step]
    ) -> None:
        """What was admitted without it counts like everything else."""
        world = lived(session_redis_url, quota, mode, steps)

        for each in world.admitted:
            if each.local is None and each.settled:
                assert world.within(world.admitted, each) <= quota
