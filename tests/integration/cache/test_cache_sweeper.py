"""What is dead is removed after a while, and then forgotten."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import redis.asyncio as redis_py

from cli.embedded.redis import RedisServer
from mainstay.errors import CacheError
from services.cache.entry import Entry, Kind, MissReason
from services.cache.frame import Header, decode, encode
from services.cache.histories import RedisHistories
from services.cache.keys import EntryName, entry_key, items_key, lease_key, tenant_key
from services.cache.redis_log import RedisLog
from services.cache.redis_sweep import RedisSweep
from services.cache.sweeper import Sweeper
from shared.redis.client import Redis, Script
from shared.rpc.call import Tenant

ACME = Tenant("acme")
OTHER = Tenant("o:t}h%er")
MARKS = tenant_key(ACME, "epochs")


@dataclass
class Ledger:
    """Notes what is taken off the books, and what is found."""

    settled: list[EntryName] = field(default_factory=list)
    seen: list[EntryName] = field(default_factory=list)

    def settle(self, name: EntryName, gone: Header | Entry) -> None:
        assert gone.charged == 100
        self.settled.append(name)

    def found(self, name: EntryName, entry: Entry) -> None:
        self.seen.append(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A replica with a sweeper, and Redis past both."""

    redis: Redis
    histories: RedisHistories
    ledger: Ledger
    sweeper: Sweeper
    sweep: RedisSweep

    async def put(
        self,
        key: str,
        *tags: str,
        tenant: Tenant = ACME,
        stamp: int | None = None,
        kind: Kind = Kind.VALUE,
        ttl_ms: int | None = None,
    ) -> bytes:
        """Write an entry as of now; returns where."""
        if stamp is None:
            stamp = (await self.histories.current(tenant)).sequence
        where = entry_key(tenant, "video", key)
        frame = encode(entry(stamp, tags, kind))
        await self.redis.execute("SET", where, frame, *(("PX", ttl_ms) if ttl_ms else ()))
        return where

    async def left(self) -> set[bytes]:
        """Return the keys of entries and what belongs to them."""
        keys = await self.redis.execute("KEYS", "*")
        return {key for key in keys if b":cache:" in key and not key.startswith(b"mainstay")}


def entry(stamp: int, tags: tuple[str, ...] = (), kind: Kind = Kind.VALUE) -> Entry:
    return Entry(
        value=b"v" * 5_000,
        content_type="text/plain",
        version=secrets.randbits(64),
        create_ms=1,
        soft_expiry_ms=None,
        expiry_ms=None,
        stamp=stamp,
        tags=tags,
        charged=100,
        kind=kind,
    )


@asynccontextmanager
async def house_at(
    url: str, *, settled_after: float = 0, announced_for: float = 0
) -> AsyncIterator[House]:
    redis = Redis(url, timeout=5.0)
    await redis.start()
    histories = RedisHistories(RedisLog(redis, new_epoch=lambda: secrets.token_hex(8)))
    ledger, sweep = Ledger(), RedisSweep(redis)
    sweeper = Sweeper(
        sweep,
        histories,
        ledger,
        owner=secrets.token_hex(8),
        keys_per_second=1_000_000,
        settled_after=settled_after,
        announced_for=announced_for,
    )
    try:
        yield House(redis=redis, histories=histories, ledger=ledger, sweeper=sweeper, sweep=sweep)
    finally:
        await histories.close()
        await redis.close()


@pytest.fixture
async def house(redis_url: str) -> AsyncIterator[House]:
    """Run a replica with a sweeper that thinks everything is settled at once."""
    async with house_at(redis_url) as house:
        yield house


class TestDeadEntries:
    async def test_are_removed_and_taken_off_the_books(self, house: House) -> None:
        """By tag, prefix and namespace, and what is older than the history; of every tenant."""
        await house.histories.current(ACME)
        await house.put("ancient", stamp=1)
        await house.put("a", "tag")
        await house.put("p:1")
        await house.put("theirs", tenant=OTHER)
        await house.histories.append(ACME, tags=["tag"], prefixes=[("video", "p:")])
        await house.histories.append(OTHER, namespaces=["video"])
        kept = {await house.put("b", "tag"), await house.put("p:2"), await house.put("c", "other")}

        walk = await house.sweeper.run_once()

        assert walk is not None
        assert (4, 7) == (walk.removed, walk.seen)
        assert kept == await house.left()
        gone = [("acme", "a"), ("acme", "ancient"), ("acme", "p:1"), (OTHER, "theirs")]
        assert gone == sorted((name.tenant, name.key) for name in house.ledger.settled)
        assert ["b", "c", "p:2"] == sorted(name.key for name in house.ledger.seen)

    async def test_go_with_their_items_but_not_with_a_lease(self, house: House) -> None:
        """What is being computed now is not dead."""
        where = await house.put("list", "tag", kind=Kind.LIST)
        await house.redis.execute("RPUSH", items_key(where), "a")
        await house.redis.execute("SET", lease_key(where), "L")
        await house.histories.append(ACME, tags=["tag"])

        await house.sweeper.run_once()

        assert {lease_key(where)} == await house.left()

    async def test_that_were_replaced_meanwhile_stay(self, house: House) -> None:
        """What is removed is what was judged: not a later write, nor one that was renewed."""
        stale = entry(1)
        names = [EntryName(ACME, "video", key) for key in ("written", "renewed", "same")]
        written, renewed, same = entry(1), stale._replace(stamp=2), stale
        for name, now in zip(names, (written, renewed, same), strict=True):
            await house.redis.execute("SET", entry_key(*name), encode(now))

        done = await house.sweep.reap([(name, stale) for name in names])

        assert [False, False, True] == list(done)

    async def test_are_told_from_what_is_none(self, house: House) -> None:
        """Tombstones end by themselves; what another program wrote is not ours."""
        where = await house.put("tombstone", stamp=1, kind=Kind.TOMBSTONE)
        for key, junk in (("text", b"text"), ("empty", b""), ("cut", encode(entry(1))[:60])):
            await house.redis.execute("SET", entry_key(ACME, "video", key), junk)
        await house.redis.execute("RPUSH", entry_key(ACME, "video", "foreign"), "a")
        await house.redis.execute("SET", "{cache}", "x")
        await house.redis.execute("SET", b"{\xff:cache:}", "x")
        await house.redis.execute("SET", b"{a:cache:video:\xff}", "x")
        await house.redis.execute("HSET", b"{\xff:cache}:epochs", "epoch", "x")

        walk = await house.sweeper.run_once()

        assert walk is not None
        assert 0 == walk.removed
        assert decode(await house.redis.execute("GET", where)) is not None

    async def test_are_found_among_many(self, house: House) -> None:
        """Page by page."""
        old = [await house.put(f"{n}", "old") for n in range(1_500)]
        await house.histories.append(ACME, tags=["old"])
        new = {await house.put(f"new-{n}", "old") for n in range(100)}

        walk = await house.sweeper.run_once()

        assert walk is not None
        assert len(old) == walk.removed
        assert new == await house.left()


class TestMarks:
    async def test_are_announced_and_then_forgotten(self, house: House) -> None:
        """In the store and in the memory; what is refused stays refused."""
        await house.put("a", "tag")
        last = await house.histories.append(
            ACME, tags=["tag"], prefixes=[("video", "p")], namespaces=["n"]
        )
        await house.sweeper.run_once()

        announced = await house.histories.current(ACME)
        assert (last, 3) == (announced.retired, announced.size)

        await house.sweeper.run_once()

        forgotten = await house.histories.current(ACME)
        assert (last, 0) == (forgotten.retired, forgotten.size)
        assert {b"epoch", b"floor", b"retired", b"announced"} == set(
            await house.redis.execute("HKEYS", MARKS)
        )
        async with house_at_same(house) as other:
            assert forgotten == await other.current(ACME)

    async def test_of_which_nobody_has_entries_are_forgotten_too(self, house: House) -> None:
        """They may all have ended by themselves."""
        await house.histories.append(ACME, tags=[f"{n}" for n in range(100)])
        await house.histories.append(OTHER, tags=["x"])

        await house.sweeper.run_once()
        await house.sweeper.run_once()

        assert 0 == (await house.histories.current(ACME)).size
        assert 0 == (await house.histories.current(OTHER)).size

    async def test_that_are_young_are_kept(self, redis_url: str) -> None:
        """A write that began before them may still be on its way."""
        async with house_at(redis_url, settled_after=600) as house:
            await house.histories.append(ACME, tags=["tag"])
            for _ in range(3):
                await house.sweeper.run_once()

            history = await house.histories.current(ACME)
            assert (0, 1) == (history.retired, history.size)

    async def test_that_were_announced_just_now_are_kept(self, redis_url: str) -> None:
        """A fill that was let through before the announcement may still be on its way."""
        async with house_at(redis_url, announced_for=30) as house:
            last = await house.histories.append(ACME, tags=["tag"])
            for _ in range(3):
                await house.sweeper.run_once()

            history = await house.histories.current(ACME)
            assert (last, 1) == (history.retired, history.size)

    async def test_that_are_set_again_meanwhile_stay(self, house: House) -> None:
        """What was announced is what goes, and nothing later."""
        await house.histories.append(ACME, tags=["tag", "other"])
        await house.sweeper.run_once()
        again = await house.histories.append(ACME, tags=["tag"])
        await house.sweeper.run_once()

        assert {"tag": (again, False)} == (await house.histories.current(ACME)).tags

    async def test_that_are_set_again_in_the_last_moment_stay(self, house: House) -> None:
        """Redis compares what was looked at with what stands there."""
        old = await house.histories.append(ACME, tags=["tag", "other"])
        again = await house.histories.append(ACME, tags=["tag"])
        script = Script.load("services.cache", "lua/forget.lua")

        dropped = await house.redis.run_script(
            script, [MARKS], ["t:tag", str(old), "t:other", str(old)]
        )

        assert 1 == dropped
        assert str(again).encode() == await house.redis.execute("HGET", MARKS, "t:tag")

    async def test_leave_those_who_know_everything_alone(self, house: House) -> None:
        """A lease that is granted now can be filled, however long ago the last invalidation was."""
        await house.histories.append(ACME, tags=["tag"])
        for _ in range(3):
            await house.sweeper.run_once()
            history = await house.histories.current(ACME)

            assert history.sequence >= history.retired


@asynccontextmanager
async def house_at_same(house: House) -> AsyncIterator[RedisHistories]:
    """Start another replica, which knows nothing yet."""
    histories = RedisHistories(RedisLog(house.redis, new_epoch=lambda: secrets.token_hex(8)))
    yield histories
    await histories.close()


class TestOneAtATime:
    async def test_another_leaves_it_to_the_first(self, house: House, redis_url: str) -> None:
        """And takes over when that one is gone."""
        async with house_at(redis_url) as other:
            assert await house.sweeper.run_once() is not None
            assert await other.sweeper.run_once() is None
            assert await house.sweeper.run_once() is not None

            await house.redis.execute("DEL", "mainstay:cache:sweeper")
            assert await other.sweeper.run_once() is not None

    async def test_who_dies_does_not_hold_it_for_ever(self, house: House) -> None:
        """The right ends by itself."""
        await house.sweeper.run_once()

        assert 0 < await house.redis.execute("PTTL", "mainstay:cache:sweeper") <= 60_000


class TestStoreGone:
    async def test_a_walk_that_is_cut_off_retires_nothing(self, private_redis: RedisServer) -> None:
        """What it has not seen may be dead."""
        async with house_at(private_redis.url) as house:
            await house.histories.append(ACME, tags=["tag"])
            await private_redis.stop()

            with pytest.raises(CacheError):
                await house.sweeper.run_once()


class TestOrphans:
    """Named after others' fault: sets of keys by tag that outlived a million entries."""

    async def test_short_lived_entries_leave_nothing_behind(
        self, house: House, redis_url: str
    ) -> None:
        """An entry with tags is one key: when it has ended, all that is left is one mark."""
        async with redis_py.Redis.from_url(redis_url) as store:
            await house.histories.current(ACME)
            before = set(await store.keys("*"))
            for n in range(2_000):
                await house.put(f"{n}", "user:1", f"video:{n}", ttl_ms=1)
            await house.histories.append(ACME, tags=["user:1"])
            await house.sweeper.run_once()
            left = {key for key in await store.keys("*") if await store.ttl(key) == -1}

            assert {tenant_key(ACME, "log")} == left - before
            assert 4 >= len(await store.hkeys(MARKS)) - 1
            assert 1 == (await house.histories.current(ACME)).size

    async def test_a_short_lived_entry_hides_no_long_lived_one(self, house: House) -> None:
        """Others kept a tag's set of keys as long as the last entry in it would live."""
        long = await house.put("long", "tag")
        stamp = (await house.histories.current(ACME)).sequence
        await house.put("short", "tag", ttl_ms=1)
        while await house.redis.execute("EXISTS", entry_key(ACME, "video", "short")):
            pass

        await house.histories.append(ACME, tags=["tag"])

        verdict = (await house.histories.current(ACME)).verdict("video", "long", ("tag",), stamp)
        assert verdict is MissReason.TAG
        await house.sweeper.run_once()
        assert long not in await house.left()
