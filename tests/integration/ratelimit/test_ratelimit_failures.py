"""What callers are told while Redis is gone, frozen or forgetful, and of a policy that is wrong.

How decisions are made meanwhile stands in `degrading/` and in tests/faults.
"""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import redis.asyncio

from cli.embedded.redis import RedisServer
from mainstay.channel import Channel
from mainstay.errors import ConfigurationError, RateLimitStoreError
from mainstay.ratelimit.client import RateLimitClient
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc
from services.ratelimit.app import build
from services.ratelimit.settings import RateLimitSettings
from tests.integration.ratelimit.conftest import ServeRateLimit

Call = Callable[[Channel], Awaitable[pb.Decision]]

SUBJECT, ENDPOINT = "user:42", "ai_chat"
# One Redis timeout (0.25 s), on a busy machine.
BOUND_SECONDS = 2.0


async def _check(channel: Channel) -> pb.Decision:
    stub = pb_grpc.RateLimitServiceStub(channel.raw)
    request = pb.CheckRequest(subject=SUBJECT, endpoint=ENDPOINT)
    response = await channel.unary(stub.Check, request)
    return response.decision


async def _check_batch(channel: Channel) -> pb.Decision:
    stub = pb_grpc.RateLimitServiceStub(channel.raw)
    request = pb.CheckBatchRequest(acts=[pb.Act(subject=SUBJECT, endpoint=ENDPOINT)])
    response = await channel.unary(stub.CheckBatch, request)
    return response.decisions[0]


async def _peek(channel: Channel) -> pb.Decision:
    stub = pb_grpc.RateLimitServiceStub(channel.raw)
    request = pb.PeekRequest(subject=SUBJECT, endpoint=ENDPOINT)
    response = await channel.unary(stub.Peek, request)
    return response.decision


async def _enforce(channel: Channel) -> pb.Decision:
    stub = pb_grpc.RateLimitServiceStub(channel.raw)
    request = pb.EnforceRequest(subject=SUBJECT, endpoint=ENDPOINT)
    response = await channel.unary(stub.Enforce, request)
    return response.decision


DECIDING = [
    pytest.param(_check, id="Check"),
    pytest.param(_check_batch, id="CheckBatch"),
    pytest.param(_peek, id="Peek"),
    pytest.param(_enforce, id="Enforce"),
]


class TestRedisDoesNotAnswer:
    @pytest.mark.parametrize("call", DECIDING)
    @pytest.mark.parametrize("frozen", [False, True], ids=["killed", "frozen"])
    async def test_whatever_decides_answers_and_says_how(
        self, private_redis: RedisServer, serve_ratelimit: ServeRateLimit, call: Call, frozen: bool
    ) -> None:
        """Nothing hangs, neither on a closed connection nor on a silent one."""
        async with serve_ratelimit(private_redis.url) as channel:
            before = await _check(channel)
            if frozen:
                private_redis.pause()
            else:
                await private_redis.kill()
            began = time.monotonic()
            told = await call(channel)
            took = time.monotonic() - began

        assert (before.degraded, before.failure_mode) == (False, pb.FAILURE_MODE_UNSPECIFIED)
        assert (told.outcome, told.degraded) == (pb.OUTCOME_ALLOWED, True)
        assert told.failure_mode == pb.FAILURE_MODE_LOCAL
        assert took < BOUND_SECONDS

    async def test_what_needs_the_counters_themselves_says_so(
        self, private_redis: RedisServer, serve_ratelimit: ServeRateLimit
    ) -> None:
        """What is gone can neither be given back nor forgotten."""
        async with serve_ratelimit(private_redis.url) as channel:
            stub = pb_grpc.RateLimitServiceStub(channel.raw)
            await private_redis.kill()
            with pytest.raises(RateLimitStoreError) as refund:
                await channel.unary(
                    stub.Refund, pb.RefundRequest(subject=SUBJECT, endpoint=ENDPOINT)
                )
            with pytest.raises(RateLimitStoreError) as reset:
                await channel.unary(stub.Reset, pb.ResetRequest(subject=SUBJECT, everything=True))

        errors = [caught.value for caught in (refund, reset)]
        told = [(error.reason, error.metadata["dependency"]) for error in errors]
        assert [("RATE_LIMIT_STORE_UNAVAILABLE", "redis")] * 2 == told

    async def test_what_is_unlimited_asks_no_store(
        self, private_redis: RedisServer, serve_ratelimit: ServeRateLimit
    ) -> None:
        """So nothing is degraded about it."""
        async with serve_ratelimit(private_redis.url) as channel:
            await private_redis.kill()
            stub = pb_grpc.RateLimitServiceStub(channel.raw)
            request = pb.CheckRequest(subject=SUBJECT, endpoint=ENDPOINT, plan="enterprise")
            told = (await channel.unary(stub.Check, request)).decision

        assert (told.outcome, told.degraded) == (pb.OUTCOME_ALLOWED, False)


class TestRedisForgets:
    async def test_a_forgotten_script_is_loaded_again(
        self, limits: RateLimitClient, raw: "redis.asyncio.Redis"
    ) -> None:
        """As after a failover to a replica that never saw it."""
        await limits.check(SUBJECT, "auth")
        await raw.script_flush()
        told = await limits.check(SUBJECT, "auth")

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


def _settings(policies: Path) -> RateLimitSettings:
    return RateLimitSettings.model_validate(
        {
            "redis_url": "redis://127.0.0.1:1/0",
            "policies_dir": policies,
            "ratelimit_port": 0,
            "ratelimit_ops_port": 0,
        }
    )


class TestWrongDatabase:
    async def test_an_address_that_is_none_stops_the_start(
        self, redis_url: str, serve_ratelimit: ServeRateLimit
    ) -> None:
        """It does not get better; one that does not answer might, and is waited for."""
        url = "postgresql://u@127.0.0.1:1/db?sslmode=perhaps"
        with pytest.raises(ConfigurationError, match="MAINSTAY_POSTGRES_URL"):
            async with serve_ratelimit(redis_url, postgres_url=url):
                pass
