"""What an embedded Redis and an embedded PostgreSQL have in common: start, ready, stop."""

import abc
import asyncio
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.ports import free_port
from cli.process import Child, ChildError, Command

READY_TIMEOUT = 20.0
START_ATTEMPTS = 3  # another program may take the free port between choosing and binding it


class EmbeddedServerError(Exception):
    """An embedded server did not start; the message names its log file."""


class EmbeddedServer(abc.ABC):
    """A real server on a loopback port with its data under one directory.

    Use it as an async context manager or through `start` and `stop`. The port is chosen at the
    first start and kept: a server that was stopped or killed comes back under the same `url`.
    """

    name: str

    def __init__(self, directory: Path, *, port: int = 0, log: Path | None = None) -> None:
        """`port` is a wish: taken if free. `log` defaults to a file in the directory."""
        self.directory = directory.absolute()
        self.log = log.absolute() if log else self.directory / f"{self.name}.log"
        self._wanted_port = port
        self._port: int | None = None
        self._child: Child | None = None

    @property
    def port(self) -> int:
        if self._port is None:
            raise EmbeddedServerError(f"{self.name} was never started, so it has no port")
        return self._port

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """The address for clients, known after the first start."""

    @property
    def child(self) -> Child:
        if self._child is None:
            raise EmbeddedServerError(f"{self.name} is not running")
        return self._child

    async def start(self) -> None:
        """Start it and wait until it answers. Raises EmbeddedServerError."""
        await self._prepare()
        for attempt in range(1, START_ATTEMPTS + 1):
            port = self._port or free_port(self._wanted_port)
            try:
                self._child = await Child.start(self._command(port))
            except ChildError as exc:
                raise EmbeddedServerError(str(exc)) from exc
            if await self._becomes_ready(self._child, port):
                self._port = port
                return
            if attempt == START_ATTEMPTS or not self._port_was_taken(self._child):
                raise EmbeddedServerError(
                    f"{self.name} {self._child.how_it_ended()} while starting; "
                    f"log: {self.log}\n{self._child.log_tail()}"
                )

    async def stop(self) -> None:
        """Stop it cleanly, by force after ten seconds. Does nothing if it is not running."""
        if self._child is not None:
            self.resume()  # a stopped process would sleep through the signal that ends it
            await self._child.stop()
            self._child = None

    async def kill(self) -> None:
        """End it with SIGKILL, as a crash would. Does nothing if it is not running."""
        if self._child is not None:
            await self._child.kill()
            self._child = None

    def pause(self) -> None:
        """Freeze it with all its processes: connections stay open and nothing answers."""
        self.child.send_all(signal.SIGSTOP)

    def resume(self) -> None:
        self.child.send_all(signal.SIGCONT)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @abc.abstractmethod
    async def _prepare(self) -> None:
        """Make what has to be there before a start."""

    @abc.abstractmethod
    def _command(self, port: int) -> Command: ...

    @abc.abstractmethod
    async def _answers(self, port: int) -> bool: ...

    async def _becomes_ready(self, child: Child, port: int) -> bool:
        """Whether it answers; False when it ended instead. Raises when it does neither."""
        deadline = time.monotonic() + READY_TIMEOUT
        while time.monotonic() < deadline:
            if child.returncode is not None:
                return False
            if await self._answers(port):
                return True
            await asyncio.sleep(0.02)
        await child.kill()
        raise EmbeddedServerError(
            f"{self.name} did not answer on 127.0.0.1:{port} within {READY_TIMEOUT:.0f} s; "
            f"log: {self.log}\n{child.log_tail()}"
        )

    @staticmethod
    def _port_was_taken(child: Child) -> bool:
        return "already in use" in child.log_tail()
