"""A real nginx with the configuration of the guide: it judges by what its clients' calls meet."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cli.ports import free_ports
from mainstay.channel import Channel
from mainstay.errors import MainstayError
from mainstay.grpc_health.v1 import health_pb2 as pb
from mainstay.grpc_health.v1 import health_pb2_grpc as pb_grpc
from tests.integration.health.plain_http import Answer, ask
from tests.integration.health.pollers.fleet import (
    Replica,
    guide,
    program,
    replaced,
    replicas,
    running,
    until,
)
from tests.integration.health.stand import open_stand

FRAME = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{site}
}}
"""


@asynccontextmanager
async def nginx(site: str, port: int, directory: Path) -> AsyncIterator[None]:
    """Run one with this site."""
    file = directory / "nginx.conf"
    file.write_text(FRAME.format(directory=directory, site=site))
    argv = [program("nginx"), "-p", str(directory), "-c", str(file), "-e", "stderr"]
    async with running("nginx", argv, directory):

        async def listens() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        await until(listens)
        yield


async def checked(channel: Channel) -> str:
    """Return the state that a Check through nginx brings, or the class of its error."""
    stub = pb_grpc.HealthStub(channel.raw)
    try:
        response = await channel.unary(stub.Check, pb.HealthCheckRequest(), timeout=5)
    except MainstayError as error:
        return type(error).__name__
    return pb.HealthCheckResponse.ServingStatus.Name(response.status)


class TestHttp:
    async def test_clients_see_none_of_a_drain_or_a_death(self, tmp_path: Path) -> None:
        """A 503 of one instance is asked again of the other, which then gets the calls."""
        (port,) = free_ports(1)
        async with open_stand() as one, open_stand() as other:
            changes = {
                "10.0.0.7:8080": f"127.0.0.1:{one.http.port}",
                "10.0.0.8:8080": f"127.0.0.1:{other.http.port}",
                "listen 8080": f"listen 127.0.0.1:{port}",
                "fail_timeout=10s": "fail_timeout=1s",
            }
            async with nginx(replaced(guide("nginx"), changes), port, tmp_path):
                await one.drain()
                draining = await _answers(port)
                await one.close()
                gone = await _answers(port)
                await other.drain()

                async def refused() -> bool:
                    return (await ask(port, "/readyz")).status in {502, 503}

                await until(refused)

        assert ({200}, {200}) == (
            {answer.status for answer in draining},
            {answer.status for answer in gone},
        )
        assert "no-store" == draining[0].headers["cache-control"]


class TestGrpc:
    async def test_calls_go_on_when_a_replica_dies(self, tmp_path: Path) -> None:
        """And it takes calls again when it is back."""
        (port,) = free_ports(1)
        async with replicas("one", "other") as (one, other):
            changes = {
                "10.0.0.7:50051": f"127.0.0.1:{one.port}",
                "10.0.0.8:50051": f"127.0.0.1:{other.port}",
                "listen 50051": f"listen 127.0.0.1:{port}",
                "fail_timeout=10s": "fail_timeout=1s",
            }
            async with (
                nginx(replaced(guide("nginx for gRPC"), changes), port, tmp_path),
                Channel(f"127.0.0.1:{port}") as channel,
            ):
                found = await _checked_while(one, channel)
                await other.stop()

                async def back() -> bool:
                    return await checked(channel) == "SERVING"

                await one.start()
                await until(back)

        assert {"SERVING"} == found


async def _answers(port: int) -> list[Answer]:
    return [await ask(port, "/readyz") for _ in range(10)]


async def _checked_while(dying: Replica, channel: Channel) -> set[str]:
    """Return what calls bring before and after a replica dies."""
    before = {await checked(channel) for _ in range(5)}
    await dying.stop()
    return before | {await checked(channel) for _ in range(10)}
