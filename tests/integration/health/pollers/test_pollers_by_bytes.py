"""What each poller sends, to the byte, and what it concludes in each state.

HAProxy's and Envoy's bytes were read off the real programs (2.6 and 1.40), which poll us in the
tests beside this one; those of AWS, Kubernetes and NGINX Plus are our reading of their manuals.
"""

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from mainstay.grpc_health.v1 import health_pb2 as pb
from services.health.maintenance import Mode
from services.health.state import State
from tests.integration.health.plain_http import Answer, send
from tests.integration.health.stand import ONE, OTHER, REDIS, Stand, open_stand

OF_CACHE = {
    "starting": 503,
    "healthy": 200,
    "degraded": 200,
    "unhealthy": 503,
    "unknown": 503,
    "maintenance": 503,
    "drain": 503,
    "healthy again": 200,
}
OF_INSTANCE = {"starting": 503, **dict.fromkeys([*OF_CACHE][1:], 200), "unknown": 503}
# That of another instance than the cache's: it goes on telling of the cache.
LEAVING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Poller:
    """Somebody who asks.

    Attributes:
        request: What it sends; `{path}` is what it was configured with.
        healthy: The statuses that it takes for health, as configured in the guide.
        paths: What it was configured with.

    """

    request: str
    healthy: Collection[int]
    paths: tuple[str, ...] = ("/readyz/cache", "/readyz")


SUCCESS = range(200, 400)
POLLERS = {
    "ALB": Poller(
        request="GET {path} HTTP/1.1\r\nHost: 10.0.0.9:8080\r\nConnection: close\r\n"
        "User-Agent: ELB-HealthChecker/2.0\r\nAccept-Encoding: gzip, compressed\r\n\r\n",
        healthy={200},
    ),
    "NLB": Poller(
        request="GET {path} HTTP/1.1\r\nHost: 10.0.0.9:8080\r\nConnection: close\r\n"
        "User-Agent: ELB-HealthChecker/2.0\r\n\r\n",
        healthy=SUCCESS,
    ),
    "HAProxy": Poller(request="OPTIONS {path} HTTP/1.0\r\n\r\n", healthy=SUCCESS),
    "HAProxy with GET": Poller(request="GET {path} HTTP/1.0\r\n\r\n", healthy=SUCCESS),
    "HAProxy by default": Poller(
        request="OPTIONS {path} HTTP/1.0\r\n\r\n", healthy=SUCCESS, paths=("/",)
    ),
    "NGINX Plus": Poller(
        request="GET {path} HTTP/1.0\r\nHost: 10.0.0.9\r\nConnection: close\r\n"
        "User-Agent: nginx (health check)\r\n\r\n",
        healthy=SUCCESS,
    ),
    "Envoy": Poller(
        request="GET {path} HTTP/1.1\r\nhost: cache\r\nuser-agent: Envoy/HC\r\n\r\n", healthy={200}
    ),
    "Envoy with HEAD": Poller(
        request="HEAD {path} HTTP/1.1\r\nhost: cache\r\nuser-agent: Envoy/HC\r\n\r\n",
        healthy={200},
    ),
    "Kubernetes": Poller(
        request="GET {path} HTTP/1.1\r\nHost: 10.0.0.9:8080\r\nUser-Agent: kube-probe/1.31\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n",
        healthy=SUCCESS,
    ),
}


async def life_of(stand: Stand) -> AsyncIterator[str]:
    """Go through every state, from before the start to the drain of the instance itself."""
    yield "starting"
    stand.see(State.HEALTHY)
    await stand.serve()
    yield "healthy"
    stand.see(State.UNHEALTHY, REDIS)
    yield "degraded"
    stand.see(State.UNHEALTHY, ONE, OTHER)
    yield "unhealthy"
    stand.see(State.HEALTHY, age=3600)
    yield "unknown"
    stand.see(State.HEALTHY)
    for mode in (Mode.MAINTENANCE, Mode.DRAIN):
        stand.take_out("cache", mode)
        yield mode.value
    stand.bring_back()
    yield "healthy again"
    await stand.drain()
    yield LEAVING


async def life_seen_by(poller: Poller, path: str) -> dict[str, Answer]:
    """Return what it is answered in each state."""
    request = poller.request.format(path=path).encode()
    async with open_stand(serving=False) as stand:
        return {state: await send(stand.http.port, request) async for state in life_of(stand)}


CASES = [(name, path) for name, poller in POLLERS.items() for path in poller.paths]


class TestHttpPollers:
    @pytest.mark.parametrize(("name", "path"), CASES)
    async def test_conclude_what_is_true(self, name: str, path: str) -> None:
        """In every state, from the status and the headers alone."""
        poller = POLLERS[name]
        of_cache = path == "/readyz/cache"
        expected = {**(OF_CACHE if of_cache else OF_INSTANCE), LEAVING: 200 if of_cache else 503}
        seen = await life_seen_by(poller, path)

        assert expected == {state: answer.status for state, answer in seen.items()}
        for state, answer in seen.items():
            assert (answer.status in poller.healthy) == (expected[state] == 200)
            assert ("retry-after" in answer.headers) == (answer.status == 503)
            assert ("x-envoy-degraded" in answer.headers) == (of_cache and state == "degraded")
            assert answer.headers["cache-control"] == "no-store"
            assert int(answer.headers["content-length"]) < 1024  # as much as Envoy reads


Conclude = Callable[[grpc.StatusCode, bytes], bool]
CHECK = "/grpc.health.v1.Health/Check"
READY = "/mainstay.health.v1.HealthService/Ready"


def serves(code: grpc.StatusCode, message: bytes) -> bool:
    """Conclude as all do that speak grpc.health.v1."""
    status = pb.HealthCheckResponse.FromString(message).status
    return code is grpc.StatusCode.OK and status == pb.HealthCheckResponse.SERVING


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcPoller:
    """Somebody who calls; `instance` says that it asks about the instance alone."""

    method: str
    message: bytes
    healthy: Conclude
    instance: bool = False


OF_THE_CACHE = pb.HealthCheckRequest(service="cache").SerializeToString()
GRPC_POLLERS = {
    "ALB by default": GrpcPoller(
        method="/AWS.ALB/healthcheck",
        message=b"",
        healthy=lambda code, _: code is grpc.StatusCode.UNIMPLEMENTED,
        instance=True,
    ),
    "ALB with Ready": GrpcPoller(
        method=READY,
        message=b"",
        healthy=lambda code, _: code is grpc.StatusCode.OK,
        instance=True,
    ),
    "Envoy": GrpcPoller(method=CHECK, message=OF_THE_CACHE, healthy=serves),
    "NGINX Plus": GrpcPoller(method=CHECK, message=OF_THE_CACHE, healthy=serves),
    "Kubernetes": GrpcPoller(method=CHECK, message=b"", healthy=serves, instance=True),
}


async def called(stand: Stand, poller: GrpcPoller) -> bool:
    """Return what it concludes from one call, over a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(stand.service.address, options=options) as channel:
        method: Any = channel.unary_unary(poller.method)
        try:
            answer = await method(poller.message, timeout=5)
        except grpc.aio.AioRpcError as error:
            return poller.healthy(error.code(), b"")
    return poller.healthy(grpc.StatusCode.OK, answer)


class TestGrpcPollers:
    @pytest.mark.parametrize("name", GRPC_POLLERS)
    async def test_conclude_what_is_true(self, name: str) -> None:
        """In every state; before the start the port is closed, which is no health either."""
        poller = GRPC_POLLERS[name]
        expected = {state: status == 200 for state, status in OF_CACHE.items()} | {LEAVING: True}
        if poller.instance:
            expected = dict.fromkeys(expected, True) | {"starting": False, LEAVING: False}
        if name == "ALB with Ready":
            expected["unknown"] = False  # it asks whether this instance knows anything
        async with open_stand(serving=False) as stand:
            found = {state: await called(stand, poller) async for state in life_of(stand)}

        assert expected == found
