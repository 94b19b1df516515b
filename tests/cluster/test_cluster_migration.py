"""Slots that move from master to master while they are used."""

import asyncio

import pytest

from mainstay.errors import UnavailableError
from shared.redis.client import Redis
from tests.cluster.callers import MANY, Load, all_pages
from tests.cluster.scripts import SCRIPT
from tests.cluster.six_nodes import PATIENCE, SixNodes, slot_of


async def recovers(redis: Redis, key: str) -> None:
    """Ask for a key until there is an answer."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await redis.execute("GET", key)
            except UnavailableError:
                await asyncio.sleep(0.01)
            else:
                return


class TestASlotThatMoves:
    async def test_is_followed_once(self, cluster: SixNodes, filled: Redis) -> None:
        """Those who come first are sent elsewhere; those who come after go there at once."""
        key = MANY[0]
        source = await cluster.master_of(key)
        target = await cluster.move_slot(key)
        at_once = await asyncio.gather(*(filled.execute("GET", key) for _ in range(100)))
        so_far = await source.redirects()
        later = [await filled.execute("GET", key) for _ in range(100)]

        assert at_once == later == [key.encode()] * 100
        assert 1 <= so_far <= 100
        assert await source.redirects() == so_far
        assert await cluster.master_of(key) is target

    async def test_is_between_two_nodes(self, cluster: SixNodes, filled: Redis) -> None:
        """What has moved is asked for at its new place, for this once; and written there."""
        key = "{" + MANY[1] + "}"
        await filled.execute("SET", key, "old")
        source = await cluster.master_of(key)
        target = await cluster.move_slot(key, finish=False)
        found = await filled.execute("GET", key)
        await filled.execute("SET", key + "new", "new")
        asked = await source.redirects("ASK")
        await cluster.finish_move(key, target)

        assert (found, asked) == (b"old", 2)
        assert await filled.execute("GET", key + "new") == b"new"
        assert await target.ask("GET", key + "new") == "new"

    async def test_several_keys_between_two_nodes(self, cluster: SixNodes, filled: Redis) -> None:
        """A command for keys that are here and there is refused for now, as Redis itself does."""
        key = "{" + MANY[2] + "}"
        await filled.execute("SET", key, "moves")
        target = await cluster.move_slot(key, finish=False)
        with pytest.raises(UnavailableError) as caught:
            await filled.execute("MGET", key, key + "nowhere")
        await cluster.finish_move(key, target)

        assert caught.value.reason == "REDIS_REFUSED"

    async def test_to_a_script_it_is_the_same(self, cluster: SixNodes, filled: Redis) -> None:
        """By its first key, loaded where it arrives."""
        key = MANY[3]
        await filled.run_script(SCRIPT, [key], ["x"])
        target = await cluster.move_slot(key)
        await target.ask("SCRIPT", "FLUSH")

        assert await filled.run_script(SCRIPT, [key], ["x"]) == [key.encode(), b"x", key.encode()]

    async def test_under_load(self, cluster: SixNodes, filled: Redis) -> None:
        """Whoever asks in whatever moment of a move gets the answer to its own question."""
        async with Load(filled) as load:
            for key in MANY[:5]:
                await cluster.move_slot(key)
            await load.answers_every_key()

        assert (load.wrong, load.failed) == ([], [])

    async def test_that_nobody_serves(self, cluster: SixNodes, filled: Redis) -> None:
        """The cluster says so: refused for now, and served again as soon as somebody does."""
        key = MANY[5]
        owner = await cluster.master_of(key)
        await owner.ask("CLUSTER", "DELSLOTS", slot_of(key))
        with pytest.raises(UnavailableError) as caught:
            await filled.execute("GET", key)
        await owner.ask("CLUSTER", "ADDSLOTS", slot_of(key))
        await recovers(filled, key)

        assert caught.value.reason == "REDIS_REFUSED"

    async def test_ends_a_scan(self, cluster: SixNodes, filled: Redis) -> None:
        """Once the move is known the scan cannot promise anything any more, and says so."""
        pages = filled.scan_pages(match="*", count=5)
        await anext(pages)
        await cluster.move_slot(MANY[4])
        await filled.execute("GET", MANY[4])
        with pytest.raises(UnavailableError) as caught:
            await all_pages(pages)

        assert caught.value.reason == "REDIS_REFUSED"
