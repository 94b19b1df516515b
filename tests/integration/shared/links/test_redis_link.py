"""The shared Redis connection: many callers, one stream, and every wait is bounded."""

import asyncio
import random
import time

import pytest
import redis as redis_py

from cli.embedded.redis import RedisServer
from mainstay.errors import ConfigurationError, UnavailableError
from shared.redis.client import Redis
from shared.redis.errors import RedisReplyError
from shared.redis.wire import MAX_UNSENT
from tests.integration.shared.links.linking import (
    AMPLE,
    TIMEOUT,
    connected,
    reason_of,
    recovers,
)
from tests.integration.shared.tcp_proxy import TcpProxy
from tests.integration.shared.waiting import until


class TestPipelining:
    async def test_concurrent_commands_leave_together(
        self, proxy: TcpProxy, proxied: Redis, written: list[bytes]
    ) -> None:
        """Five hundred callers at once are one write and a handful of segments."""
        before = proxy.batches
        replies = await asyncio.gather(*(proxied.execute("ECHO", n) for n in range(500)))

        assert replies == [str(n).encode() for n in range(500)]
        assert len(written) == 1
        assert proxy.batches - before <= 5

    async def test_one_command_does_not_wait_for_company(
        self, redis: Redis, written: list[bytes]
    ) -> None:
        """A lonely command leaves at once: twenty in a row are twenty short round trips."""
        began = time.monotonic()
        for n in range(20):
            await redis.execute("ECHO", n)

        assert len(written) == 20
        assert time.monotonic() - began < AMPLE / 5

    async def test_every_caller_gets_its_own_reply(self, redis: Redis) -> None:
        """Whatever leaves in whatever order, across turns of the loop and sizes of replies."""
        chance = random.Random(7)

        async def ask(n: int) -> bool:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            text = f"{n}:" * chance.choice([1, 10, 5_000])
            return bool(await redis.execute("ECHO", text) == text.encode())

        assert all(await asyncio.gather(*map(ask, range(300))))

    async def test_many_commands_of_one_caller(self, redis: Redis) -> None:
        """A reply or an error for each, in order."""
        await redis.execute("SET", "text", "x")
        first, wrong, last = await redis.execute_many(
            [("GET", "text"), ("LPUSH", "text", "y"), ("EXISTS", "text")]
        )

        assert (first, type(wrong), last) == (b"x", RedisReplyError, 1)

    async def test_what_replies_look_like(self, redis: Redis) -> None:
        """Strings as bytes, numbers as int, nothing as None, lists as lists, false as None."""
        await redis.execute("RPUSH", "list", "a", b"\xff\x00")
        script = "return {1, 'a', false, {2}}"

        assert await redis.execute("LRANGE", "list", 0, -1) == [b"a", b"\xff\x00"]
        assert await redis.execute("GET", "nothing") is None
        assert await redis.execute("EVAL", script, 0) == [1, b"a", None, [2]]
        assert await redis.execute("EVAL", "return false", 0) is None


class TestSending:
    async def test_does_not_wait(
        self, proxied: Redis, proxy: TcpProxy, written: list[bytes]
    ) -> None:
        """What is sent in one turn leaves in one write, and each reply has a future of its own."""
        replies = [proxied.send("ECHO", n) for n in range(100)]
        before = len(written)
        answers = [await reply for reply in replies]

        assert (before, len(written)) == (0, 1)
        assert answers == [str(n).encode() for n in range(100)]

    async def test_what_leaves_together_has_one_number(self, redis: Redis) -> None:
        """It is the same until the batch leaves, and another for what is sent then."""
        before = redis.batch
        reply = redis.send("PING")
        queued = redis.batch
        await reply

        assert queued == before
        assert redis.batch > queued

    async def test_fails_at_once_without_a_connection(self, redis_url: str) -> None:
        """Before start and after close as while the connection is broken."""
        redis = Redis(redis_url)
        with pytest.raises(UnavailableError) as caught:
            redis.send("PING")

        assert caught.value.reason == "REDIS_BREAKER_OPEN"

    async def test_more_bytes_than_redis_takes(
        self,
        private_redis: RedisServer,
        breakable: Redis,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """What cannot be sent is not piled up in memory: refused until Redis has taken it."""
        private_redis.pause()
        too_much = b"x" * (MAX_UNSENT + (16 << 20))  # the kernel's buffers take some
        waiting = asyncio.ensure_future(reason_of(breakable, "ECHO", too_much))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        one_more = await reason_of(breakable, "PING")

        assert (one_more, await waiting) == ("REDIS_QUEUE_FULL", "REDIS_TIMEOUT")

    async def test_goes_on_when_redis_has_taken_them(self, redis: Redis) -> None:
        """A large batch is refused in no part, and commands after it are answered."""
        large = b"x" * (4 << 20)
        sizes = [len(reply) for reply in await redis.execute_many([("ECHO", large)] * 8)]

        assert sizes == [4 << 20] * 8
        assert await redis.execute("ECHO", "next") == b"next"


class TestACallerThatLeaves:
    async def test_does_not_shift_the_replies(self, redis: Redis) -> None:
        """Its reply is dropped in its turn; the neighbours get theirs."""
        calls = [asyncio.create_task(redis.execute("ECHO", n)) for n in range(300)]
        await asyncio.sleep(0)
        for call in calls[::3]:
            call.cancel()
        await asyncio.wait(calls)

        stayed = [call.result() for n, call in enumerate(calls) if n % 3]
        assert stayed == [str(n).encode() for n in range(300) if n % 3]

    async def test_while_its_reply_is_on_the_way(self, proxy: TcpProxy, proxied: Redis) -> None:
        """Commands were sent, replies are held back, every other caller leaves."""
        proxy.delay = 0.05
        calls = [asyncio.create_task(proxied.execute("ECHO", n)) for n in range(100)]
        await until(lambda: b"99" in proxy.sent)
        for call in calls[::2]:
            call.cancel()
        await asyncio.wait(calls)

        assert [call.result() for call in calls[1::2]] == [
            str(n).encode() for n in range(1, 100, 2)
        ]
        assert await proxied.execute("ECHO", "next") == b"next"


class TestErrorReplies:
    async def test_a_wrong_command_is_our_fault(self, redis: Redis) -> None:
        """It is no UnavailableError, and the neighbours in the pipeline do not notice."""
        await redis.execute("SET", "text", "x")
        commands = [("ECHO", "a"), ("LPUSH", "text", "y"), ("ECHO", "b")]
        asked = (redis.execute(*command) for command in commands)
        before, wrong, after = await asyncio.gather(*asked, return_exceptions=True)

        assert (before, after) == (b"a", b"b")
        assert isinstance(wrong, RedisReplyError)
        assert "WRONGTYPE" in str(wrong)

    @pytest.mark.parametrize(
        ("setup", "command", "reason"),
        [
            (("CONFIG", "SET", "maxmemory", "1"), ("SET", "k", "v"), "REDIS_FULL"),
            (
                ("CONFIG", "SET", "maxmemory", "1"),
                ("EVAL", "return redis.call('SET', KEYS[1], 'v')", 1, "k"),
                "REDIS_FULL",
            ),
            (("CONFIG", "SET", "min-replicas-to-write", "1"), ("SET", "k", "v"), "REDIS_REFUSED"),
        ],
        ids=["full", "full in a script", "no replicas"],
    )
    async def test_what_redis_cannot_do_now(
        self,
        breakable: Redis,
        admin: "redis_py.Redis",
        setup: tuple[str, ...],
        command: tuple[str | int, ...],
        reason: str,
    ) -> None:
        """A refusal is transient and has its own reason; the connection stays."""
        admin.execute_command(*setup)  # type: ignore[no-untyped-call]

        assert await reason_of(breakable, *command) == reason
        assert breakable.connected

    async def test_a_primary_that_became_a_replica(
        self, breakable: Redis, admin: "redis_py.Redis"
    ) -> None:
        """The connection is made anew: behind the same name there is another primary now."""
        admin.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]

        assert await reason_of(breakable, "SET", "k", "v") == "REDIS_REFUSED"
        await until(lambda: not breakable.connected)
        await until(lambda: breakable.connected)


class TestScanning:
    async def test_finds_what_matches(self, redis: Redis) -> None:
        """Every key at least once, in pages, and it ends."""
        await redis.execute_many([("SET", f"{n % 2}:{n}", "x") for n in range(500)])
        pages = [page async for page in redis.scan_pages(match="1:*", count=50)]

        assert {key for page in pages for key in page} == {b"1:%d" % n for n in range(1, 500, 2)}
        assert 5 <= len(pages) <= 50

    async def test_does_not_outlive_its_connection(self, proxy: TcpProxy, proxied: Redis) -> None:
        """A cursor means nothing to a Redis that was started again."""
        await proxied.execute_many([("SET", n, "x") for n in range(500)])
        pages = proxied.scan_pages(match="*", count=10)
        await anext(pages)
        proxy.cut()
        await until(lambda: not proxied.connected)
        await recovers(proxied)

        with pytest.raises(UnavailableError):
            await anext(pages)


class TestALongAnswer:
    async def test_that_still_comes_in_is_waited_for(self, proxy: TcpProxy) -> None:
        """A large reply on a slow line does not take the link from everybody."""
        async with connected(f"redis://127.0.0.1:{proxy.port}/0", timeout=TIMEOUT) as redis:
            await redis.execute("SET", "large", b"x" * (1 << 20))
            proxy.delay = 0.06

            large, small = await asyncio.gather(
                redis.execute("GET", "large"), redis.execute("ECHO", "small")
            )

        assert (len(large), small, proxy.connections) == (1 << 20, b"small", 1)

    async def test_that_was_there_all_along(self, redis_url: str) -> None:
        """A process that was held up itself reads first, and then judges."""
        async with connected(redis_url, timeout=TIMEOUT) as redis:
            asked = asyncio.ensure_future(redis.execute("ECHO", "there"))
            await asyncio.sleep(0)
            time.sleep(2 * TIMEOUT)  # noqa: ASYNC251 - the hold-up

            assert await asked == b"there"
            assert redis.connected


class TestStarting:
    async def test_an_address_where_nobody_is(self) -> None:
        """It may come: the error is transient, and names the address."""
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1\b") as caught:
            async with connected("redis://127.0.0.1:1/0"):
                pass

        assert caught.value.transient

    async def test_one_that_accepts_and_says_nothing(self, private_redis: RedisServer) -> None:
        """A frozen Redis accepts connections: that is not enough, and not waited for long."""
        private_redis.pause()
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            async with connected(private_redis.url, timeout=TIMEOUT):
                pass

        assert time.monotonic() - began < 3.0

    @pytest.mark.parametrize(
        ("password", "credentials"),
        [("right", "user:hunter2@"), ("right", ":hunter2@"), ("right", "")],
        ids=["wrong user", "wrong password", "none given"],
    )
    async def test_wrong_credentials(
        self,
        private_redis: RedisServer,
        admin: "redis_py.Redis",
        password: str,
        credentials: str,
    ) -> None:
        """Waiting does not mend them; the error names the variable and not the password."""
        admin.config_set("requirepass", password)
        url = private_redis.url.replace("127.0.0.1", f"{credentials}127.0.0.1")
        with pytest.raises(ConfigurationError, match="MAINSTAY_REDIS_URL") as caught:
            async with connected(url):
                pass

        assert "hunter2" not in caught.value.message

    @pytest.mark.parametrize(
        "url",
        [
            "redis://:hunter2/x@127.0.0.1",
            "redis://:hunter2#x@127.0.0.1",
            "redis://127.0.0.1:hunter2/0",
            "redis://127.0.0.1/0?hunter2=1",
        ],
    )
    def test_a_url_that_is_none(self, url: str) -> None:
        """Refused before anything is tried, without quoting what may be a password."""
        with pytest.raises(ConfigurationError, match="MAINSTAY_REDIS_URL") as caught:
            Redis(url)

        assert "hunter2" not in caught.value.message

    async def test_several_addresses_of_no_cluster(self, redis_url: str) -> None:
        """Which one would hold the data? Refused, with the way out."""
        with pytest.raises(ConfigurationError, match="is no cluster; name the one to use"):
            async with connected(f"redis://127.0.0.1:1/0,{redis_url}"):
                pass

    async def test_ping_measures(self, redis: Redis) -> None:
        """In seconds."""
        assert 0 < await redis.ping() < AMPLE
