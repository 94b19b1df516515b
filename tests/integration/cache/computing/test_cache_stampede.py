"""Computed entries on two replicas: one computes, the others wait, and nobody polls."""

import asyncio
import time

from services.cache.answer import Fresh, Missing
from services.cache.entry import MissReason
from services.cache.fill import FillState
from services.cache.lease import Lease
from tests.integration.cache.computing.computing_replica import (
    NAME,
    Replica,
    World,
    running,
)
from tests.integration.cache.computing.observing import (
    Store,
    commands,
    counting_asks,
    holding,
    is_waited_for,
    lateness,
    lease_of,
    until_gone,
    waited_for,
)
from tests.integration.shared.tcp_proxy import TcpProxy
from tests.integration.shared.waiting import until


class TestStampede:
    async def test_one_computation_for_all(
        self, one: Replica, other: Replica, store: Store
    ) -> None:
        """Of 100 cold callers one computes and 99 wait without a command; one fill answers all."""
        await store.config_resetstat()
        callers = [asyncio.create_task(replica.ask()) for replica in (one, other) * 50]
        await holding(one, other, count=99)
        before = await commands(store)
        # A time to watch, in which those who poll would give themselves away.
        await asyncio.sleep(0.3)
        assert await commands(store) == before

        computing = [caller for caller in callers if caller.done()]
        assert len(computing) == 1
        filled = await one.fill(await lease_of(computing[0]))
        answers = await asyncio.gather(*(caller for caller in callers if not caller.done()))

        assert filled.state is FillState.STORED
        assert len(answers) == 99
        assert {type(answer) for answer in answers} == {Fresh}
        assert {answer.entry.value for answer in answers if isinstance(answer, Fresh)} == {b"value"}
        assert all(answer.waited and answer.lease is None for answer in answers)
        after = await commands(store)
        # Two looks for each caller, and a few at the head of the history that they share.
        assert after["get"] <= 2 * 100 + 3 * 100
        assert after["evalsha"] + after.get("eval", 0) <= 110

    async def test_a_fill_between_asking_and_waiting(
        self, redis_url: str, one: Replica, world: World, store: Store
    ) -> None:
        """Who is told "wait" when it is over already has heard so, and does not wait."""
        lease = await one.lease(lease_ms=30_000)
        port = int(redis_url.rsplit(":", maxsplit=1)[1].split("/", maxsplit=1)[0])
        async with TcpProxy.to(port) as proxy:
            slow = f"redis://127.0.0.1:{proxy.port}/0"
            async with running(slow, world, subscription_url=redis_url) as other:
                proxy.delay = 0.1
                asking = asyncio.create_task(other.ask())
                await waited_for(store)
                await one.fill(lease)
                async with asyncio.timeout(10):
                    answer = await asking
                proxy.delay = 0.0

        assert isinstance(answer, Fresh)

    async def test_what_was_filled_meanwhile(self, one: Replica, other: Replica) -> None:
        """Who found nothing, but asks when the value is there, gets the value and no lease."""
        read = other.reader.read
        leases: list[Lease] = []

        async def read_and_be_late(name: object) -> object:
            outcome = await read(NAME)
            if not leases:
                leases.append(await one.lease())
                await one.fill(leases[0])
            return outcome

        other.reader.read = read_and_be_late  # type: ignore[method-assign,assignment]
        answer = await other.ask()

        assert isinstance(answer, Fresh)
        assert not answer.waited
        assert answer.lease is None

    async def test_statistics(self, one: Replica, other: Replica) -> None:
        """A computation is counted once, and each caller that waited as one that was saved."""
        lease = await one.lease()
        waiting = [asyncio.create_task(other.ask()) for _ in range(3)]
        await holding(other, count=3)
        await one.fill(lease, compute_ms=40)
        await asyncio.gather(*waiting)
        await other.ask()
        here, there = one.counted(), other.counted()

        assert (here.computations, here.misses) == (1, {MissReason.COLD: 1})
        assert (there.hits, there.misses) == (1, {MissReason.COLD: 3})
        assert (there.computations_saved, there.saved_ms) == (4, 160)


class TestPassingOn:
    async def test_at_the_end_of_a_lease(self, one: Replica, other: Replica, store: Store) -> None:
        """When a computer dies its lease passes to exactly one of those who wait, within 100 ms."""
        await one.lease(lease_ms=300)
        ends = time.monotonic() + 0.3
        # What a busy machine is late by is not the lease's fault.
        bare = asyncio.create_task(lateness(store, ends))
        waiting = [asyncio.create_task(replica.ask()) for replica in (one, other) * 10]
        done, held = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        late = time.monotonic() - ends

        assert len(done) == 1
        answer = done.pop().result()
        assert isinstance(answer, Missing)
        assert (answer.reason, answer.waited) == (MissReason.LEASE_LOST, True)
        assert late - await bare < 0.1
        assert answer.lease is not None
        await other.fill(answer.lease)
        assert {type(answer) for answer in await asyncio.gather(*held)} == {Fresh}

    async def test_given_back(self, one: Replica, other: Replica) -> None:
        """Who gives up without an error lets the next compute at once."""
        lease = await one.lease()
        waiting = asyncio.create_task(other.ask())
        await holding(other)

        assert await one.abandon(lease)
        assert (await waiting).lease is not None
        assert not await one.abandon(lease)

    async def test_a_late_fill(self, one: Replica, other: Replica, store: Store) -> None:
        """A computation whose lease has passed on stores nothing, not even before the next does."""
        late = await one.lease(lease_ms=10)
        await until_gone(store)
        lease = await other.lease()

        assert FillState.LEASE_LOST is (await one.fill(late, b"late")).state
        assert FillState.STORED is (await other.fill(lease, b"in time")).state
        assert FillState.LEASE_LOST is (await one.fill(late, b"later")).state
        answer = await one.ask()
        assert isinstance(answer, Fresh)
        assert answer.entry.value == b"in time"
        assert one.counted().fills_refused == 2

    async def test_a_second_fill(self, one: Replica) -> None:
        """A lease is good for one fill."""
        lease = await one.lease()
        await one.fill(lease)

        assert FillState.LEASE_LOST is (await one.fill(lease, b"again")).state

    async def test_extended(self, one: Replica, other: Replica) -> None:
        """Who waits goes on waiting when the lease is extended, and still gets the value."""
        lease = await one.lease(lease_ms=2_000)
        asks = counting_asks(other)
        waiting = asyncio.create_task(other.ask())
        await holding(other)
        assert await one.extend(lease, 10_000) == 10_000
        await until(lambda: asks() == 2)
        await one.fill(lease)

        assert isinstance(await waiting, Fresh)
        assert asks() == 2

    async def test_extended_too_late(self, one: Replica, store: Store) -> None:
        """A lease that has ended is not revived."""
        lease = await one.lease(lease_ms=10)
        await until_gone(store)

        assert await one.extend(lease, 10_000) == 0

    async def test_extended_for_an_hour(self, one: Replica, world: World) -> None:
        """A lease is extended up to an hour after it was granted, and not beyond."""
        lease = await one.lease(lease_ms=600_000)
        world.clock.ahead_ms = 3_500_000
        granted = await one.extend(lease, 600_000)
        assert 95_000 < granted <= 100_000

        world.clock.ahead_ms = 3_600_001
        assert await one.extend(lease, 600_000) == 0


class TestWaiting:
    async def test_not_at_all(self, one: Replica, other: Replica, store: Store) -> None:
        """Who does not wait is told at once that another computes, and is not waited for."""
        await one.lease()

        assert Missing(reason=MissReason.COLD) == await other.ask(wait_ms=0)
        assert not await is_waited_for(store)

    async def test_as_long_as_wanted(self, one: Replica, other: Replica) -> None:
        """When the wait is over the caller goes on without the value, and was held."""
        await one.lease()
        began = time.monotonic()
        answer = await other.ask(wait_ms=100)

        assert Missing(reason=MissReason.COLD, waited=True) == answer
        assert 0.1 <= time.monotonic() - began < 1.0

    async def test_up_to_the_deadline(self, one: Replica, other: Replica, store: Store) -> None:
        """The answer comes before the deadline, however long the caller would wait."""
        await one.lease()
        began = time.monotonic()
        bare = asyncio.create_task(lateness(store, began + 0.25))
        answer = await other.ask(remaining=0.3, wait_ms=60_000)
        passed = time.monotonic() - began

        assert Missing(reason=MissReason.COLD, waited=True) == answer
        assert 0.2 <= passed
        assert passed - await bare < 0.29

    async def test_too_short_a_deadline(self, one: Replica, other: Replica) -> None:
        """Who has no time left is not held."""
        await one.lease()

        assert Missing(reason=MissReason.COLD) == await other.ask(remaining=0.04)

    async def test_cancelled(self, one: Replica, other: Replica) -> None:
        """A caller who goes away leaves nothing behind, and the others still get the value."""
        lease = await one.lease()
        gone = asyncio.create_task(other.ask())
        stays = asyncio.create_task(other.ask())
        await holding(other, count=2)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)

        assert len(other.waiters) == 1
        await one.fill(lease)
        assert isinstance(await stays, Fresh)
        assert len(other.waiters) == 0
        assert other.waiters._signals == {}

    async def test_subscription_cut(
        self, redis_url: str, one: Replica, world: World, store: Store
    ) -> None:
        """A fill that was not heard of is noticed as soon as the subscription is back."""
        lease = await one.lease(lease_ms=60_000)
        port = int(redis_url.rsplit(":", maxsplit=1)[1].split("/", maxsplit=1)[0])
        async with TcpProxy.to(port) as proxy:
            cut = f"redis://127.0.0.1:{proxy.port}/0"
            async with running(redis_url, world, subscription_url=cut) as other:
                waiting = asyncio.create_task(other.ask())
                await waited_for(store)
                proxy.cut()
                await one.fill(lease)
                async with asyncio.timeout(10):
                    assert isinstance(await waiting, Fresh)

    async def test_never_heard_of(
        self, redis_url: str, one: Replica, world: World, store: Store
    ) -> None:
        """Without any message the end of the lease is when a waiter looks again."""
        lease = await one.lease(lease_ms=1_000)
        async with running(redis_url, world) as other:
            other.waiters.wake = lambda entry_key: None  # type: ignore[method-assign]
            waiting = asyncio.create_task(other.ask())
            await waited_for(store)
            await one.fill(lease)
            async with asyncio.timeout(5):
                assert isinstance(await waiting, Fresh)
