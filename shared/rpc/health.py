"""The standard health protocol, with a Watch that no watcher can wedge.

Each watcher has an event of its own and reads the latest state when it wakes: a peer that takes no
messages delays nobody, and nothing queues up for it.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Protocol, TypeAlias

from mainstay.errors import NotFoundError, QuotaError, UnavailableError
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from shared.identity.scopes import OPEN
from shared.rpc.policy import MethodPolicy

SERVER = ""
"""The name under which the server as a whole answers."""

MAX_WATCHERS = 1_000
MAX_LISTED = 100
"""Names that List answers with at most, as gRFC A90 has it."""

Response = health_pb2.HealthCheckResponse
Status: TypeAlias = "health_pb2.HealthCheckResponse.ServingStatus.ValueType"

METHODS = {
    "Check": MethodPolicy(admission=False, quiet=True, scope=OPEN),
    "List": MethodPolicy(admission=False, quiet=True, scope=OPEN),
    "Watch": MethodPolicy(
        admission=False,
        quiet=True,
        default_deadline=float("inf"),
        max_deadline=float("inf"),
        scope=OPEN,
    ),
}


class Named(Protocol):
    """What else may be asked about here, by names that are no services of this process."""

    def names(self) -> Collection[str]:
        """Return the names there are now."""
        ...

    def serving(self, name: str) -> bool | None:
        """Return whether it takes calls; None when there is none of that name. It does no I/O."""
        ...


class HealthRegistry:
    """Knows which services of this process take calls, and wakes those who watch."""

    def __init__(self) -> None:
        self._services: list[str] = [SERVER]
        self._named: list[Named] = []
        self._serving = False
        self._started = False
        self._closed = False
        self._watchers: set[asyncio.Event] = set()

    def add(self, service: str) -> None:
        """Answer for `package.Service` too."""
        self._services.append(service)

    def add_named(self, named: Named) -> None:
        """Answer for what it names too, also while this process itself takes no calls."""
        self._named.append(named)

    def look_again(self) -> None:
        """Have the watchers look: what is named may have changed."""
        self._wake()

    @property
    def services(self) -> list[str]:
        """Return the services answered for, the server itself first."""
        return list(self._services)

    @property
    def names(self) -> list[str]:
        """Return all that is answered for, the services first."""
        return [*self._services, *(name for each in self._named for name in each.names())]

    @property
    def started(self) -> bool:
        """Return whether calls were welcome at some time."""
        return self._started

    @property
    def serving(self) -> bool:
        """Return whether calls are welcome."""
        return self._serving

    def set_serving(self, *, serving: bool) -> None:
        """Change the answer for every service and tell the watchers."""
        self._serving = serving
        self._started |= serving
        self._wake()

    def close(self) -> None:
        """End every Watch, so that none holds up the shutdown."""
        self._closed = True
        self._serving = False
        self._wake()

    def status(self, service: str) -> Status:
        """Return the state of one service, or of what else is called so."""
        if service in self._services:
            return Response.SERVING if self._serving else Response.NOT_SERVING
        for named in self._named:
            if (serving := named.serving(service)) is not None:
                return Response.SERVING if serving else Response.NOT_SERVING
        return Response.SERVICE_UNKNOWN

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
        names = registry.names
        if len(names) > MAX_LISTED:
            raise QuotaError(
                f"{len(names)} names are more than the {MAX_LISTED} that List answers with; Check "
                "those you need",
                violations={"names": f"{MAX_LISTED} at most; Check asks about one"},
                reason="TOO_MANY_NAMES",
            )
        return health_pb2.HealthListResponse(
            statuses={name: Response(status=registry.status(name)) for name in names}
        )

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: object
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        async for status in self._registry.watch(request.service):
            yield Response(status=status)
