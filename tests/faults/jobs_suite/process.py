"""A process that is started again and again."""

import asyncio
import signal

import grpc

from cli.process import Child, Command

PATIENCE = 60.0


class Process:
    """What a command starts, on `host` and `port` if it takes calls; `starts` counts."""

    def __init__(
        self, name: str, command: Command, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.name = name
        self.host = host
        self.port = port
        self.command = command
        self.starts = 0
        self._child: Child | None = None

    async def start(self) -> None:
        """Start it, again if need be."""
        self._child = await Child.start(self.command)
        self.starts += 1

    @property
    def runs(self) -> bool:
        return self._child is not None and self._child.returncode is None

    async def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        if self._child is not None:
            await self._child.stop()

    async def kill(self) -> None:
        """End it with SIGKILL, if it still runs."""
        if self._child is not None:
            await self._child.kill()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and all it has started."""
        if self._child is not None:
            self._child.send_all(number)

    def how_it_ended(self) -> str:
        """Return how, with its last lines."""
        assert self._child is not None
        return f"{self._child.how_it_ended()}: {self._child.log_tail(3)}"

    async def answers(self) -> None:
        """Wait until its port takes calls."""
        # It is asked again soon: by default a failure costs a second, and ever more.
        soon = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
        address = f"{self.host}:{self.port}"
        async with grpc.aio.insecure_channel(address, options=soon) as channel:
            async with asyncio.timeout(PATIENCE):
                await channel.channel_ready()
