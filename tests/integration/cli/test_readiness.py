"""Whose answer on an operations port counts."""

from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette

from cli.readiness import why_not_ready
from shared.http import HttpServer
from shared.operations import operations_app
from shared.rpc.health import HealthRegistry


async def serve(app: Starlette) -> AsyncIterator[str]:
    """Serve an application; yields its address."""
    server = HttpServer("operations", app, "127.0.0.1", 0)
    await server.start()
    yield f"127.0.0.1:{server.port}"
    await server.close()


@pytest.fixture
def registry() -> HealthRegistry:
    """Return what decides whether the service is ready."""
    return HealthRegistry()


@pytest.fixture
async def cache_operations(registry: HealthRegistry) -> AsyncIterator[str]:
    """Serve the operations port of a service called cache."""
    async for address in serve(operations_app("cache", registry)):
        yield address


class TestWhyNotReady:
    async def test_nothing_to_say_of_one_that_is(
        self, cache_operations: str, registry: HealthRegistry
    ) -> None:
        """The service that was asked for, and it takes calls."""
        registry.set_serving(serving=True)

        assert await why_not_ready(cache_operations, "cache") == ""

    async def test_one_that_starts(self, cache_operations: str) -> None:
        """It answers, and says that it takes no calls yet."""
        assert await why_not_ready(cache_operations, "cache") == "not ready (HTTP 503)"

    async def test_another_service(self, cache_operations: str, registry: HealthRegistry) -> None:
        """Ready, but not the one that was asked for."""
        registry.set_serving(serving=True)
        answer = await why_not_ready(cache_operations, "jobs")

        assert answer == "something else answers (HTTP 200)"

    async def test_another_program(self) -> None:
        """An answer that is no JSON is nobody's readiness."""
        async for address in serve(Starlette()):
            answer = await why_not_ready(address, "cache")

            assert answer == "something else answers (HTTP 404)"
