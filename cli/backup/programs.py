"""PostgreSQL's own programs: which of those that are here fit a server, and how they are run."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.backup.errors import BackupError
from cli.backup.target import Target
from cli.embedded.postgres import postgres_binaries
from cli.embedded.server import EmbeddedServerError

VARIABLE = "MAINSTAY_PG_BIN"
_NEEDED = ("pg_dump", "pg_restore", "psql")
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_TAIL = 2_000
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """A directory of PostgreSQL's programs, and their version."""

    directory: Path
    version: int

    @classmethod
    async def find(cls, *, server: int, given: Path | None) -> "Programs":
        """Return those that are not older than a server of this version.

        Looks where it was told to, else on the PATH and beside the embedded server. Raises
        BackupError with what was found.
        """
        found = []
        for directory in [given] if given else _places():
            version = await _version(directory)
            if version is not None and version >= server:
                return cls(directory=directory, version=version)
            found.append(f"{directory}: {_what(directory, version)}")
        seen = "; ".join(found) or "there are none on the PATH"
        raise BackupError(
            f"the server is PostgreSQL {server}, whose backups need {', '.join(_NEEDED)} of "
            f"version {server} or newer ({seen}); install its client programs, or name their "
            f"directory in {VARIABLE}"
        )

    @asynccontextmanager
    async def running(
        self, program: str, *arguments: str, target: Target | None = None
    ) -> AsyncIterator["Running"]:
        """Run a program for as long as the block takes; what is left of it is killed."""
        process = await asyncio.create_subprocess_exec(
            str(self.directory / program),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(target.environment if target else {})},
            limit=_CHUNK,
        )
        running = Running(program, process)
        try:
            yield running
        finally:
            await running.close()

    async def output(self, program: str, *arguments: str) -> str:
        """Return what a program prints; raises BackupError with its complaint."""
        async with self.running(program, *arguments) as running:
            chunks = [chunk async for chunk in running.chunks()]
            await running.finish()
        return b"".join(chunks).decode(errors="replace")


class Running:
    """One of the programs while it runs."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process
        self._said = b""
        self._listening = asyncio.create_task(self._listen())
        self.lines: asyncio.Queue[str] = asyncio.Queue(1_000)

    async def write(self, data: bytes) -> None:
        """Hand over input; waits until the program takes it. Raises BackupError."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise await self._failure() from None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the output as it comes."""
        assert self._process.stdout is not None
        while chunk := await self._process.stdout.read(_CHUNK):
            yield chunk

    async def finish(self) -> None:
        """Wait for the end; raises BackupError with its complaint unless it ended well."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if await self._process.wait() != 0:
            raise await self._failure()
        await self._listening

    async def close(self) -> None:
        """End what is still there."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def _failure(self) -> BackupError:
        await self._process.wait()
        await self._listening
        said = self._said.decode(errors="replace")
        errors = [line for line in said.splitlines() if "rror" in line or "FATAL" in line]
        return BackupError(f"{self._name} failed: {' '.join(errors or [said.strip()])}")

    async def _listen(self) -> None:
        """Keep the end of what it complains about, and tell what it is at."""
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self._said = (self._said + line)[-_TAIL:]
            if not self.lines.full():
                self.lines.put_nowait(line.decode(errors="replace").strip())


def _places() -> list[Path]:
    on_path = [
        Path(directory)
        for directory in os.environ.get("PATH", "").split(os.pathsep)
        if directory and all(shutil.which(name, path=directory) for name in _NEEDED)
    ]
    try:
        return [*on_path, postgres_binaries()]
    except EmbeddedServerError:
        return on_path


async def _version(directory: Path) -> int | None:
    """Return the version of the programs in a directory, None if one is missing."""
    if not all((directory / name).exists() for name in _NEEDED):
        return None
    process = await asyncio.create_subprocess_exec(
        str(directory / "pg_dump"), "--version", stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    match = _VERSION.search(said.decode(errors="replace"))
    return int(match[1]) if match else None


def _what(directory: Path, version: int | None) -> str:
    if version is not None:
        return f"version {version}"
    missing: Sequence[str] = [name for name in _NEEDED if not (directory / name).exists()]
    return f"lacks {', '.join(missing)}" if missing else "of an unknown version"
