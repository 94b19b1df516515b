"""Reads: one look at the entry and at what was invalidated, judged on any replica alike."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import redis.asyncio

from services.cache.entry import COLD, UNREADABLE, Entry, Kind, Miss, MissReason
from services.cache.frame import encode
from services.cache.histories import RedisHistories
from services.cache.history import History
from services.cache.keys import EntryName, entry_key
from services.cache.reading import RedisReader
from services.cache.recollection import Recollection
from services.cache.redis_log import RedisLog
from shared.redis.client import Redis
from shared.rpc.call import Tenant

ACME = Tenant("acme")
NAME = EntryName(ACME, "video", "feed/1")
NOW_MS = 2_000_000


class Replica(NamedTuple):
    """What one process reads with."""

    histories: RedisHistories
    reader: RedisReader


@pytest.fixture
async def replicas(redis_url: str) -> AsyncIterator[tuple[Replica, Replica]]:
    """Return two replicas that share nothing but the Redis."""
    clients = [Redis(redis_url), Redis(redis_url)]
    made = []
    for client in clients:
        await client.start()
        histories = RedisHistories(RedisLog(client, new_epoch=lambda: secrets.token_hex(8)))
        reader = RedisReader(client, histories, Recollection(), lambda: NOW_MS)
        made.append(Replica(histories, reader))
    yield made[0], made[1]
    for replica, client in zip(made, clients, strict=True):
        await replica.histories.close()
        await client.close()


async def written(
    replica: Replica, store: "redis.asyncio.Redis", name: EntryName = NAME, *tags: str
) -> Entry:
    """Write an entry as a replica does, with what it knows of the history."""
    history = await replica.histories.current(ACME)
    entry = Entry(
        value=b"value",
        content_type="",
        version=secrets.randbits(64),
        create_ms=NOW_MS,
        soft_expiry_ms=None,
        expiry_ms=None,
        stamp=history.sequence,
        tags=tags,
    )
    await store.set(entry_key(*name), encode(entry))
    return entry


class TestVerdicts:
    async def test_an_entry_lives_on_every_replica(
        self, replicas: tuple[Replica, Replica], store: "redis.asyncio.Redis"
    ) -> None:
        """What one wrote, the other reads."""
        entry = await written(replicas[0], store)

        assert entry == await replicas[0].reader.read(NAME)
        assert entry == await replicas[1].reader.read(NAME)

    @pytest.mark.parametrize(
        ("invalidated", "reason"),
        [
            ({"tags": ["user:42"]}, MissReason.TAG),
            ({"tags": ["user:42"], "by_event": True}, MissReason.EVENT),
            ({"prefixes": [("video", "feed/")]}, MissReason.PREFIX),
            ({"namespaces": ["video"]}, MissReason.NAMESPACE),
        ],
    )
    async def test_what_one_invalidates_the_other_does_not_read(
        self,
        replicas: tuple[Replica, Replica],
        store: "redis.asyncio.Redis",
        invalidated: dict[str, object],
        reason: MissReason,
    ) -> None:
        """From the moment it was acknowledged: no message has to arrive anywhere first."""
        one, other = replicas
        entry = await written(one, store, NAME, "user:42")
        assert entry == await other.reader.read(NAME)

        await one.histories.append(ACME, **invalidated)  # type: ignore[arg-type]
        outcome = await other.reader.read(NAME)

        assert Miss(reason=reason, dead_version=entry.version) == outcome

    @pytest.mark.parametrize(
        "invalidated",
        [
            {"tags": ["user:4"]},
            {"prefixes": [("video", "feed/2")]},
            {"prefixes": [("videos", "feed/")]},
            {"namespaces": ["videos"]},
        ],
    )
    async def test_what_resembles_it_lives(
        self,
        replicas: tuple[Replica, Replica],
        store: "redis.asyncio.Redis",
        invalidated: dict[str, object],
    ) -> None:
        """Names are compared whole."""
        entry = await written(replicas[0], store, NAME, "user:42")

        await replicas[0].histories.append(ACME, **invalidated)  # type: ignore[arg-type]

        assert entry == await replicas[1].reader.read(NAME)

    async def test_what_is_written_after_an_invalidation_lives(
        self, replicas: tuple[Replica, Replica], store: "redis.asyncio.Redis"
    ) -> None:
        """An invalidation concerns what was there, not what will be."""
        await replicas[0].histories.append(ACME, tags=["user:42"])
        entry = await written(replicas[1], store, NAME, "user:42")

        assert entry == await replicas[0].reader.read(NAME)

    async def test_an_entry_of_a_lost_history_is_dead(
        self, replicas: tuple[Replica, Replica], store: "redis.asyncio.Redis"
    ) -> None:
        """It may have been invalidated by what nobody remembers."""
        entry = await written(replicas[0], store)
        heads = [key async for key in store.scan_iter("*:cache}:*")]
        await store.delete(*heads)

        outcome = await replicas[1].reader.read(NAME)

        assert Miss(reason=MissReason.NAMESPACE, dead_version=entry.version) == outcome

    async def test_an_entry_that_is_newer_than_the_answer_about_the_history_lives(
        self, replicas: tuple[Replica, Replica], store: "redis.asyncio.Redis"
    ) -> None:
        """It was written between the two answers: asking again shows what its writer saw."""
        one, other = replicas
        await written(one, store)
        await other.reader.read(NAME)
        behind = await other.histories.ask(ACME)
        await one.histories.append(ACME, tags=["another"])
        entry = await written(one, store)

        judged_too_early = other.reader._judge(
            NAME, entry_key(*NAME), encode(entry), _known(other, behind)
        )
        outcome = await other.reader.read(NAME)

        assert type(judged_too_early).__name__ == "_Newer"
        assert entry == outcome


class TestMisses:
    async def test_nothing_is_cold(self, replicas: tuple[Replica, Replica]) -> None:
        """As far as this replica knows."""
        assert COLD == await replicas[0].reader.read(NAME)

    @pytest.mark.parametrize("foreign", [b"", b"text", b"\xc1"])
    async def test_foreign_bytes_are_unreadable(
        self, replicas: tuple[Replica, Replica], store: "redis.asyncio.Redis", foreign: bytes
    ) -> None:
        """Never an exception."""
        await store.set(entry_key(*NAME), foreign)

        assert UNREADABLE == await replicas[0].reader.read(NAME)

    async def test_a_foreign_type_is_unreadable(
        self, replicas: tuple[Replica, Replica], store: "redis.asyncio.Redis"
    ) -> None:
        """Whatever another program does with our keys."""
        await store.rpush(entry_key(*NAME), "item")

        assert UNREADABLE == await replicas[0].reader.read(NAME)

    async def test_a_tombstone_says_why(
        self, replicas: tuple[Replica, Replica], store: "redis.asyncio.Redis"
    ) -> None:
        """The reason outlives what was removed."""
        entry = await written(replicas[0], store)
        tombstone = entry._replace(kind=Kind.TOMBSTONE, last_miss=MissReason.EVICTED, stamp=0)
        await store.set(entry_key(*NAME), encode(tombstone))

        outcome = await replicas[1].reader.read(NAME)

        assert Miss(reason=MissReason.EVICTED, dead_version=entry.version) == outcome

    async def test_what_was_known_is_evicted_or_expired(
        self, replicas: tuple[Replica, Replica], store: "redis.asyncio.Redis"
    ) -> None:
        """A replica that has read an entry knows when it should have ended."""
        entry = await written(replicas[0], store)
        await replicas[0].reader.read(NAME)
        await store.delete(entry_key(*NAME))
        evicted = await replicas[0].reader.read(NAME)
        await store.set(entry_key(*NAME), encode(entry._replace(expiry_ms=NOW_MS - 1)))
        await replicas[0].reader.read(NAME)
        await store.delete(entry_key(*NAME))
        expired = await replicas[0].reader.read(NAME)

        assert Miss(reason=MissReason.EVICTED) == evicted
        assert Miss(reason=MissReason.EXPIRED) == expired


class TestBatches:
    async def test_each_is_judged_for_itself(
        self, replicas: tuple[Replica, Replica], store: "redis.asyncio.Redis"
    ) -> None:
        """In the order in which they were asked for."""
        one, other = replicas
        names = [EntryName(ACME, "video", f"{n}") for n in range(4)]
        dead = await written(one, store, names[0], "user:42")
        living = await written(one, store, names[1], "user:43")
        await store.set(entry_key(*names[2]), b"foreign")
        await one.histories.append(ACME, tags=["user:42"])

        outcomes = await other.reader.read_many(names)

        assert [
            Miss(reason=MissReason.TAG, dead_version=dead.version),
            living,
            UNREADABLE,
            COLD,
        ] == outcomes

    async def test_none_is_none(self, replicas: tuple[Replica, Replica]) -> None:
        """No question, no answer."""
        assert await replicas[0].reader.read_many([]) == []


class TestRoundTrips:
    async def test_concurrent_hits_share_the_question_for_the_history(
        self, replicas: tuple[Replica, Replica], store: "redis.asyncio.Redis"
    ) -> None:
        """A hundred hits cost a hundred GETs and one more, and no script."""
        await written(replicas[0], store)
        await replicas[0].reader.read(NAME)
        await store.config_resetstat()

        await asyncio.gather(*(replicas[0].reader.read(NAME) for _ in range(100)))

        commands = await store.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): facts["calls"] for name, facts in commands.items()}
        for ours in ("config|resetstat", "config", "info"):  # by their names before and since 7.0
            calls.pop(ours, None)
        assert {"get": 101} == calls

    async def test_a_reader_that_gives_up_disturbs_nobody(
        self, replicas: tuple[Replica, Replica], store: "redis.asyncio.Redis"
    ) -> None:
        """The question for the history is shared, its cancellation is not."""
        entry = await written(replicas[0], store)
        leaving = asyncio.create_task(replicas[0].reader.read(NAME))
        staying = asyncio.create_task(replicas[0].reader.read(NAME))
        await asyncio.sleep(0)
        leaving.cancel()

        assert entry == await staying


def _known(replica: Replica, head: bytes | None) -> History:
    history = replica.histories.known(ACME, head)
    assert history is not None
    return history
