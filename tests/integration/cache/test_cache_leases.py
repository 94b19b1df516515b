"""The scripts that grant and end leases, on a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import redis.asyncio

from services.cache.channels import WAKE
from services.cache.entry import COLD, UNREADABLE, Entry, Kind, Miss, MissReason, Outcome
from services.cache.frame import decode, encode
from services.cache.keys import EntryName, entry_key, lease_key
from services.cache.lease import (
    Changed,
    Gone,
    Granted,
    Held,
    Kept,
    Lost,
    Throttled,
    Token,
    issue,
)
from services.cache.redis_leases import RedisLeases
from shared.redis.client import Redis
from tests.integration.shared.tcp_proxy import TcpProxy
from tests.integration.shared.waiting import until

NAME = EntryName("acme", "video", "v}1")
WHERE = entry_key(*NAME)
LEASE = lease_key(WHERE)
MINE = issue(NAME, Token(5, 1_000, MissReason.COLD), b"m" * 15)
OTHERS = issue(NAME, Token(5, 1_000, MissReason.COLD), b"o" * 15)
ENTRY = Entry(
    value=b"value",
    content_type="text/plain",
    version=7,
    create_ms=1_000,
    soft_expiry_ms=2_000,
    expiry_ms=61_000,
    stamp=5,
    tags=("t",),
    ttl_class="general",
    compute_ms=40,
    charged=100,
)
TOMBSTONE = ENTRY._replace(value=b"", kind=Kind.TOMBSTONE, last_miss=MissReason.KEY)
Store = redis.asyncio.Redis


@pytest.fixture
async def leases(redis_url: str) -> AsyncIterator[RedisLeases]:
    client = Redis(redis_url)
    await client.start()
    yield RedisLeases(client)
    await client.close()


@pytest.fixture
async def woken(store: Store) -> AsyncIterator["redis.asyncio.client.PubSub"]:
    """Listen to the channel of those who wait."""
    async with store.pubsub() as listener:
        await listener.subscribe(WAKE)
        await listener.get_message(timeout=5)
        yield listener


async def wakes(listener: "redis.asyncio.client.PubSub", store: Store) -> list[bytes]:
    """Return what was published until now; a message of our own marks the end."""
    await store.publish(WAKE, b"end")
    heard = []
    while (message := await listener.get_message(timeout=5)) is not None:
        if message["data"] == b"end":
            break
        heard.append(message["data"])
    return heard


async def entry_in(store: Store) -> Entry | None:
    frame = await store.get(WHERE)
    assert isinstance(frame, bytes)
    return decode(frame)


class TestAsking:
    async def test_the_first_gets_it(self, leases: RedisLeases, store: Store) -> None:
        """It lasts as long as was asked for."""
        grant = await leases.ask(NAME, MINE, 10_000, judged=COLD, waits=False)

        assert Granted() == grant
        assert await store.get(LEASE) == MINE
        assert 9_000 < await store.pttl(LEASE) <= 10_000

    async def test_the_second_is_told_how_long(self, leases: RedisLeases, store: Store) -> None:
        """Who will not wait leaves no mark."""
        await leases.ask(NAME, OTHERS, 10_000, judged=COLD, waits=False)

        grant = await leases.ask(NAME, MINE, 60_000, judged=COLD, waits=False)

        assert isinstance(grant, Held)
        assert 9_000 < grant.left_ms <= 10_000
        assert await store.get(LEASE) == OTHERS

    async def test_who_waits_is_marked_once(self, leases: RedisLeases, store: Store) -> None:
        """However many wait, and the lease lasts no longer for it."""
        await leases.ask(NAME, OTHERS, 10_000, judged=COLD, waits=False)

        for _ in range(3):
            await leases.ask(NAME, MINE, 60_000, judged=COLD, waits=True)

        assert await store.get(LEASE) == OTHERS + b"w"
        assert 9_000 < await store.pttl(LEASE) <= 10_000

    @pytest.mark.parametrize(
        ("there", "judged", "changed"),
        [
            (None, COLD, False),
            (None, ENTRY, True),
            (encode(ENTRY), COLD, True),
            (encode(ENTRY), ENTRY, False),
            (encode(ENTRY), ENTRY._replace(version=8), True),
            (encode(ENTRY), Miss(reason=MissReason.TAG, dead_version=7), False),
            (encode(TOMBSTONE), Miss(reason=MissReason.KEY, dead_version=7), False),
            (encode(TOMBSTONE), COLD, True),
            (b"", UNREADABLE, False),
            (b"what another program wrote", UNREADABLE, False),
            (b"what another program wrote", ENTRY, True),
            (encode(ENTRY), None, False),
            (None, None, False),
        ],
    )
    async def test_only_for_what_was_judged(
        self,
        leases: RedisLeases,
        store: Store,
        there: bytes | None,
        judged: Outcome | None,
        changed: bool,
    ) -> None:
        """Who judged another entry than the one that is there now has to look again."""
        if there is not None:
            await store.set(WHERE, there)

        grant = await leases.ask(NAME, MINE, 10_000, judged=judged, waits=True)

        assert grant == (Changed() if changed else Granted())
        assert await store.exists(LEASE) == (not changed)

    async def test_an_entry_of_another_type(self, leases: RedisLeases, store: Store) -> None:
        """What another program wrote is nothing, of whatever type; the fill repairs it."""
        await store.rpush(WHERE, "foreign")

        assert Granted() == await leases.ask(NAME, MINE, 10_000, judged=UNREADABLE, waits=True)

    async def test_a_lease_that_is_none(self, leases: RedisLeases, store: Store) -> None:
        """What would keep everybody waiting for ever is nothing, of whatever type."""
        await store.rpush(LEASE, "foreign")
        assert Granted() == await leases.ask(NAME, MINE, 10_000, judged=COLD, waits=True)

        await store.set(LEASE, OTHERS)
        assert Granted() == await leases.ask(NAME, MINE, 10_000, judged=COLD, waits=True)

        await store.set(LEASE, b"foreign", px=10_000)
        assert Granted() == await leases.ask(NAME, MINE, 10_000, judged=COLD, waits=True)

    async def test_after_its_end(self, leases: RedisLeases, store: Store) -> None:
        """A lease whose time is over is as good as none."""
        await leases.ask(NAME, OTHERS, 10_000, judged=COLD, waits=True)
        await store.pexpire(LEASE, 0)

        assert Granted() == await leases.ask(NAME, MINE, 10_000, judged=COLD, waits=True)


class TestGoneAskers:
    async def test_a_cancelled_one_leaves_no_lease(self, redis_url: str, store: Store) -> None:
        """A caller who went away while it asked does not keep the others waiting."""
        port = urlsplit(redis_url).port or 0
        async with TcpProxy.to(port) as proxy:
            client = Redis(f"redis://127.0.0.1:{proxy.port}/0")
            await client.start()
            leases = RedisLeases(client)
            # Redis was restarted a moment ago: only the script that grants is known to it.
            await store.script_flush()
            await leases.ask(NAME, OTHERS, 10_000, judged=COLD, waits=False)
            await store.delete(LEASE)
            proxy.delay = 0.05
            asking = asyncio.create_task(leases.ask(NAME, MINE, 10_000, judged=COLD, waits=False))
            sent = proxy.batches
            await until(lambda: proxy.batches > sent)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await client.ping()

            assert asking.cancelled()
            assert await store.get(LEASE) is None
            await client.close()


class TestExtending:
    async def test_held(self, leases: RedisLeases, store: Store) -> None:
        """It lasts from now on as long as asked, and who waits stays marked."""
        await leases.ask(NAME, MINE, 10_000, judged=COLD, waits=False)
        await leases.ask(NAME, OTHERS, 10_000, judged=COLD, waits=True)

        assert await leases.extend(NAME, MINE, 60_000)
        assert 59_000 < await store.pttl(LEASE) <= 60_000
        assert await store.get(LEASE) == MINE + b"w"

    @pytest.mark.parametrize("held", [None, OTHERS, b"!failed"])
    async def test_lost(self, leases: RedisLeases, store: Store, held: bytes | None) -> None:
        """A lease that has passed on is not touched."""
        if held is not None:
            await store.set(LEASE, held, px=5_000)

        assert not await leases.extend(NAME, MINE, 60_000)
        assert await store.pttl(LEASE) <= 5_000
        assert not await leases.holds(NAME, MINE)


class TestAbandoning:
    async def test_without_an_error(
        self, leases: RedisLeases, store: Store, woken: "redis.asyncio.client.PubSub"
    ) -> None:
        """The next may compute at once, and who waits is woken."""
        await leases.ask(NAME, MINE, 10_000, judged=COLD, waits=False)
        await leases.ask(NAME, OTHERS, 10_000, judged=COLD, waits=True)

        assert await leases.abandon(NAME, MINE)
        assert await wakes(woken, store) == [WHERE]
        assert Granted() == await leases.ask(NAME, OTHERS, 10_000, judged=COLD, waits=True)

    async def test_while_nobody_waits(
        self, leases: RedisLeases, store: Store, woken: "redis.asyncio.client.PubSub"
    ) -> None:
        """Nobody has to be woken."""
        await leases.ask(NAME, MINE, 10_000, judged=COLD, waits=False)

        assert await leases.abandon(NAME, MINE)
        assert await wakes(woken, store) == []

    async def test_with_an_error(
        self, leases: RedisLeases, store: Store, woken: "redis.asyncio.client.PubSub"
    ) -> None:
        """Everybody is told what failed, for as long as it is throttled."""
        await leases.ask(NAME, MINE, 10_000, judged=COLD, waits=False)
        await leases.ask(NAME, OTHERS, 10_000, judged=COLD, waits=True)

        assert await leases.abandon(NAME, MINE, error="wörn out", throttle_ms=3_000)
        assert await wakes(woken, store) == [WHERE]
        grant = await leases.ask(NAME, OTHERS, 10_000, judged=COLD, waits=True)
        assert isinstance(grant, Throttled)
        assert grant.error == "wörn out"
        assert 2_000 < grant.left_ms <= 3_000

    async def test_lost(self, leases: RedisLeases, store: Store) -> None:
        """Another's lease stays another's."""
        await leases.ask(NAME, OTHERS, 10_000, judged=COLD, waits=False)

        assert not await leases.abandon(NAME, MINE, error="late", throttle_ms=3_000)
        assert await store.get(LEASE) == OTHERS


class TestKeeping:
    RENEWED = ENTRY._replace(
        create_ms=50_000, soft_expiry_ms=None, expiry_ms=110_000, stamp=9, compute_ms=3
    )

    async def test_renewed(
        self, leases: RedisLeases, store: Store, woken: "redis.asyncio.client.PubSub"
    ) -> None:
        """Times, stamp and computation change; everything else stays as it was."""
        await store.set(WHERE, encode(ENTRY), px=1_000)
        await leases.ask(NAME, MINE, 10_000, judged=ENTRY, waits=False)
        await leases.ask(NAME, OTHERS, 10_000, judged=ENTRY, waits=True)

        keeping = await leases.keep(NAME, MINE, self.RENEWED, 60_000)

        assert isinstance(keeping, Kept)
        assert (keeping.before.create_ms, keeping.before.expiry_ms) == (1_000, 61_000)
        assert await entry_in(store) == self.RENEWED
        assert 59_000 < await store.pttl(WHERE) <= 60_000
        assert not await store.exists(LEASE)
        assert await wakes(woken, store) == [WHERE]

    async def test_without_an_end(self, leases: RedisLeases, store: Store) -> None:
        """An entry that has no end any more loses the one it had."""
        await store.set(WHERE, encode(ENTRY), px=1_000)
        await leases.ask(NAME, MINE, 10_000, judged=ENTRY, waits=False)
        permanent = self.RENEWED._replace(expiry_ms=None)

        await leases.keep(NAME, MINE, permanent, None)

        assert await entry_in(store) == permanent
        assert await store.pttl(WHERE) == -1

    async def test_lease_lost(self, leases: RedisLeases, store: Store) -> None:
        """Without the lease nothing changes."""
        await store.set(WHERE, encode(ENTRY), px=1_000)
        await leases.ask(NAME, OTHERS, 10_000, judged=ENTRY, waits=False)

        assert Lost() == await leases.keep(NAME, MINE, self.RENEWED, 60_000)
        assert await entry_in(store) == ENTRY
        assert await store.get(LEASE) == OTHERS

    @pytest.mark.parametrize(
        "there",
        [None, encode(ENTRY._replace(version=8)), b"what another program wrote, long enough" * 2],
    )
    async def test_nothing_to_keep(
        self, leases: RedisLeases, store: Store, there: bytes | None
    ) -> None:
        """The lease goes on, so that its holder can fill with a value."""
        if there is not None:
            await store.set(WHERE, there)
        await leases.ask(NAME, MINE, 10_000, judged=None, waits=False)

        assert Gone() == await leases.keep(NAME, MINE, self.RENEWED, 60_000)
        assert await store.get(WHERE) == there
        assert await leases.holds(NAME, MINE)

    async def test_an_entry_of_another_type(self, leases: RedisLeases, store: Store) -> None:
        """What another program wrote is nothing to keep."""
        await store.rpush(WHERE, "foreign")
        await leases.ask(NAME, MINE, 10_000, judged=UNREADABLE, waits=False)

        assert Gone() == await leases.keep(NAME, MINE, self.RENEWED, 60_000)
