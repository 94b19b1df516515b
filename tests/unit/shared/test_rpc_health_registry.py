"""What watchers of health are told."""

from mainstay.grpc_health.v1 import health_pb2
from shared.rpc.health import SERVER, HealthRegistry

Response = health_pb2.HealthCheckResponse


class TestWatch:
    async def test_tells_of_the_end_that_came_while_it_was_telling(self) -> None:
        """A message that is slow on its way must not hide the one after it."""
        registry = HealthRegistry()
        registry.set_serving(serving=True)
        watch = registry.watch(SERVER)
        first = await anext(watch)
        registry.set_serving(serving=False)
        registry.close()
        rest = [status async for status in watch]

        assert (first, rest) == (Response.SERVING, [Response.NOT_SERVING])
