"""Redis and PostgreSQL as parties: what they acknowledge survives a kill, and their disk can fill.

Redis writes through (`appendfsync always`), so that a promise that is broken is not Redis's fault.
"""

import asyncio
import signal
from dataclasses import replace

import asyncpg

from cli.embedded.postgres import ROLE, PostgresServer
from cli.embedded.redis import RedisServer
from cli.embedded.server import EmbeddedServer
from cli.process import Command
from tests.faults.suite.wiring import Wiring

REDIS = "redis"
POSTGRES = "postgres"


class DurableRedis(RedisServer):
    """Redis, where its wiring puts it."""

    wiring: Wiring

    def _command(self, port: int) -> Command:
        command = super()._command(port)
        settings = ["--appendfsync", "always", "--bind", self.wiring.host(REDIS)]
        # Redis takes for loopback what is one address; nobody else is in these networks.
        settings += ["--protected-mode", "no"]
        return self.wiring.placed(REDIS, replace(command, argv=[*command.argv, *settings]))

    async def _answers(self, port: int) -> bool:
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection(self.wiring.host(REDIS), port)
                writer.write(b"PING\r\n")
                answer = await reader.readline()
                writer.close()
        except (OSError, TimeoutError):
            return False
        return answer == b"+PONG\r\n"


class WiredPostgres(PostgresServer):
    """PostgreSQL, where its wiring puts it."""

    wiring: Wiring

    def url_of(self, database: str) -> str:
        """Return where a database is, past all that fails."""
        return f"postgresql://{ROLE}@{self.wiring.host(POSTGRES)}:{self.port}/{database}"

    async def _prepare(self) -> None:
        await super()._prepare()
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all {ROLE} 127.77.0.0/16 trust\n")

    def _command(self, port: int) -> Command:
        command = super()._command(port)
        settings = ["-c", f"listen_addresses={self.wiring.host(POSTGRES)}"]
        # Not more of the log than a small disk holds.
        settings += ["-c", "max_wal_size=96MB", "-c", "min_wal_size=32MB"]
        return self.wiring.placed(POSTGRES, replace(command, argv=[*command.argv, *settings]))

    async def _answers(self, port: int) -> bool:
        url = f"postgresql://{ROLE}@{self.wiring.host(POSTGRES)}:{port}/{ROLE}"
        try:
            connection = await asyncpg.connect(url, timeout=1, ssl=False)
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True


class Store:
    """A store as a party."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.name = server.name
        self.starts = 0
        self._server = server

    @property
    def runs(self) -> bool:
        """Whether its process does."""
        child = self._server._child
        return child is not None and child.returncode is None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        await self._server.start()
        self.starts += 1

    async def stop(self) -> None:
        """End it in order."""
        await self._server.stop()

    async def kill(self) -> None:
        """End it with SIGKILL."""
        await self._server.kill()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all its processes."""
        if self.runs:
            self._server.child.send_all(number)

    def how_it_ended(self) -> str:
        """Return how, with its last lines."""
        child = self._server._child
        return "was ended" if child is None else f"{child.how_it_ended()}: {child.log_tail(3)}"
