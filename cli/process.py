"""A child process that is never lost: its log, its lock, and its end with its parent's.

Every process that `mainstay` starts holds an exclusive lock on a file of its own for as long as it
(or anything it forked) lives: the descriptor is inherited. So whoever comes next can tell a server
that runs from one that left a file behind, whatever happened to the parent, and two servers can
never meet on one data directory.
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cli.account import Account
from cli.family import family, signal_all
from cli.launch import launched
from cli.lock import holder, open_lock, try_lock

POLL_INTERVAL = 0.02
STOP_GRACE = 10.0
LOG_TAIL_LINES = 15
LOG_TAIL_BYTES = 16 * 1024


class ChildError(Exception):
    """A child process could not be started or stopped; the message names it and its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run, and how it wants to be ended."""

    name: str
    argv: Sequence[str]
    directory: Path
    log: Path
    lock: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None
    input: Path = Path(os.devnull)
    stop_signal: signal.Signals = signal.SIGTERM


class Child:
    """One running process. Made by `Child.start`, ended by `stop` or `kill`."""

    def __init__(
        self, command: Command, process: subprocess.Popen[bytes], log_begin: int = 0
    ) -> None:
        self.command = command
        self._process = process
        self._log_begin = log_begin

    @classmethod
    async def start(cls, command: Command) -> "Child":
        """Start the process, after ending whatever an earlier, killed parent left on its lock.

        Must be called in the main thread: Linux ties a child's death signal to the thread that
        forked it. Raises ChildError.
        """
        command.log.parent.mkdir(parents=True, exist_ok=True)
        log_begin = command.log.stat().st_size if command.log.exists() else 0
        lock = open_lock(command.lock)
        try:
            await _take(lock, command.lock, name=command.name, stop_signal=command.stop_signal)
            return cls(command, _spawn(command, lock), log_begin)
        except (OSError, subprocess.SubprocessError) as exc:
            raise ChildError(f"{command.name} could not be started: {exc}") from exc
        finally:
            os.close(lock)  # the child has its own copy of the descriptor

    @property
    def name(self) -> str:
        return self.command.name

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative = the signal that ended it."""
        return self._process.poll()

    async def exited(self) -> int:
        """Wait for the end, however it comes."""
        # Polled, because waiting in asyncio would tie the child to one event loop.
        while (code := self._process.poll()) is None:  # noqa: ASYNC110
            await asyncio.sleep(POLL_INTERVAL)
        return code

    async def stop(self, *, grace: float = STOP_GRACE) -> int:
        """Ask it to end, wait `grace` seconds, then SIGKILL. Returns its exit code."""
        self.send(self.command.stop_signal)
        try:
            async with asyncio.timeout(grace):
                return await self.exited()
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """End it and everything it started with SIGKILL."""
        self.send_all(signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # its session outlives it as long as a child does
        return await self.exited()

    def send_all(self, number: signal.Signals) -> None:
        """Send a signal to it and everything it started."""
        if self.returncode is None:
            signal_all(family(self.pid), number)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)  # does nothing once the process was reaped

    def how_it_ended(self) -> str:
        match self.returncode:
            case None:
                return "still runs"
            case code if code < 0:
                return f"was ended by {signal.Signals(-code).name}"
            case code:
                return f"exited with code {code}"

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """Return the last lines this process wrote; what stood in its log before is not its own."""
        with self.command.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_begin if self._log_begin <= end else 0, end - LOG_TAIL_BYTES))
            text = log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:]) or "(it wrote nothing)"


def _spawn(command: Command, lock: int) -> subprocess.Popen[bytes]:
    argv = launched(
        [*command.argv], lock=lock, stop_signal=command.stop_signal, account=command.account
    )
    with command.log.open("ab") as log, command.input.open("rb") as source:
        return subprocess.Popen(
            argv,
            cwd=command.directory,
            env={**os.environ, **command.environment},
            stdin=source,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
            # Ctrl-C in a terminal reaches a whole process group: children are ended in order by
            # their parent, not all at once by the keyboard.
            start_new_session=True,
        )


async def end_left_over(
    name: str, lock: Path, stop_signal: signal.Signals = signal.SIGTERM
) -> None:
    """End whatever an earlier, killed parent left on this lock. Raises ChildError."""
    descriptor = open_lock(lock)
    try:
        await _take(descriptor, lock, name=name, stop_signal=stop_signal)
    finally:
        os.close(descriptor)


async def _take(lock: int, path: Path, *, name: str, stop_signal: signal.Signals) -> None:
    """Take the lock; a process that still holds it is asked to end, then killed."""
    for number in (stop_signal, signal.SIGKILL):
        asked: int | None = None
        deadline = time.monotonic() + STOP_GRACE
        while time.monotonic() < deadline:
            if try_lock(lock):
                return
            # It may have begun a moment ago and not have signed yet: look again until it has.
            if asked is None and (asked := holder(lock)) is not None:
                _tell(asked, number)
            await asyncio.sleep(POLL_INTERVAL)
    raise ChildError(
        f"{name} still runs (process {holder(lock) or 'unknown'}) and does not end; "
        f"end whatever holds {path} by hand"
    )


def _tell(pid: int, number: signal.Signals) -> None:
    """Ask a process to end, or kill it with all it started."""
    members = family(pid)
    signal_all(members if number == signal.SIGKILL else [pid], number)
    signal_all(members, signal.SIGCONT)  # a frozen one would never see the first
