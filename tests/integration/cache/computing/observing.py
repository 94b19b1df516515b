"""What tests of computed entries wait for, and look at."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio

from services.cache.answer import Answer
from services.cache.lease import Lease
from tests.integration.cache.computing.computing_replica import LEASE, Replica
from tests.integration.shared.waiting import PATIENCE, until

Store = redis.asyncio.Redis


async def until_redis(condition: Callable[[], Awaitable[object]]) -> None:
    """Let others run until Redis says that it holds, or fail."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def holding(*replicas: Replica, count: int = 1) -> None:
    """Wait until so many callers have been told to wait, and do."""
    await until(lambda: sum(map(_asleep, replicas)) == count)


def _asleep(replica: Replica) -> int:
    signals = [signal for there in replica.waiters._signals.values() for signal in there]
    return sum(len(signal._event._waiters) for signal in signals)


async def waited_for(store: Store) -> None:
    """Wait until the holder of the lease is known to be waited for."""
    await until_redis(lambda: is_waited_for(store))


async def is_waited_for(store: Store) -> bool:
    held = await store.get(LEASE)
    return isinstance(held, bytes) and held.endswith(b"w")


async def until_gone(store: Store) -> None:
    """Wait until the lease has ended."""

    async def is_gone() -> bool:
        return not await store.exists(LEASE)

    await until_redis(is_gone)


async def commands(store: Store) -> dict[str, int]:
    """Return how often each command ran, but for those that keep connections alive or ask this."""
    stats = await store.info("commandstats")
    names = {name.removeprefix("cmdstat_"): found["calls"] for name, found in stats.items()}
    return {name: calls for name, calls in names.items() if name not in {"info", "ping"}}


def counting_asks(replica: Replica) -> Callable[[], int]:
    """Count from now on how often a replica was answered when it asked for a lease."""
    ask, count = replica.leases.ask, 0

    async def ask_and_count(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        grant = await ask(*args, **kwargs)
        count += 1
        return grant

    replica.leases.ask = ask_and_count  # type: ignore[method-assign]
    return lambda: count


async def lateness(store: Store, due: float) -> float:
    """Return by how much one command that is due at a time by `time.monotonic` is late."""
    await asyncio.sleep(due - time.monotonic())
    await store.ping()
    return time.monotonic() - due


async def lease_of(caller: "asyncio.Task[Answer]") -> Lease:
    """Return what a caller got that is to compute."""
    lease = (await caller).lease
    assert lease is not None
    return lease
