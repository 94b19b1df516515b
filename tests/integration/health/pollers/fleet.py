"""Services that fail and recover, and real programs that poll us meanwhile."""

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from cli.ports import free_ports
from cli.process import Child, Command
from services.health.probe_grpc import GrpcProbe
from services.health.target import Target, replica
from shared.config import CommonSettings
from shared.service import Service
from tests.integration.health.stand import Stand, open_stand

GUIDE = Path(__file__).parents[4] / "docs" / "load-balancers.md"
WAIT = 30.0
REQUIRE = "MAINSTAY_REQUIRE_POLLERS"


class Replica:
    """A service of the suite with nothing to serve but its health.

    Who it is, it says at /livez, and over gRPC by knowing its own name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.port, self.ops_port = free_ports(2)
        self._life: AsyncExitStack | None = None

    @property
    def target(self) -> Target:
        """What it is called in reports."""
        return replica("cache", f"127.0.0.1:{self.port}")

    async def start(self) -> None:
        """Serve, on the same ports as before."""
        self._life = AsyncExitStack()
        settings = CommonSettings(shutdown_grace=0)
        service = Service(self.name, settings, port=self.port, ops_port=self.ops_port)
        service._rpc.health.add(self.name)
        await self._life.enter_async_context(service.running())

    async def stop(self) -> None:
        """Be gone."""
        if self._life is not None:
            await self._life.aclose()
            self._life = None


@asynccontextmanager
async def replicas(*names: str) -> AsyncIterator[list[Replica]]:
    """Run some within the block."""
    running = [Replica(name) for name in names]
    try:
        for each in running:
            await each.start()
        yield running
    finally:
        for each in running:
            await each.stop()


@asynccontextmanager
async def watching(*watched: Replica, drain_status: int = 503) -> AsyncIterator[Stand]:
    """Run a health service that probes these ten times a second."""
    probes = {each.target: GrpcProbe(f"127.0.0.1:{each.port}", timeout=0.5) for each in watched}
    async with open_stand(replicas=probes, drain_status=drain_status) as stand:
        yield stand


def program(name: str) -> str:
    """Return where a program is; without it the test is skipped, or fails where it is required."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        reason = f"{name} is not installed; scripts/install_pollers.sh does it"
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@asynccontextmanager
async def running(name: str, argv: list[str], directory: Path) -> AsyncIterator[None]:
    """Run a program within the block; what it wrote is shown when the block fails."""
    log = directory / f"{name}.log"
    command = Command(
        name=name, argv=argv, directory=directory, log=log, lock=directory / f"{name}.lock"
    )
    child = await Child.start(command)
    try:
        yield
    except BaseException as error:
        error.add_note(f"{name} wrote: {log.read_text()[-2000:]}")
        raise
    finally:
        await child.kill()


def guide(heading: str) -> str:
    """Return the first piece of configuration below a heading of the guide."""
    text = GUIDE.read_text(encoding="utf-8")
    _, found, below = text.partition(f"\n## {heading}\n")
    assert found, f"no heading {heading!r} in {GUIDE.name}"
    piece = re.search(r"```\w+\n(.*?)```", below.partition("\n## ")[0], re.DOTALL)
    assert piece is not None
    return piece.group(1)


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """Return a text with every one of these replaced; each must be there."""
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in the guide"
        text = text.replace(old, new)
    return text


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds in a program of somebody else's, which only polling can tell."""
    async with asyncio.timeout(WAIT):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


class Client:
    """Asks through the program under test who answers there."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    async def who(self, path: str = "/livez") -> str:
        """Return the name of the service that answered, or the status or fault where none did."""
        # A connection of its own: what balancers choose, they choose for connections.
        try:
            async with httpx.AsyncClient(base_url=self._base, timeout=5) as client:
                answer = await client.get(path)
        except httpx.TransportError as error:
            # HAProxy hangs up on connections to a server that it takes out at that moment.
            return type(error).__name__
        if answer.status_code != httpx.codes.OK:
            return str(answer.status_code)
        name: str = json.loads(answer.content)["service"]
        return name

    async def settles_on(self, *names: str) -> bool:
        """Wait until calls are answered by these and no other, and none is refused."""
        found: set[str] = set()

        async def holds() -> bool:
            found.clear()
            found.update([await self.who() for _ in range(8)])
            return found == set(names)

        try:
            await until(holds)
        except TimeoutError as error:
            raise AssertionError(f"{found} answered, not {set(names)}") from error
        return True
