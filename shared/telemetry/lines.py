"""Where log lines go: collected for a moment, then written together.

A write per line would release the interpreter lock in the middle of every call, and grpcio's thread
takes it at once: that costs several times what the line itself does. Warnings and worse are written
immediately, with all that came before them. A process that is killed loses at most the last
moment's informational lines.
"""

import asyncio
import atexit
import threading
from collections.abc import Callable
from typing import Any, TextIO

from shared.telemetry import metrics

DELAY = 0.05
"""Longest time a line waits, in seconds."""

MAX_CHARACTERS = 256 * 1024
"""More than this is not collected but written."""

UNMADE_CHARACTERS = 300
"""What a line counts for that has not been made yet."""

Unmade = tuple[Callable[[Any], str], Any]


class LineWriter:
    """Writes lines to a stream, in order."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lines: list[str | Unmade] = []
        self._characters = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_thread = 0
        atexit.register(self.flush)

    def add(self, line: str) -> None:
        """Write the line soon."""
        self._collect(line, len(line))

    def add_unmade(self, make: Callable[[Any], str], facts: Any) -> None:
        """Write the line that `make` makes of the facts soon; it is made as late as that."""
        self._collect((make, facts), UNMADE_CHARACTERS)

    def _collect(self, line: str | Unmade, characters: int) -> None:
        self._lines.append(line)
        self._characters += characters
        if self._characters > MAX_CHARACTERS:
            self.flush()
        elif self._timer is None:
            self._arm()

    def add_now(self, line: str) -> None:
        """Write the line, and all before it, at once."""
        self._lines.append(line)
        self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        # A loop's timers are no other thread's business, such as the watchdog's.
        if self._timer is not None and self._timer_thread == threading.get_ident():
            self._timer.cancel()
            self._timer = None
        if not self._lines:
            return
        lines, self._lines, self._characters = self._lines, [], 0
        made = [line if isinstance(line, str) else line[0](line[1]) for line in lines]
        try:
            self._out.write("\n".join(made) + "\n")
            self._out.flush()
        except (OSError, ValueError):
            # A reader that is gone must not end the calls whose lines it took.
            metrics.log_lines_lost.inc(len(made))

    def _arm(self) -> None:
        try:
            self._timer = asyncio.get_running_loop().call_later(DELAY, self.flush)
            self._timer_thread = threading.get_ident()
        except RuntimeError:
            self.flush()  # outside of a loop nobody would come back for it


class LineLogger:
    """What structlog calls with a finished line, by level."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def info(self, line: str) -> None:
        """Write a line that can wait."""
        self._writer.add(line)

    def warning(self, line: str) -> None:
        """Write a line that cannot."""
        self._writer.add_now(line)

    debug = trace = msg = info
    error = critical = fatal = exception = warning
