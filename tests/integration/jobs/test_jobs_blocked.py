"""Jobs that may not start are in nobody's way, however many and however old they are."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from services.jobs.dealing import Opening
from services.jobs.function import RateLimit
from tests.integration.jobs.claiming import Store, function, job_store

BLOCKED = 100_000
RATE = RateLimit(endpoint="mail")
READ = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'ready_by_lane'"

Block = Callable[[Store], Awaitable[None]]


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    """Provide a store."""
    async with job_store(postgres_url) as store:
        yield store


async def by_a_cap(store: Store) -> None:
    """Let a function wait for its cap."""
    await store.declare(function(concurrency=1), function("g"))
    await store.ready(1)
    await store.claim(await store.worker("f"))
    await store.ready(BLOCKED, age=60)
    await store.ready(1, function="g")


async def by_a_key(store: Store) -> None:
    """Let one key of a function wait for its cap."""
    await store.declare(function(key_pointer="/k", key_limit=1))
    await store.ready(1, key="a")
    await store.claim(await store.worker("f"))
    await store.ready(BLOCKED, key="a", age=60)
    await store.ready(1, key="b")


async def by_a_pause(store: Store) -> None:
    """Hold back a function of one tenant."""
    await store.declare(function(), function("g"))
    await store.execute("INSERT INTO jobs.queues (tenant, name, paused) VALUES ('acme', 'f', true)")
    await store.ready(BLOCKED, age=60)
    await store.ready(1, function="g")


async def by_a_version(store: Store) -> None:
    """Let jobs wait for workers of a version that is gone."""
    await store.declare(function())
    await store.ready(BLOCKED, pin="v1", begun="v1", age=60)
    await store.ready(1)


async def by_versions_and_keys(store: Store) -> None:
    """Let jobs of many keys wait for workers of a version that is gone."""
    await store.declare(function(key_pointer="/k", key_limit=9))
    for number in range(100):
        await store.ready(BLOCKED // 1_000, key=f"k{number}", pin="v1", begun="v1", age=60)
    await store.ready(1, key="z")


async def by_a_rate(store: Store) -> None:
    """Let a function wait for permits."""
    await store.declare(function(rate_limit=RATE), function("g"))
    await store.ready(BLOCKED, age=60)
    await store.ready(1, function="g")


class TestBlocked:
    @pytest.mark.parametrize(
        "block", [by_a_cap, by_a_key, by_a_pause, by_a_version, by_versions_and_keys, by_a_rate]
    )
    async def test_not_read(self, store: Store, block: Block) -> None:
        """A claim finds what may start without reading what may not."""
        await block(store)
        worker = await store.worker("f", "g", room=20)
        before = await read(store)

        claimed = await store.claim(worker, limit=20)

        assert 1 == len(claimed.assignments)
        assert await read(store) - before < 100

    async def test_other_order(self, store: Store) -> None:
        """Nor is it read when the plan was made while nothing waited."""
        worker: Opening = await store.worker("f", "g", room=20)
        for _ in range(10):
            await store.claim(worker)
        await by_a_version(store)
        before = await read(store)

        claimed = await store.claim(worker, limit=20)

        assert 1 == len(claimed.assignments)
        assert await read(store) - before < 100


async def read(store: Store) -> int:
    """Return how many entries of the lanes' index have been read so far."""
    await store.fetch("SELECT pg_stat_force_next_flush()")
    # The statistics of a transaction are there once it is over.
    (row,) = await store.fetch(READ)
    return int(row["idx_tup_read"])
