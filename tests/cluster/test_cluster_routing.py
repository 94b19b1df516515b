"""One client for a whole cluster: each command goes to the master of its key."""

import asyncio
from collections import Counter

import pytest

from shared.redis.client import Redis
from shared.redis.errors import RedisReplyError
from tests.cluster.callers import AMPLE, MANY, all_pages, connected
from tests.cluster.scripts import SCRIPT
from tests.cluster.six_nodes import SixNodes, keys_of_every_master


class TestRouting:
    async def test_keys_lie_on_all_masters(self, cluster: SixNodes, filled: Redis) -> None:
        """Each command goes to the master of its key at once, and finds it again."""
        owners = Counter([(await cluster.master_of(key)).port for key in MANY])
        sizes = {node.port: await node.ask("DBSIZE") for node in cluster.nodes}
        found = [await filled.execute("GET", key) for key in MANY]

        assert found == [key.encode() for key in MANY]
        assert {port: sizes[port] for port in owners} == owners
        assert len(owners) == 3
        assert sum([await node.redirects() for node in cluster.nodes]) == 0

    async def test_many_commands_keep_their_order(self, filled: Redis) -> None:
        """Replies and errors stand where their commands stood, whatever node they came from."""
        await filled.execute("RPUSH", "list", "x")
        commands: list[tuple[str, ...]] = [("GET", key) for key in MANY]
        commands[100:100] = [("GET", "list"), ("PING",)]
        replies = await filled.execute_many(commands)

        assert isinstance(replies[100], RedisReplyError)
        assert replies[101] == b"PONG"
        assert replies[:100] + replies[102:] == [key.encode() for key in MANY]

    async def test_braces_keep_keys_together(self, redis: Redis) -> None:
        """Keys with the same tag have one master, and one command can take them all."""
        await redis.execute("MSET", "{tag}a", 1, "{tag}b", 2)

        assert await redis.execute("MGET", "{tag}a", "{tag}b") == [b"1", b"2"]

    async def test_keys_of_two_masters_in_one_command(self, redis: Redis) -> None:
        """That is a fault of ours, and no outage."""
        first, second, _ = keys_of_every_master()
        with pytest.raises(RedisReplyError, match="CROSSSLOT"):
            await redis.execute("MGET", first, second)

    @pytest.mark.parametrize(
        ("command", "reply"),
        [
            (("PING",), b"PONG"),
            (("PUBLISH", "channel", "x"), 0),
            (("EVAL", "return 7", 0), 7),
            (("SCRIPT", "EXISTS", "0" * 40), [0]),
        ],
        ids=["ping", "publish", "script without keys", "script exists"],
    )
    async def test_commands_without_keys(
        self, redis: Redis, command: tuple[str | int, ...], reply: object
    ) -> None:
        """Any master answers."""
        assert await redis.execute(*command) == reply

    async def test_ping_asks_every_master(self, cluster: SixNodes, redis: Redis) -> None:
        """The slowest counts."""
        masters = {await cluster.master_of(key) for key in keys_of_every_master()}
        for node in masters:
            await node.ask("CONFIG", "RESETSTAT")
        seconds = await redis.ping()
        asked = [await node.ask("INFO", "commandstats") for node in masters]

        assert 0 < seconds < AMPLE
        assert [text.count("cmdstat_ping:calls=1,") for text in asked] == [1, 1, 1]

    async def test_sent_without_waiting(self, filled: Redis) -> None:
        """Each reply has a future of its own."""
        replies = [filled.send("GET", key) for key in MANY]

        assert await asyncio.gather(*replies) == [key.encode() for key in MANY]

    async def test_one_address_is_enough(self, cluster: SixNodes) -> None:
        """Of a replica too; the others are found, and one that is dead is passed over."""
        replica = await cluster.a_replica()
        async with connected(f"redis://127.0.0.1:1/0,{replica.url}") as redis:
            replies = await redis.execute_many([("SET", key, key) for key in MANY])

        assert replies == [b"OK"] * len(MANY)


class TestScripts:
    async def test_are_loaded_on_every_node(self, cluster: SixNodes, filled: Redis) -> None:
        """By text where a node does not know it, also after one node forgot it; else by digest."""
        keys = MANY[:30]
        answers = [await filled.run_script(SCRIPT, [key], ["x"]) for key in keys]
        await (await cluster.master_of(keys[0])).ask("SCRIPT", "FLUSH")
        again = [await filled.run_script(SCRIPT, [key], ["x"]) for key in keys]

        assert answers == again == [[key.encode(), b"x", key.encode()] for key in keys]

    async def test_many_calls_of_one(self, filled: Redis) -> None:
        """In order, by whichever node."""
        replies = await filled.run_script_many(SCRIPT, [([key], [n]) for n, key in enumerate(MANY)])

        assert replies == [[k.encode(), str(n).encode(), k.encode()] for n, k in enumerate(MANY)]


class TestScanning:
    async def test_finds_the_keys_of_all_masters(self, cluster: SixNodes, filled: Redis) -> None:
        """Each at least once, in pages of about the size asked for, and it ends."""
        pages = await all_pages(filled.scan_pages(match="many-1*", count=20))
        found = {key.decode() for page in pages for key in page}

        assert found == {key for key in MANY if key.startswith("many-1")}
        assert len(pages) >= len(MANY) / 20
