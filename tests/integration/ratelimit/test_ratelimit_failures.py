"""With Redis gone, frozen or full every check answers a named error in bounded time."""

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import redis.asyncio
from prometheus_client import REGISTRY

from cli.embedded.redis import RedisServer
from mainstay.channel import Channel
from mainstay.errors import ConfigurationError, RateLimitStoreError
from mainstay.ratelimit.client import Decision, RateLimitClient
from services.ratelimit.app import build
from services.ratelimit.settings import RateLimitSettings

ServeRateLimit = Callable[[str], AbstractAsyncContextManager[Channel]]
Call = Callable[[RateLimitClient], Awaitable[Decision]]

# A peek has three attempts, each at most a Redis timeout (0.25 s) and a pause, on a busy machine.
BOUND_SECONDS = 3.0

EVERY_METHOD = [
    pytest.param(lambda limits: limits.check("user:42", "ai_chat"), id="Check"),
    pytest.param(lambda limits: limits.peek("user:42", "ai_chat"), id="Peek"),
]


class TestRedisDoesNotAnswer:
    @pytest.mark.parametrize("call", EVERY_METHOD)
    @pytest.mark.parametrize("frozen", [False, True], ids=["killed", "frozen"])
    async def test_every_method_says_so_in_bounded_time(
        self, private_redis: RedisServer, serve_ratelimit: ServeRateLimit, call: Call, frozen: bool
    ) -> None:
        """Nothing hangs, neither on a closed connection nor on a silent one."""
        async with serve_ratelimit(private_redis.url) as channel:
            limits = RateLimitClient(channel)
            await limits.check("user:42", "ai_chat")
            if frozen:
                private_redis.pause()
            else:
                await private_redis.kill()
            began = time.monotonic()
            with pytest.raises(RateLimitStoreError) as caught:
                await call(limits)
            took = time.monotonic() - began

        assert caught.value.reason == "RATE_LIMIT_STORE_UNAVAILABLE"
        assert took < BOUND_SECONDS

    @pytest.mark.parametrize(("method", "attempts"), [("Check", 1), ("Peek", 3)])
    async def test_only_what_consumes_nothing_is_repeated_by_the_client(
        self,
        private_redis: RedisServer,
        serve_ratelimit: ServeRateLimit,
        method: str,
        attempts: int,
    ) -> None:
        """A check that seems to have failed may have consumed."""
        async with serve_ratelimit(private_redis.url) as channel:
            limits = RateLimitClient(channel)
            await private_redis.kill()
            before = _failed_calls(method)
            with pytest.raises(RateLimitStoreError):
                await (limits.check if method == "Check" else limits.peek)("user:42", "auth")

        assert _failed_calls(method) - before == attempts

    async def test_what_is_unlimited_is_allowed_all_the_same(
        self, private_redis: RedisServer, serve_ratelimit: ServeRateLimit
    ) -> None:
        """It asks no store."""
        async with serve_ratelimit(private_redis.url) as channel:
            await private_redis.kill()
            told = await RateLimitClient(channel).check("user:42", "ai_chat", plan="enterprise")

        assert told.allowed

    async def test_it_serves_again_when_redis_is_back_without_a_restart(
        self, private_redis: RedisServer, serve_ratelimit: ServeRateLimit
    ) -> None:
        """And what was consumed before, and reached the disk, is still consumed."""
        async with serve_ratelimit(private_redis.url) as channel:
            limits = RateLimitClient(channel)
            await limits.check("user:42", "auth", cost=4)
            await private_redis.stop()
            with pytest.raises(RateLimitStoreError):
                await limits.check("user:42", "auth")
            await private_redis.start()
            told = await _until_answered(limits)

        assert told.remaining == 1


class TestRedisRefuses:
    async def test_a_full_one_takes_no_new_counter_and_still_denies(
        self, private_redis: RedisServer, serve_ratelimit: ServeRateLimit
    ) -> None:
        """A denial needs no memory."""
        async with serve_ratelimit(private_redis.url) as channel:
            limits = RateLimitClient(channel)
            await limits.check("user:42", "auth", cost=5)
            async with redis.asyncio.Redis.from_url(private_redis.url) as raw:
                await raw.config_set("maxmemory", "1")
            with pytest.raises(RateLimitStoreError) as caught:
                await limits.check("user:43", "auth")
            denied = await limits.check("user:42", "auth")

        assert caught.value.reason == "RATE_LIMIT_STORE_UNAVAILABLE"
        assert not denied.allowed

    async def test_something_else_under_the_key_is_an_error_of_that_subject_only(
        self, limits: RateLimitClient, raw: "redis.asyncio.Redis"
    ) -> None:
        """Never an allowance and never an unnamed error."""
        await raw.rpush("rl:{acme}:auth:300000000:user:42", "x")
        with pytest.raises(RateLimitStoreError) as caught:
            await limits.check("user:42", "auth")
        other = await limits.check("user:43", "auth")

        assert caught.value.metadata == {"dependency": "redis", "cause": "REDIS_REPLY"}
        assert other.allowed

    async def test_a_forgotten_script_is_loaded_again(
        self, limits: RateLimitClient, raw: "redis.asyncio.Redis"
    ) -> None:
        """As after a failover to a replica that never saw it."""
        await limits.check("user:42", "auth")
        await raw.script_flush()
        told = await limits.check("user:42", "auth")

        assert told.remaining == 3


class TestWrongPolicy:
    async def test_a_file_with_a_mistake_stops_the_start(self, tmp_path: Path) -> None:
        """The service does not run on half a policy."""
        (tmp_path / "ratelimit.yaml").write_text("version: 1\nlimits:\n  - name: a\n")

        with pytest.raises(ConfigurationError, match=r"ratelimit\.yaml is refused:\n  line 3"):
            build(_settings(tmp_path))

    async def test_a_missing_file_stops_the_start(self, tmp_path: Path) -> None:
        """The message names the file and the setting that points to it."""
        with pytest.raises(ConfigurationError, match="MAINSTAY_POLICIES_DIR"):
            build(_settings(tmp_path))


def _failed_calls(method: str) -> float:
    labels = {
        "method": f"mainstay.ratelimit.v1.RateLimitService/{method}",
        "code": "UNAVAILABLE",
        "reason": "RATE_LIMIT_STORE_UNAVAILABLE",
    }
    return REGISTRY.get_sample_value("mainstay_rpc_server_calls_total", labels) or 0.0


def _settings(policies: Path) -> RateLimitSettings:
    return RateLimitSettings.model_validate(
        {
            "redis_url": "redis://127.0.0.1:1/0",
            "policies_dir": policies,
            "ratelimit_port": 0,
            "ratelimit_ops_port": 0,
        }
    )


async def _until_answered(limits: RateLimitClient) -> Decision:
    """Ask until the service has found its Redis again; the test's own timeout bounds it."""
    while True:
        try:
            return await limits.peek("user:42", "auth")
        except RateLimitStoreError:
            continue  # the client itself pauses between its attempts
