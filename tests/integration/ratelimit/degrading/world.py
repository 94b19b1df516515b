"""A replica's counters as the service puts them together, on a Redis that a test may break."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from cli.embedded.redis import RedisServer
from mainstay.errors import RateLimitStoreError
from services.ratelimit.debts import Debts
from services.ratelimit.degrading import DegradingStore
from services.ratelimit.local_counters import LocalCounters
from services.ratelimit.policy import SECOND, FailureMode, Limit, Rule
from services.ratelimit.ports import Charge
from services.ratelimit.redis_counters import RedisCounterStore
from services.ratelimit.replicas import Replicas
from services.ratelimit.settling import Settling
from services.ratelimit.verdict import Verdict
from shared.redis.client import Redis
from shared.redis.clock import StoreClock
from shared.rpc.call import Tenant
from tests.integration.shared.waiting import until

TENANT = Tenant("acme")
TIMEOUT = 0.25
HOUR = 3_600 * SECOND

_numbers = count(1)


class Seconds:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def charge(
    quota: int = 10,
    *,
    cost: int = 1,
    mode: FailureMode = FailureMode.LOCAL,
    rule: str = "chat",
    subject: str = "user:42",
    tenant: Tenant = TENANT,
) -> Charge:
    """Return a charge on a limit of an hour."""
    limit = Limit(quota=quota, window=HOUR)
    of = Rule(name=rule, endpoints=("*",), default=(limit,), on_failure=mode)
    return Charge(tenant, of, 0, subject, limit, cost)


class LosingAnswers(RedisCounterStore):
    """The real store behind a network that loses the answers to charges, when it is told to."""

    losing = False

    async def charge(
        self, charges: Sequence[Charge], *, once: str = ""
    ) -> Sequence[Verdict] | None:
        verdicts = await super().charge(charges, once=once)
        if self.losing:
            raise RateLimitStoreError("lost", metadata={"cause": "REDIS_TIMEOUT"})
        return verdicts


@dataclass(kw_only=True)
class Replica:
    """One replica. `seconds` moves only when a test moves it; nothing is paid or said by itself.

    It shares limits among `replicas`, however many it has heard of.
    """

    redis: Redis
    clock: StoreClock
    replicas: int = 1
    problems: list[str | None] = field(default_factory=list)
    seconds: Seconds = field(default_factory=Seconds)

    def __post_init__(self) -> None:
        self.inner = LosingAnswers(self.redis)
        self.local = LocalCounters()
        self.forgotten: list[str] = []
        self.name = f"replica-{next(_numbers)}"
        self.debts = Debts(
            replica=self.name,
            on_forget=lambda name: self.forgotten.append(name.subject),
        )
        self.all = Replicas(self.redis, replica=self.name, owes=lambda: bool(self.debts))
        self.settling = Settling(
            self.inner,
            self.local,
            self.debts,
            now_us=self.clock.now_us,
            connected=lambda: self.redis.connected,
            settling=lambda: self.all.settling,
            report=self.problems.append,
        )
        self.store = DegradingStore(
            self.inner,
            self.local,
            self.debts,
            now_us=self.clock.now_us,
            seconds=self.seconds,
            replicas=lambda: self.replicas,
            settling=lambda: self.all.settling,
        )

    async def decide(self, asked: Charge, *, consume: bool = True) -> Verdict:
        (verdict,) = await self.store.decide([asked], consume=consume)
        return verdict

    async def used(self, asked: Charge) -> int:
        """Return what Redis itself has counted."""
        (verdict,) = await self.inner.decide([asked], consume=False)
        return verdict.used

    async def until_connected(self) -> None:
        await until(lambda: self.redis.connected)

    async def until_lost(self) -> None:
        await until(lambda: not self.redis.connected)

    async def lose(self, server: RedisServer) -> None:
        """Kill Redis and wait until that was noticed."""
        await server.kill()
        await self.until_lost()

    async def pay(self) -> None:
        """Pay until nothing is owed."""
        while self.debts:
            await self.settling.run_once()

    async def settle(self) -> None:
        """Pay, and wait until the others have paid too."""
        await self.pay()
        async with asyncio.timeout(10):
            await self.all.beat()
            while not self.all.settled:
                await asyncio.sleep(0.01)  # the others may still be on their way
                await self.all.beat()


@asynccontextmanager
async def replica(url: str, *, replicas: int = 1) -> AsyncIterator[Replica]:
    """Connect a replica within the block."""
    redis = Redis(url, timeout=TIMEOUT)
    await redis.start()
    clock = StoreClock(redis)
    await clock.start()
    try:
        connected = Replica(redis=redis, clock=clock, replicas=replicas)
        await connected.all.beat()
        yield connected
    finally:
        await redis.close()


@asynccontextmanager
async def pair(url: str) -> AsyncIterator[tuple[Replica, Replica]]:
    """Connect two replicas that have heard of each other within the block."""
    async with replica(url, replicas=2) as one, replica(url, replicas=2) as two:
        await one.all.beat()
        yield one, two
