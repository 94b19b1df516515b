"""A Redis that answers, one that may hang, and one behind a proxy that meddles."""

from collections.abc import AsyncIterator, Iterator

import pytest
import redis as redis_py

from cli.embedded.redis import RedisServer
from shared.redis.client import Redis
from shared.redis.wire import Wire
from tests.integration.shared.links.linking import TIMEOUT, connected
from tests.integration.shared.tcp_proxy import TcpProxy


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with connected(redis_url) as redis:
        yield redis


@pytest.fixture
async def breakable(private_redis: RedisServer) -> AsyncIterator[Redis]:
    """Connect to a server that may hang, with a timeout that is worth waiting for."""
    async with connected(private_redis.url, timeout=TIMEOUT) as redis:
        yield redis


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[TcpProxy]:
    port = int(redis_url.rsplit(":", 1)[1].split("/", maxsplit=1)[0])
    async with TcpProxy.to(port) as proxy:
        yield proxy


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Collect what is written to the socket, write by write."""
    batches: list[bytes] = []
    write_now = Wire.write_now

    def write(wire: Wire, data: bytes) -> None:
        batches.append(data)
        write_now(wire, data)

    monkeypatch.setattr(Wire, "write_now", write)
    return batches


@pytest.fixture
async def proxied(proxy: TcpProxy) -> AsyncIterator[Redis]:
    """Connect through a proxy that meddles."""
    async with connected(f"redis://127.0.0.1:{proxy.port}/0") as redis:
        yield redis


@pytest.fixture
def admin(private_redis: RedisServer) -> Iterator["redis_py.Redis"]:
    """Configure the private server past our client."""
    with redis_py.Redis.from_url(private_redis.url) as connection:
        yield connection
