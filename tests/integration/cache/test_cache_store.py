"""The scripts that change single entries, on a real Redis."""

from collections.abc import AsyncIterator
from itertools import count

import pytest
import redis.asyncio

from services.cache.channels import WAKE
from services.cache.entry import Entry, Kind, MissReason
from services.cache.frame import decode, encode
from services.cache.keys import EntryName, entry_key, items_key, lease_key
from services.cache.ports import Existence, PutState
from services.cache.redis_store import LONGEST_TOMBSTONE_MS, RedisEntryStore
from shared.redis.client import Redis

NAME = EntryName("acme", "video", "v}1")
WHERE = entry_key(*NAME)
LEASE = lease_key(WHERE)
TOKEN = b"L" + bytes(range(40))
ENTRY = Entry(
    value=b"value",
    content_type="text/plain",
    version=7,
    create_ms=1_000,
    soft_expiry_ms=None,
    expiry_ms=61_000,
    stamp=5,
    tags=("t",),
    charged=100,
    near=True,
)


@pytest.fixture
async def entries(redis_url: str) -> AsyncIterator[RedisEntryStore]:
    """Return the store, with a clock that stands still and versions from 1,000 on."""
    client = Redis(redis_url)
    await client.start()
    numbers = count(1_000)
    yield RedisEntryStore(client, now_ms=lambda: 2_000, new_version=lambda: next(numbers))
    await client.close()


class TestPut:
    async def test_the_entry_ends_when_it_should(
        self, entries: RedisEntryStore, store: "redis.asyncio.Redis"
    ) -> None:
        """Redis itself ends it; without a TTL it stays."""
        await entries.put(NAME, ENTRY, 60_000)
        assert 0 < await store.pttl(WHERE) <= 60_000

        put = await entries.put(NAME, ENTRY, None)

        assert await store.pttl(WHERE) == -1
        assert put.state is PutState.STORED

    async def test_it_tells_what_it_replaced(self, entries: RedisEntryStore) -> None:
        """The books and the copies of clients depend on it."""
        first = await entries.put(NAME, ENTRY, 60_000)
        second = await entries.put(NAME, ENTRY._replace(version=8), 60_000)

        assert first.replaced is None
        assert second.replaced is not None
        assert (7, 100, True) == (
            second.replaced.version,
            second.replaced.charged,
            second.replaced.near,
        )

    async def test_it_replaces_what_another_program_wrote(
        self, entries: RedisEntryStore, store: "redis.asyncio.Redis"
    ) -> None:
        """A key of another type repairs itself with the next write."""
        await store.rpush(WHERE, "foreign")

        put = await entries.put(NAME, ENTRY, 60_000)

        assert ENTRY == decode(await stored(store))
        assert put.replaced is None

    async def test_the_items_of_a_list_do_not_outlive_it(
        self, entries: RedisEntryStore, store: "redis.asyncio.Redis"
    ) -> None:
        """What was a list before leaves nothing."""
        await entries.put(NAME, ENTRY._replace(kind=Kind.LIST), 60_000)
        await store.rpush(items_key(WHERE), "item")

        await entries.put(NAME, ENTRY, 60_000)

        assert not await store.exists(items_key(WHERE))


class TestConditions:
    @pytest.mark.parametrize(
        ("there", "condition", "state"),
        [
            (None, Existence.ABSENT, PutState.STORED),
            (None, Existence.PRESENT, PutState.CONDITION_UNMET),
            (None, 7, PutState.CONDITION_UNMET),
            (ENTRY, Existence.ABSENT, PutState.CONDITION_UNMET),
            (ENTRY, Existence.PRESENT, PutState.STORED),
            (ENTRY, 7, PutState.STORED),
            (ENTRY, 8, PutState.CONDITION_UNMET),
            (ENTRY._replace(kind=Kind.TOMBSTONE), Existence.ABSENT, PutState.STORED),
            (ENTRY._replace(kind=Kind.TOMBSTONE), 7, PutState.CONDITION_UNMET),
        ],
    )
    async def test_it_writes_only_what_it_should(
        self,
        entries: RedisEntryStore,
        store: "redis.asyncio.Redis",
        there: Entry | None,
        condition: Existence | int,
        state: PutState,
    ) -> None:
        """And leaves everything as it was when the condition does not hold."""
        if there is not None:
            await store.set(WHERE, encode(there))
        before = await store.get(WHERE)

        put = await entries.put(NAME, ENTRY._replace(version=9), None, condition=condition)

        written = encode(ENTRY._replace(version=9))
        assert state is put.state
        assert await store.get(WHERE) == (written if state is PutState.STORED else before)

    async def test_an_invalidated_entry_counts_as_none(self, entries: RedisEntryStore) -> None:
        """Its bytes still lie there, but for nobody."""
        await entries.put(NAME, ENTRY, None)

        present = await entries.put(
            NAME, ENTRY, None, condition=Existence.PRESENT, dead_version=ENTRY.version
        )
        absent = await entries.put(
            NAME, ENTRY, None, condition=Existence.ABSENT, dead_version=ENTRY.version
        )

        assert (PutState.CONDITION_UNMET, PutState.STORED) == (present.state, absent.state)


class TestLeases:
    async def test_only_the_holder_fills(
        self, entries: RedisEntryStore, store: "redis.asyncio.Redis"
    ) -> None:
        """A token that is not the lease's stores nothing and leaves the lease alone."""
        await store.set(LEASE, TOKEN)

        late = await entries.put(NAME, ENTRY, None, lease_token=TOKEN[:-1] + b"\xff")
        held = await entries.put(NAME, ENTRY, None, lease_token=TOKEN)

        assert (PutState.LEASE_LOST, PutState.STORED) == (late.state, held.state)
        assert not await store.exists(LEASE)

    @pytest.mark.parametrize("token", [None, TOKEN])
    async def test_who_waits_is_woken_by_any_write(
        self, entries: RedisEntryStore, store: "redis.asyncio.Redis", token: bytes | None
    ) -> None:
        """And nobody is, when nobody waits: publishing costs something."""
        async with store.pubsub() as listener:
            await listener.subscribe(WAKE)
            await listener.get_message(timeout=5)
            await store.set(LEASE, TOKEN)
            await entries.put(NAME, ENTRY, None, lease_token=token)
            await store.set(LEASE, TOKEN + b"w")
            await entries.put(NAME, ENTRY, None, lease_token=token)

            woken = await listener.get_message(timeout=5)
            assert woken is not None
            assert woken["data"] == WHERE
            assert await listener.get_message(timeout=0.05) is None

    async def test_a_removal_voids_the_lease_and_wakes(
        self, entries: RedisEntryStore, store: "redis.asyncio.Redis"
    ) -> None:
        """Even where there is no entry: who computes now must not store what is old already."""
        async with store.pubsub() as listener:
            await listener.subscribe(WAKE)
            await listener.get_message(timeout=5)
            await store.set(LEASE, TOKEN + b"w")

            dropped = await entries.drop(NAME, MissReason.KEY)

            assert not dropped.existed
            assert not await store.exists(LEASE)
            woken = await listener.get_message(timeout=5)
            assert woken is not None
            assert woken["data"] == WHERE


class TestDrop:
    async def test_a_tombstone_says_why(
        self, entries: RedisEntryStore, store: "redis.asyncio.Redis"
    ) -> None:
        """For as long as the entry would have lived, at most an hour."""
        await entries.put(NAME, ENTRY, 60_000)

        dropped = await entries.drop(NAME, MissReason.EVICTED)

        tombstone = decode(await stored(store))
        assert dropped.existed
        assert dropped.header is not None
        assert tombstone is not None
        assert (Kind.TOMBSTONE, MissReason.EVICTED) == (tombstone.kind, tombstone.last_miss)
        assert 0 < await store.pttl(WHERE) <= 60_000

    async def test_that_of_a_permanent_entry_ends_too(
        self, entries: RedisEntryStore, store: "redis.asyncio.Redis"
    ) -> None:
        """Nothing is left for good by what was removed."""
        await entries.put(NAME, ENTRY, None)
        await entries.drop(NAME, MissReason.KEY)

        assert 0 < await store.pttl(WHERE) <= LONGEST_TOMBSTONE_MS

    async def test_what_is_not_there_leaves_none(
        self, entries: RedisEntryStore, store: "redis.asyncio.Redis"
    ) -> None:
        """Deleting at random cannot fill the store; a second removal finds nothing."""
        first = await entries.drop(NAME, MissReason.KEY)
        assert not await store.exists(WHERE)
        await entries.put(NAME, ENTRY, None)
        second = await entries.drop(NAME, MissReason.KEY)
        third = await entries.drop(NAME, MissReason.KEY)

        assert (False, True, False) == (first.existed, second.existed, third.existed)
        assert third.header is None

    async def test_only_the_version_that_was_meant_goes(self, entries: RedisEntryStore) -> None:
        """What was written since it was judged stays."""
        await entries.put(NAME, ENTRY, None)

        other = await entries.drop(NAME, MissReason.TAG, version=8)
        meant = await entries.drop(NAME, MissReason.TAG, version=7)

        assert (False, True) == (other.existed, meant.existed)

    @pytest.mark.parametrize("foreign", [b"", b"text"])
    async def test_what_another_program_wrote_goes_too(
        self, entries: RedisEntryStore, store: "redis.asyncio.Redis", foreign: bytes
    ) -> None:
        """Of whatever type, it is removed and nobody is charged."""
        await store.set(WHERE, foreign)
        text = await entries.drop(NAME, MissReason.KEY)
        await store.delete(WHERE)
        await store.rpush(WHERE, "foreign")
        other = await entries.drop(NAME, MissReason.KEY)

        assert (True, True) == (text.existed, other.existed)
        assert (None, None) == (text.header, other.header)


class TestTouch:
    async def test_times_change_and_the_value_does_not(
        self, entries: RedisEntryStore, store: "redis.asyncio.Redis"
    ) -> None:
        """Neither are its bytes sent again."""
        await entries.put(NAME, ENTRY, 60_000)
        touched = ENTRY._replace(soft_expiry_ms=80_000, expiry_ms=90_000)

        found = await entries.touch(NAME, touched, 89_000)

        assert found is not None
        assert (ENTRY.create_ms, ENTRY.expiry_ms) == (found.create_ms, found.expiry_ms)
        assert touched == decode(await stored(store))
        assert 60_000 < await store.pttl(WHERE) <= 89_000

    async def test_another_version_is_left_alone(
        self, entries: RedisEntryStore, store: "redis.asyncio.Redis"
    ) -> None:
        """A write in between wins; nothing at all stays nothing."""
        absent = await entries.touch(NAME, ENTRY, 89_000)
        await entries.put(NAME, ENTRY, 60_000)
        other = await entries.touch(NAME, ENTRY._replace(version=8), 89_000)
        renewed = await entries.touch(NAME, ENTRY._replace(create_ms=8), 89_000)

        assert (None, None, None) == (absent, other, renewed)
        assert await store.pttl(WHERE) <= 60_000


async def stored(store: "redis.asyncio.Redis") -> bytes:
    """Return the bytes that lie under the key."""
    frame = await store.get(WHERE)
    assert isinstance(frame, bytes)
    return frame
