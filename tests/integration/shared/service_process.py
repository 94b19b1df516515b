"""A service as its operating system sees it: an environment, lines, signals, an exit code."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from cli.embedded.redis import RedisServer
from mainstay.cache.client import CacheClient
from mainstay.channel import Channel
from tests.integration.health.plain_http import ask

POLICIES = Path(__file__).parents[3] / "policies"
PATIENCE = 20.0


class ServiceProcess:
    """One running process; its JSON lines are read as they come."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.errors = ""
        self._more = asyncio.Condition()
        self._readers = [
            asyncio.create_task(self._read_lines()),
            asyncio.create_task(self._read_errors()),
        ]

    async def _read_lines(self) -> None:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            if not raw.endswith(b"\n"):
                break  # it was killed in the middle of a line
            async with self._more:
                self.lines.append(json.loads(raw))
                self._more.notify_all()

    async def _read_errors(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            self.errors += raw.decode()

    async def line(
        self, event: str, number: int = 1, *, within: float = PATIENCE
    ) -> dict[str, Any]:
        """Wait for the line with this event, or for the `number`th of them."""
        async with asyncio.timeout(within), self._more:
            await self._more.wait_for(lambda: len(self.events(event)) >= number)
        return self.events(event)[number - 1]

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the lines with this event so far."""
        return [line for line in self.lines if line["event"] == event]

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def exited(self) -> int:
        """Wait for the end and return the exit code."""
        async with asyncio.timeout(PATIENCE):
            code = await self.process.wait()
            await asyncio.gather(*self._readers)
        return code

    async def end(self) -> None:
        """Kill whatever still runs of it and of what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        await asyncio.gather(*self._readers)


def cache_process(**settings: object) -> AbstractAsyncContextManager[ServiceProcess]:
    """Start the cache on free ports."""
    return service_process("cache", **{"cache_port": 0, "cache_ops_port": 0, **settings})


def ratelimit_process(**settings: object) -> AbstractAsyncContextManager[ServiceProcess]:
    """Start the rate limits on free ports."""
    ports = {"ratelimit_port": 0, "ratelimit_ops_port": 0}
    return service_process("ratelimit", **{**ports, **settings})


@asynccontextmanager
async def service_process(service: str, **settings: object) -> AsyncIterator[ServiceProcess]:
    """Start `python -m services.<service>` with nothing but these settings, `MAINSTAY_` in front.

    The policies are those of the repository where no others are named.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("MAINSTAY_")
    }
    chosen = {
        f"MAINSTAY_{name}".upper(): str(value)
        for name, value in {"policies_dir": POLICIES, **settings}.items()
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"services.{service}",
        env={**inherited, **chosen},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    running = ServiceProcess(process)
    try:
        yield running
    finally:
        await running.end()


@asynccontextmanager
async def held_call(
    process: ServiceProcess, redis: RedisServer, ops_ports: Sequence[int] = ()
) -> AsyncIterator["asyncio.Task[object]"]:
    """Begin a call that waits for a Redis that is frozen, until the block lets it go on."""
    ready = await process.line("service_ready")
    async with Channel(ready["address"], timeout=15) as channel:
        client = CacheClient(channel)
        await client.set("n", "k", b"value")
        redis.pause()
        try:
            call: asyncio.Task[object] = asyncio.create_task(client.get("n", "k"))
            await until_in_flight(ops_ports or [port_of(ready["operations"])])
            yield call
        finally:
            redis.resume()
            await asyncio.gather(call, return_exceptions=True)


async def until_in_flight(ops_ports: Sequence[int]) -> None:
    """Wait until one of the processes handles a call."""
    wanted = b"mainstay_rpc_server_calls_in_flight 1.0"
    async with asyncio.timeout(10):
        while not any([wanted in (await ask(port, "/metrics")).body for port in ops_ports]):
            pass


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])
