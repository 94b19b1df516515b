"""What becomes of a computed value when the entry changes meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mainstay.errors import PreconditionError, QuotaError
from services.cache.answer import Fresh, Missing
from services.cache.entry import MissReason
from services.cache.fill import FillState, Unchanged
from services.cache.frame import encode
from services.cache.policy import InClass, Lifetime
from tests.integration.cache.computing.computing_replica import (
    ACME,
    LEASE,
    NAME,
    WHERE,
    Replica,
    World,
)
from tests.integration.cache.computing.observing import (
    Store,
    holding,
    lease_of,
)

Invalidate = Callable[[Replica], Awaitable[object]]


async def delete(replica: Replica) -> None:
    await replica.store.drop(NAME, MissReason.KEY)


async def invalidate_tag(replica: Replica) -> None:
    await replica.histories.append(ACME, tags=["t"])


async def invalidate_prefix(replica: Replica) -> None:
    await replica.histories.append(ACME, prefixes=[("video", "feed/")])


async def invalidate_namespace(replica: Replica) -> None:
    await replica.histories.append(ACME, namespaces=["video"])


class TestInvalidationMeanwhile:
    @pytest.mark.parametrize(
        ("invalidate", "state", "reason"),
        [
            (delete, FillState.LEASE_LOST, MissReason.COLD),
            (invalidate_tag, FillState.INVALIDATED, MissReason.COLD),
            (invalidate_prefix, FillState.INVALIDATED, MissReason.COLD),
            (invalidate_namespace, FillState.INVALIDATED, MissReason.COLD),
        ],
    )
    async def test_the_fill_is_refused(
        self,
        one: Replica,
        other: Replica,
        store: Store,
        invalidate: Invalidate,
        state: FillState,
        reason: MissReason,
    ) -> None:
        """Whoever comes after the invalidation computes anew; the old computation is not stored."""
        lease = await one.lease(lease_ms=600_000)
        await invalidate(other)
        after = asyncio.create_task(other.ask(remaining=5.0))
        filled = await one.fill(lease, b"old", tags=("t",))
        anew = await lease_of(after)

        assert filled.state is state
        assert not await store.exists(WHERE) or state is FillState.LEASE_LOST
        assert FillState.STORED is (await other.fill(anew, b"new", tags=("t",))).state
        answer = await one.ask()
        assert isinstance(answer, Fresh)
        assert answer.entry.value == b"new"

    async def test_of_something_else(self, one: Replica, other: Replica) -> None:
        """An invalidation that does not concern the entry does not cost its computation."""
        lease = await one.lease()
        await other.histories.append(ACME, tags=["another"], prefixes=[("video", "feed/2")])
        await other.histories.append(ACME, namespaces=["audio"])

        assert FillState.STORED is (await one.fill(lease, tags=("t",))).state
        assert isinstance(await other.ask(), Fresh)

    async def test_between_the_judgement_and_the_write(self, one: Replica, other: Replica) -> None:
        """What is stored just after an invalidation is dead: it carries the stamp of its lease."""
        lease = await one.lease()
        admit = one.usage.admit

        async def invalidate_and_admit(*args: object) -> None:
            await other.histories.append(ACME, tags=["t"])
            await admit(*args)  # type: ignore[arg-type]

        one.usage.admit = invalidate_and_admit  # type: ignore[method-assign,assignment]
        assert FillState.STORED is (await one.fill(lease, b"old", tags=("t",))).state

        answer = await other.ask()
        assert isinstance(answer, Missing)
        assert answer.reason is MissReason.TAG
        assert answer.lease is not None

    @pytest.mark.parametrize("is_granted", [False, True])
    async def test_around_the_grant(self, one: Replica, other: Replica, is_granted: bool) -> None:
        """Just before the lease is granted or just after: what is computed then is not stored."""
        ask = one.leases.ask

        async def invalidate_and_ask(*args: Any, **kwargs: Any) -> Any:
            if not is_granted:
                await invalidate_tag(other)
            grant = await ask(*args, **kwargs)
            if is_granted:
                await invalidate_tag(other)
            return grant

        one.leases.ask = invalidate_and_ask  # type: ignore[method-assign]
        lease = await one.lease()

        assert FillState.INVALIDATED is (await one.fill(lease, tags=("t",))).state

    async def test_a_dead_entry_is_not_served_as_stale(self, one: Replica, other: Replica) -> None:
        """After an invalidation there is nothing that could be served meanwhile."""
        await one.fill(await one.lease(), tags=("t",))
        await other.histories.append(ACME, tags=["t"])
        answer = await one.ask()

        assert isinstance(answer, Missing)
        assert answer.reason is MissReason.TAG
        assert answer.lease is not None
        assert answer.lease.stale_version is None

    async def test_of_a_history_that_was_lost(
        self, one: Replica, other: Replica, store: Store
    ) -> None:
        """A Redis that lost what was invalidated takes no fill of a computation from before."""
        lease = await one.lease()
        await store.delete(b"{acme:cache}:head", b"{acme:cache}:log", b"{acme:cache}:epochs")

        assert FillState.INVALIDATED is (await one.fill(lease)).state
        assert FillState.STORED is (await other.fill(await other.lease())).state

    async def test_written_meanwhile(self, one: Replica, other: Replica) -> None:
        """A Set ends the lease, and what was set stays."""
        lease = await one.lease()
        entry = (
            await other.fill(await other.lease(NAME._replace(key="x")), name=NAME._replace(key="x"))
        ).entry
        assert entry is not None
        await other.store.put(NAME, entry._replace(value=b"set"), 60_000)

        assert FillState.LEASE_LOST is (await one.fill(lease, b"late")).state
        answer = await one.ask()
        assert isinstance(answer, Fresh)
        assert answer.entry.value == b"set"

    async def test_who_waits_is_woken_by_a_delete(self, one: Replica, other: Replica) -> None:
        """Whoever waited for what is void now computes at once, instead of at the lease's end."""
        await one.lease(lease_ms=60_000)
        waiting = asyncio.create_task(other.ask())
        await holding(other)
        await delete(one)

        assert (await waiting).lease is not None


class TestForeignBytes:
    @pytest.mark.parametrize(
        "foreign",
        [b"", b"text of another program", b"\xc1" + b"\x7f" * 80, b"\xc1\x01" + b"\x00" * 60],
    )
    async def test_repaired_by_the_fill(self, one: Replica, store: Store, foreign: bytes) -> None:
        """What cannot be read is computed anew, even if it looks like a frame, and replaced."""
        await store.set(WHERE, foreign)
        async with asyncio.timeout(10):
            answer = await one.ask()

        assert isinstance(answer, Missing)
        assert answer.reason is MissReason.UNREADABLE
        assert answer.lease is not None
        await one.fill(answer.lease)
        assert isinstance(await one.ask(), Fresh)

    async def test_of_another_type(self, one: Replica, store: Store) -> None:
        """Neither a foreign entry nor a foreign lease stops the computation."""
        await store.rpush(WHERE, "foreign")
        await store.rpush(LEASE, "foreign")
        answer = await one.ask()

        assert answer.lease is not None
        await one.fill(answer.lease)
        assert isinstance(await one.ask(), Fresh)

    async def test_dead_for_good(self, one: Replica, store: Store) -> None:
        """A tombstone is not computed for ever, nor a dead entry that lies there still."""
        entry = (await one.fill(await one.lease())).entry
        assert entry is not None
        await store.set(WHERE, encode(entry._replace(stamp=0)))

        answer = await one.ask()
        assert isinstance(answer, Missing)
        assert answer.lease is not None


class TestUnchanged:
    async def test_kept(self, one: Replica, other: Replica, world: World, store: Store) -> None:
        """A confirmed value stays with its version and is fresh again, for those who wait too."""
        before = (await one.fill(await one.lease(), tags=("t",), compute_ms=40)).entry
        assert before is not None
        world.clock.ahead_ms = 61_000
        lease = await one.lease()
        waiting = asyncio.create_task(other.ask(fresh_only=True))
        await holding(other)
        filled = await one.fill(lease, found=Unchanged(version=before.version))
        answer = await waiting

        assert filled.state is FillState.STORED
        assert filled.entry is not None
        assert filled.entry == before._replace(
            create_ms=filled.entry.create_ms,
            soft_expiry_ms=filled.entry.create_ms + 60_000,
            expiry_ms=filled.entry.create_ms + 600_000,
        )
        assert Fresh(entry=filled.entry, waited=True) == answer
        assert 595_000 < await store.pttl(WHERE) <= 600_000

    async def test_of_an_entry_that_has_ended(self, one: Replica, store: Store) -> None:
        """There is nothing to keep; the lease goes on and can be filled with a value."""
        before = (await one.fill(await one.lease())).entry
        assert before is not None
        await store.delete(WHERE)
        lease = await one.lease()
        with pytest.raises(PreconditionError) as refused:
            await one.fill(lease, found=Unchanged(version=before.version))

        assert refused.value.reason == "NOTHING_TO_KEEP"
        assert FillState.STORED is (await one.fill(lease)).state

    async def test_of_another_version(self, one: Replica, world: World) -> None:
        """What the caller confirmed is not what is there."""
        before = (await one.fill(await one.lease())).entry
        assert before is not None
        world.clock.ahead_ms = 61_000
        lease = await one.lease()
        with pytest.raises(PreconditionError) as refused:
            await one.fill(lease, found=Unchanged(version=before.version ^ 1))

        assert refused.value.reason == "NOTHING_TO_KEEP"

    async def test_of_what_was_dead_before(self, one: Replica, other: Replica) -> None:
        """An entry that was invalidated before the lease was granted does not come back to life."""
        before = (await one.fill(await one.lease(), tags=("t",))).entry
        assert before is not None
        await other.histories.append(ACME, tags=["t"])
        lease = await one.lease()
        with pytest.raises(PreconditionError) as refused:
            await one.fill(lease, found=Unchanged(version=before.version))

        assert refused.value.reason == "NOTHING_TO_KEEP"
        assert isinstance(await other.ask(wait_ms=0), Missing)

    @pytest.mark.parametrize(
        ("invalidate", "state"),
        [
            (delete, FillState.LEASE_LOST),
            (invalidate_tag, FillState.INVALIDATED),
            (invalidate_prefix, FillState.INVALIDATED),
            (invalidate_namespace, FillState.INVALIDATED),
        ],
    )
    async def test_invalidated_meanwhile(
        self,
        one: Replica,
        other: Replica,
        world: World,
        invalidate: Invalidate,
        state: FillState,
    ) -> None:
        """What was confirmed may have been confirmed before the invalidation: it stays dead."""
        before = (await one.fill(await one.lease(), tags=("t",))).entry
        assert before is not None
        world.clock.ahead_ms = 61_000
        lease = await one.lease()
        await invalidate(other)
        filled = await one.fill(lease, found=Unchanged(version=before.version))

        assert filled.state is state
        answer = await other.ask()
        assert isinstance(answer, Missing)
        assert answer.lease is not None

    async def test_invalidated_at_the_last_moment(
        self, one: Replica, other: Replica, world: World
    ) -> None:
        """What is kept just after an invalidation is dead: it carries the stamp of its lease."""
        before = (await one.fill(await one.lease(), tags=("t",))).entry
        assert before is not None
        await other.histories.append(ACME, tags=["another"])
        world.clock.ahead_ms = 61_000
        lease = await one.lease()
        admit = one.usage.admit

        async def invalidate_and_admit(*args: object) -> None:
            await other.histories.append(ACME, tags=["t"])
            await admit(*args)  # type: ignore[arg-type]

        one.usage.admit = invalidate_and_admit  # type: ignore[method-assign,assignment]
        await one.fill(lease, found=Unchanged(version=before.version))

        answer = await other.ask()
        assert isinstance(answer, Missing)
        assert answer.reason is MissReason.TAG

    async def test_permanent(self, one: Replica, world: World, store: Store) -> None:
        """A permanent entry stays one, and stays in the books as it was."""
        before = (await one.fill(await one.lease(), expiry=InClass(name="permanent"))).entry
        assert before is not None
        held = await one.usage.holdings(ACME)
        world.clock.ahead_ms = 61_000
        lease = await one.lease()
        confirmed = Unchanged(version=before.version)
        with pytest.raises(PreconditionError) as refused:
            await one.fill(lease, found=confirmed, expiry=Lifetime(ttl_ms=1_000))
        filled = await one.fill(lease, found=confirmed)

        assert refused.value.reason == "WRITE_ANEW"
        assert filled.state is FillState.STORED
        assert await store.pttl(WHERE) == -1
        assert held == await one.usage.holdings(ACME)


class TestBooks:
    async def test_over_the_quota(self, one: Replica, other: Replica, world: World) -> None:
        """What there is no room for is refused by name, and the lease passes on."""
        world.policy.allow(max_entries=0)
        lease = await one.lease(lease_ms=600_000)
        waiting = asyncio.create_task(other.ask(remaining=5.0))
        await holding(other)
        with pytest.raises(QuotaError) as refused:
            await one.fill(lease)

        assert list(refused.value.violations) == ["entries"]
        assert (await waiting).lease is not None

    async def test_balanced(self, one: Replica, world: World) -> None:
        """However an entry is filled, or refused, it is in the books once."""
        name = NAME._replace(key="other")
        await one.fill(await one.lease(name), name=name)
        world.clock.ahead_ms = 61_000
        await one.fill(await one.lease(name), name=name)
        fresh = await one.ask(name)
        assert isinstance(fresh, Fresh)
        before = fresh.entry
        world.clock.ahead_ms = 130_000
        confirmed = Unchanged(version=before.version)
        await one.fill(await one.lease(name), name=name, found=confirmed)
        lease = await one.lease()
        await delete(one)
        await one.fill(lease)
        held = {holding.quota: holding.used for holding in await one.usage.holdings(ACME)}

        assert (held["entries"], held["bytes"]) == (1, before.charged)


class TestNearCopies:
    async def test_told(self, one: Replica, world: World) -> None:
        """Who may hold a copy is told when another value replaces it, not when it was confirmed."""
        before = (await one.fill(await one.lease(), expiry=InClass(name="near"))).entry
        assert before is not None
        world.clock.ahead_ms = 61_000
        begin = (await one.histories.current(ACME)).sequence
        await one.fill(await one.lease(), found=Unchanged(version=before.version))
        confirmed = (await one.histories.current(ACME)).sequence
        world.clock.ahead_ms = 130_000
        await one.fill(await one.lease())
        replaced = (await one.histories.current(ACME)).sequence

        assert begin == confirmed < replaced
