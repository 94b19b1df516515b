"""The standard health protocol, with a Watch that no watcher can wedge.

Each watcher has an event of its own and reads the latest state when it wakes: a peer that takes no
messages delays nobody, and nothing queues up for it.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeAlias

from mainstay.errors import NotFoundError, UnavailableError
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from shared.rpc.policy import MethodPolicy

SERVER = ""
"""The name under which the server as a whole answers."""

MAX_WATCHERS = 1_000

Response = health_pb2.HealthCheckResponse
Status: TypeAlias = "health_pb2.HealthCheckResponse.ServingStatus.ValueType"

METHODS = {
    "Check": MethodPolicy(admission=False, quiet=True),
    "List": MethodPolicy(admission=False, quiet=True),
    "Watch": MethodPolicy(
        admission=False, quiet=True, default_deadline=float("inf"), max_deadline=float("inf")
    ),
}


class HealthRegistry:
    """Knows which services of this process take calls, and wakes those who watch."""

    def __init__(self) -> None:
        self._services: list[str] = [SERVER]
        self._serving = False
        self._closed = False
        self._watchers: set[asyncio.Event] = set()

    def add(self, service: str) -> None:
        """Answer for `package.Service` too."""
        self._services.append(service)

    @property
    def services(self) -> list[str]:
        """Return the names answered for, the server itself first."""
        return list(self._services)

    @property
    def serving(self) -> bool:
        """Return whether calls are welcome."""
        return self._serving

    def set_serving(self, *, serving: bool) -> None:
        """Change the answer for every service and tell the watchers."""
        self._serving = serving
        self._wake()

    def close(self) -> None:
        """End every Watch, so that none holds up the shutdown."""
        self._closed = True
        self._serving = False
        self._wake()

    def status(self, service: str) -> Status:
        """Return the state of one service."""
        if service not in self._services:
            return Response.SERVICE_UNKNOWN
        return Response.SERVING if self._serving else Response.NOT_SERVING

    async def watch(self, service: str) -> AsyncIterator[Status]:
        """Yield the state now and after every change that its reader was awake for."""
        if len(self._watchers) >= MAX_WATCHERS:
            raise UnavailableError(
                f"{MAX_WATCHERS} watchers are connected already; poll Check instead",
                reason="TOO_MANY_WATCHERS",
            )
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            last: Status | None = None
            while True:
                changed.clear()
                status = self.status(service)
                if status != last:
                    last = status
                    yield status  # and look again: it may have changed while this was on its way
                elif self._closed:
                    return
                else:
                    await changed.wait()
        finally:
            self._watchers.discard(changed)

    def _wake(self) -> None:
        for changed in self._watchers:
            changed.set()


class HealthServicer(health_pb2_grpc.HealthServicer):
    """`grpc.health.v1.Health` over a registry."""

    def __init__(self, registry: HealthRegistry) -> None:
        self._registry = registry

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: object
    ) -> health_pb2.HealthCheckResponse:
        status = self._registry.status(request.service)
        if status == Response.SERVICE_UNKNOWN:
            raise NotFoundError(
                f"no service {request.service[:100]!r} here; List names those there are",
                resource_type="service",
                resource_name=request.service[:100],
            )
        return Response(status=status)

    async def List(
        self, request: health_pb2.HealthListRequest, context: object
    ) -> health_pb2.HealthListResponse:
        registry = self._registry
        return health_pb2.HealthListResponse(
            statuses={name: Response(status=registry.status(name)) for name in registry.services}
        )

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: object
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        async for status in self._registry.watch(request.service):
            yield Response(status=status)
