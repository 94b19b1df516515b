"""Functions with a rate: each start draws from a budget of the rate limit service."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cli.ports import free_port
from mainstay.channel import Channel
from mainstay.errors import UnavailableError
from mainstay.ratelimit.client import RateLimitClient
from services.jobs.dealing import Opening
from services.jobs.function import RateLimit
from services.jobs.permits import Permits
from services.jobs.ratelimit_permits import RateLimitPermits
from services.jobs.wakeups import Wakeups
from services.ratelimit.app import build
from services.ratelimit.settings import RateLimitSettings
from tests.integration.jobs.claiming import Store, function, job_store

POLICY = """
version: 1
on_failure: closed
limits:
  - name: slow
    endpoints: [slow]
    default: 3/h
  - name: quick
    endpoints: [quick]
    default: 2/1s
  - name: free
    endpoints: [free, "*"]
    default: unlimited
"""


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    """Provide a store."""
    async with job_store(postgres_url) as store:
        yield store


@pytest.fixture
async def target(redis_url: str, tmp_path: Path) -> AsyncIterator[str]:
    """Run a rate limit service and return its address."""
    (tmp_path / "ratelimit.yaml").write_text(POLICY)
    settings = RateLimitSettings.model_validate(
        {
            "redis_url": redis_url,
            "policies_dir": tmp_path,
            "ratelimit_port": 0,
            "ratelimit_ops_port": 0,
        }
    )
    service = build(settings)
    async with service.running():
        yield service.address


@pytest.fixture
async def replica(store: Store, target: str) -> AsyncIterator["Replica"]:
    """Provide a replica that asks that service."""
    limits = RateLimitPermits(target)
    yield Replica(store, limits)
    await limits.close()


class Replica:
    """Claims and asks in turn, as the dispatcher does."""

    def __init__(self, store: Store, limits: RateLimitPermits) -> None:
        self.store = store
        self.permits = Permits(limits, Wakeups(), clock=time.monotonic)

    async def start(self, worker: Opening) -> list[str]:
        """Claim, ask for what is missing, and claim again; returns whose jobs have started."""
        started: list[str] = []
        for _ in range(2):
            claimed = await self.store.claim(worker, permits=self.permits.in_hand())
            self.permits.note(spent=claimed.spent, wanting=claimed.wanting)
            await self.permits.run_once()
            started += [f"{job.tenant} {job.function}" for job in claimed.assignments]
        return started


class TestRate:
    async def test_no_more_than_the_budget(self, store: Store, replica: Replica) -> None:
        """As many start as the budget has, and the others wait."""
        await store.declare(function(rate_limit=RateLimit(endpoint="slow")))
        await store.ready(5)
        worker = await store.worker()

        started = [await replica.start(worker) for _ in range(3)]

        assert [3, 0, 0] == list(map(len, started))

    async def test_budget_of_each_tenant(self, store: Store, replica: Replica) -> None:
        """Each tenant has its own, unless the function says otherwise."""
        slow = RateLimit(endpoint="slow")
        shared = RateLimit(endpoint="slow", subject="everybody")
        await store.declare(function(rate_limit=slow), function("g", rate_limit=shared), tenant="*")
        for tenant in ("a", "b"):
            await store.ready(5, tenant=tenant)
        await store.ready(5, tenant="a", function="g")

        started = await replica.start(await store.worker("f", "g", tenant="*"))

        assert {"a f": 3, "b f": 3, "a g": 3} == Counter(started)

    async def test_budget_of_each_key(self, store: Store, replica: Replica) -> None:
        """With a pointer, each key has its own."""
        rate = RateLimit(endpoint="slow", subject="/k")
        await store.declare(function(rate_limit=rate, key_pointer="/k"))
        for key in ("x", "y"):
            await store.ready(4, key=key)

        started = await replica.start(await store.worker())

        assert 6 == len(started)

    async def test_one_that_is_refused(self, store: Store, replica: Replica) -> None:
        """A rate that cannot be asked for, such as one of another tenant, holds up no other."""
        wrong = RateLimit(endpoint="\u00e9" * 200)
        await store.declare(function(rate_limit=wrong), tenant="a")
        await store.declare(function(rate_limit=RateLimit(endpoint="slow")), tenant="b")
        for tenant in ("a", "b"):
            await store.ready(2, tenant=tenant)

        started = await replica.start(await store.worker(tenant="*"))

        assert {"b f": 2} == Counter(started)

    async def test_over_time(self, store: Store, replica: Replica) -> None:
        """The others start when the budget has more, never above its rate."""
        await store.declare(function(rate_limit=RateLimit(endpoint="quick")))
        await store.ready(6)
        worker = await store.worker()
        asking = asyncio.create_task(replica.permits.run())
        times: list[float] = []
        async with asyncio.timeout(20):
            while len(times) < 6:
                claimed = await store.claim(worker, permits=replica.permits.in_hand())
                replica.permits.note(spent=claimed.spent, wanting=claimed.wanting)
                times += [time.monotonic()] * len(claimed.assignments)
                await asyncio.sleep(0.01)
        asking.cancel()

        # Two in any second, as the service counts; starting takes a moment longer.
        assert times[4] - times[0] > 1.5

    async def test_unlimited(self, store: Store, replica: Replica) -> None:
        """A budget without a limit lets everything start."""
        await store.declare(function(rate_limit=RateLimit(endpoint="free")))
        await store.ready(50)

        assert 50 == len(await replica.start(await store.worker()))

    async def test_asks_for_no_more_than_it_can_start(
        self, store: Store, replica: Replica, target: str
    ) -> None:
        """What is asked for can start: other users of the budget keep the rest."""
        await store.declare(function(rate_limit=RateLimit(endpoint="slow")))
        await store.ready(5)

        await replica.start(await store.worker(room=1))

        async with Channel(target, tenant="acme") as channel:
            left = await RateLimitClient(channel).peek("tenant:acme", "slow")
        assert 2 == left.remaining

    async def test_unused_are_given_back(
        self, store: Store, target: str, stack: AsyncExitStack
    ) -> None:
        """Permits for jobs that another replica took go back to the budget."""
        clock = Clock()
        limits = RateLimitPermits(target)
        stack.push_async_callback(limits.close)
        permits = Permits(limits, Wakeups(), clock=clock)
        await store.declare(function(rate_limit=RateLimit(endpoint="slow")))
        await store.ready(2)
        claimed = await store.claim(await store.worker())
        permits.note(spent={}, wanting=claimed.wanting)
        await permits.run_once()
        clock.now += 10.1

        await permits.run_once()

        async with Channel(target, tenant="acme") as channel:
            left = await RateLimitClient(channel).peek("tenant:acme", "slow")
        assert 3 == left.remaining


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class TestUnreachable:
    async def test_others_start(self, store: Store) -> None:
        """While the service cannot be asked, what has a rate waits, and nothing else does."""
        await store.declare(function(rate_limit=RateLimit(endpoint="slow")), function("g"))
        await store.ready(5)
        await store.ready(5, function="g")
        limits = RateLimitPermits(f"127.0.0.1:{free_port()}")
        replica = Replica(store, limits)

        started = await replica.start(await store.worker("f", "g"))

        assert {"acme g": 5} == Counter(started)
        with pytest.raises(UnavailableError):
            await limits.ask(dict.fromkeys((await store.claim(await store.worker())).wanting, 1))
        await limits.close()
