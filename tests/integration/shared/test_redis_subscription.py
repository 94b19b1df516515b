"""A subscription hears what is published, comes back by itself, and owns up to gaps."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import redis.asyncio as redis_py

from cli.embedded.redis import RedisServer
from mainstay.errors import ConfigurationError, UnavailableError
from shared.redis.subscription import PING_EVERY, Subscription
from tests.integration.shared.conftest import ReadLog
from tests.integration.shared.tcp_proxy import TcpProxy
from tests.integration.shared.waiting import until

TIMEOUT = 0.25


class Ear:
    """Collects what a subscription tells."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, bytes]] = []
        self.gaps = 0

    def on_message(self, channel: bytes, payload: bytes) -> None:
        self.heard.append((channel, payload))

    def on_gap(self) -> None:
        self.gaps += 1

    def has_gaps(self, number: int) -> bool:
        return self.gaps == number


@asynccontextmanager
async def subscribed(
    url: str,
    *channels: str,
    on_message: Callable[[bytes, bytes], None],
    on_gap: Callable[[], None],
) -> AsyncIterator[Subscription]:
    """Listen within the block."""
    subscription = Subscription(
        url, channels, on_message=on_message, on_gap=on_gap, timeout=TIMEOUT
    )
    try:
        await subscription.start()
        yield subscription
    finally:
        await subscription.close()


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
async def publisher(private_redis: RedisServer) -> AsyncIterator["redis_py.Redis"]:
    """Publish past our client."""
    async with redis_py.Redis.from_url(private_redis.url) as connection:
        yield connection


@pytest.fixture
async def subscription(private_redis: RedisServer, ear: Ear) -> AsyncIterator[Subscription]:
    """Listen to two channels of a server that may be broken."""
    async with subscribed(
        private_redis.url, "news", "more", on_message=ear.on_message, on_gap=ear.on_gap
    ) as subscription:
        yield subscription


async def is_heard_again(publisher: "redis_py.Redis", ear: Ear) -> None:
    """Publish until it arrives: it may be a moment before the server knows us again."""
    before = len(ear.heard)
    assert await publisher.publish("news", "again") == 1
    await until(lambda: len(ear.heard) > before)


class TestWhatIsPublished:
    async def test_arrives_in_order_with_its_channel(
        self, subscription: Subscription, publisher: "redis_py.Redis", ear: Ear
    ) -> None:
        """Bytes as they were sent, and only of the channels that were asked for."""
        await publisher.publish("news", b"\xff\r\n\x00")
        await publisher.publish("others", "not ours")
        await publisher.publish("more", "last")
        await until(lambda: len(ear.heard) == 2)

        assert ear.heard == [(b"news", b"\xff\r\n\x00"), (b"more", b"last")]
        assert (subscription.live, ear.gaps) == (True, 0)

    async def test_is_heard_from_the_end_of_start(
        self, private_redis: RedisServer, publisher: "redis_py.Redis", ear: Ear
    ) -> None:
        """Once start() has returned, nothing that is published goes by."""
        for n in range(20):
            async with subscribed(
                private_redis.url, "news", on_message=ear.on_message, on_gap=ear.on_gap
            ):
                heard_by = await publisher.publish("news", n)

            assert heard_by == 1

    async def test_a_callback_that_raises(
        self,
        private_redis: RedisServer,
        publisher: "redis_py.Redis",
        ear: Ear,
        log_lines: ReadLog,
    ) -> None:
        """It is an error in the log; the message after it is heard."""

        def choke(channel: bytes, payload: bytes) -> None:
            ear.on_message(channel, payload)
            if payload == b"bad":
                raise ValueError("cannot be dealt with")

        async with subscribed(
            private_redis.url, "news", on_message=choke, on_gap=ear.on_gap
        ) as subscription:
            await publisher.publish("news", "bad")
            await publisher.publish("news", "good")
            await until(lambda: len(ear.heard) == 2)
            live = subscription.live
        errors = [line for line in log_lines() if line["level"] == "error"]

        assert (live, ear.gaps) == (True, 0)
        assert [line["event"] for line in errors] == ["redis_message_failed"]


class TestABreak:
    async def test_a_server_that_hangs_is_noticed(
        self,
        private_redis: RedisServer,
        subscription: Subscription,
        publisher: "redis_py.Redis",
        ear: Ear,
    ) -> None:
        """Nothing is published and nothing answers: not live; and a gap when it answers again."""
        private_redis.pause()
        began = time.monotonic()
        await until(lambda: not subscription.live)
        noticed = time.monotonic() - began
        gaps_while_away = ear.gaps
        private_redis.resume()
        await until(lambda: ear.gaps == 1)
        await is_heard_again(publisher, ear)

        assert noticed < PING_EVERY + 2 * TIMEOUT + 1
        assert (gaps_while_away, subscription.live) == (0, True)

    async def test_a_restart(
        self,
        private_redis: RedisServer,
        subscription: Subscription,
        ear: Ear,
    ) -> None:
        """On the same port: subscribed again, and a gap."""
        await private_redis.kill()
        await until(lambda: not subscription.live)
        await private_redis.start()
        await until(lambda: ear.gaps == 1)
        async with redis_py.Redis.from_url(private_redis.url) as publisher:
            await is_heard_again(publisher, ear)

        assert subscription.live

    async def test_a_connection_that_is_killed(
        self, subscription: Subscription, publisher: "redis_py.Redis", ear: Ear
    ) -> None:
        """As an operator or a full output buffer does it; each time is a gap of its own."""
        for n in range(3):
            await publisher.client_kill_filter(_type="pubsub")
            await until(partial(ear.has_gaps, n + 1))
            await is_heard_again(publisher, ear)

        assert (len(ear.heard), ear.gaps) == (3, 3)

    async def test_a_gap_that_cannot_be_dealt_with(
        self, private_redis: RedisServer, publisher: "redis_py.Redis", ear: Ear
    ) -> None:
        """A callback for gaps that raises does not end the subscription either."""

        def choke() -> None:
            ear.on_gap()
            raise ValueError("cannot be dealt with")

        async with subscribed(private_redis.url, "news", on_message=ear.on_message, on_gap=choke):
            for n in range(2):
                await publisher.client_kill_filter(_type="pubsub")
                await until(partial(ear.has_gaps, n + 1))

        assert ear.gaps == 2

    async def test_silence_alone_is_none(self, private_redis: RedisServer, ear: Ear) -> None:
        """Where nothing is published, pings are answered and nothing is made anew."""
        async with TcpProxy.to(private_redis.port) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}/0"
            async with subscribed(url, "news", on_message=ear.on_message, on_gap=ear.on_gap):
                so_far = proxy.sent.count(b"PING")
                await until(lambda: proxy.sent.count(b"PING") == so_far + 2)

        assert (ear.gaps, proxy.connections) == (0, 1)

    async def test_what_redis_would_never_say(self, private_redis: RedisServer, ear: Ear) -> None:
        """After a reply to nothing the stream is not to be trusted: a new one, and a gap."""
        async with TcpProxy.to(private_redis.port) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}/0"
            async with subscribed(url, "news", on_message=ear.on_message, on_gap=ear.on_gap):
                proxy.inject(b"+SURPRISE\r\n")
                await until(lambda: ear.gaps == 1)

        assert proxy.connections == 2


class TestStarting:
    async def test_where_nobody_is(self, ear: Ear) -> None:
        """It may come: the error is transient, and names the address."""
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1\b") as caught:
            async with subscribed(
                "redis://127.0.0.1:1/0", "news", on_message=ear.on_message, on_gap=ear.on_gap
            ):
                pass

        assert caught.value.transient

    async def test_again_after_a_failure_is_no_gap(
        self, private_redis: RedisServer, ear: Ear
    ) -> None:
        """As long as it never heard anything, it has missed nothing."""
        subscription = Subscription(
            private_redis.url, ["news"], on_message=ear.on_message, on_gap=ear.on_gap
        )
        await private_redis.kill()
        with pytest.raises(UnavailableError):
            await subscription.start()
        await private_redis.start()
        await subscription.start()
        live = subscription.live
        await subscription.close()

        assert (live, ear.gaps, subscription.live) == (True, 0, False)

    async def test_a_user_who_may_not_listen(
        self, private_redis: RedisServer, publisher: "redis_py.Redis", ear: Ear
    ) -> None:
        """Waiting does not mend it; the error names the channels and the setting."""
        await publisher.execute_command(  # type: ignore[no-untyped-call]
            "ACL", "SETUSER", "deaf", "on", ">hunter2", "+@all", "resetchannels"
        )
        url = private_redis.url.replace("127.0.0.1", "deaf:hunter2@127.0.0.1")
        with pytest.raises(ConfigurationError, match=r"MAINSTAY_REDIS_URL.*news") as caught:
            async with subscribed(url, "news", on_message=ear.on_message, on_gap=ear.on_gap):
                pass

        assert "hunter2" not in caught.value.message

    async def test_closing_leaves_no_connection(
        self, private_redis: RedisServer, publisher: "redis_py.Redis", ear: Ear
    ) -> None:
        """Redis counts no subscriber any more."""
        async with subscribed(
            private_redis.url, "news", on_message=ear.on_message, on_gap=ear.on_gap
        ):
            during = dict(await publisher.pubsub_numsub("news"))
        async with asyncio.timeout(10):
            while dict(await publisher.pubsub_numsub("news"))[b"news"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        assert during == {b"news": 1}
