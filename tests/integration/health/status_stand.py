"""The status page behind a real server, and a suite that fails when the test says so."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.requests import Request

from services.health.changes import Changes
from services.health.history import History, Incident
from services.health.latencies import Latencies
from services.health.live import Streams
from services.health.page import page_routes
from services.health.page_board import Sources
from services.health.ports import ProbeError
from services.health.prober import Prober
from services.health.snapshot import Snapshot
from services.health.state import Damping
from services.health.target import replica
from shared.http import HttpServer
from tests.unit.health.status_samples import REPLICAS, TARGETS, histories, incidents

DETAILS = {"authorization": "Bearer please"}


class Scripted:
    """A probe that passes until it is told why not."""

    def __init__(self) -> None:
        self.message = ""

    async def ask(self, request_id: str) -> str:
        if self.message:
            raise ProbeError(self.message)
        return ""

    async def close(self) -> None:
        """Have nothing to give back."""


class WatchedStreams(Streams):
    """Streams that can be waited for: the server learns a moment late that a reader has left."""

    def __init__(self, changes: Changes, *, limit: int, heartbeat: float) -> None:
        self._open = 0
        self._moved = asyncio.Event()
        super().__init__(changes, limit=limit, heartbeat=heartbeat)

    @property
    def count(self) -> int:
        return self._open

    @count.setter
    def count(self, number: int) -> None:
        self._open = number
        self._moved.set()

    async def until_open(self, count: int) -> None:
        """Wait until so many are open."""
        async with asyncio.timeout(10):
            while self._open != count:
                self._moved.clear()
                await self._moved.wait()


class StatusStand:
    """The page on a port of its own; `fail` and `recover` change what it shows."""

    def __init__(self, *, limit: int, heartbeat: float) -> None:
        probed = [target.name for target in TARGETS if target.name not in REPLICAS]
        probed += [replica(name, each).name for name, them in REPLICAS.items() for each in them]
        self.probes = {name: Scripted() for name in probed}
        snapshot = Snapshot.empty(
            TARGETS, damping=Damping(rise=1, fall=1, stale_after=3600), time=datetime.now(UTC)
        )
        for name, addresses in REPLICAS.items():
            snapshot = snapshot.with_replicas(name, [replica(name, each) for each in addresses])
        self.prober = Prober(self.probes, snapshot, interval=3600, timeout=5)
        self.changes = Changes(self.prober.report)
        self.streams = WatchedStreams(self.changes, limit=limit, heartbeat=heartbeat)
        self.shows_details = True
        self.histories: Mapping[str, History] = {}
        self.incidents: list[Incident] = []
        latencies = Latencies(service_of=lambda name: name.split("/")[0])
        self.prober.listen(latencies.noticed)
        self.prober.listen(lambda _: self.changes.look())
        routes = page_routes(
            Sources(
                report=self.prober.report,
                histories=lambda: self.histories,
                incidents=lambda: self.incidents,
                latencies=latencies.of,
            ),
            self.changes,
            sees_details=self._sees_details,
            streams=self.streams,
        )
        self.app = Starlette(routes=routes)
        self.http = HttpServer("status", self.app, "127.0.0.1", 0)

    async def _sees_details(self, request: Request) -> bool:
        named = request.headers.get("authorization") == DETAILS["authorization"]
        return named and self.shows_details

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.port}/"

    async def fail(self, name: str, message: str) -> None:
        self.probes[name].message = message
        await self.prober.run_once()

    async def recover(self, name: str) -> None:
        await self.fail(name, "")

    async def reopen(self) -> None:
        """Serve on the same port again, after `http.close()`."""
        self.http = HttpServer("status", self.app, "127.0.0.1", self.http.port)
        await self.http.start()


@asynccontextmanager
async def status_stand(*, limit: int = 20, heartbeat: float = 3600) -> AsyncIterator[StatusStand]:
    """Run one; its streams end before its server does, as in the service."""
    stand = StatusStand(limit=limit, heartbeat=heartbeat)
    now = datetime.now(UTC)
    stand.histories = histories([target.name for target in TARGETS], now)
    stand.incidents = incidents(now, ongoing=False)
    await stand.prober.run_once()
    looking = asyncio.create_task(stand.changes.run())
    await stand.http.start()
    try:
        yield stand
    finally:
        await stand.changes.drain()
        await stand.http.close()
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
