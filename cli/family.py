"""The processes that a process started, and theirs.

A process group is not enough: each of PostgreSQL's processes leads a session of its own.
"""

import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


def family(pid: int) -> list[int]:
    """Return a process and all that runs below it."""
    children: dict[int, list[int]] = defaultdict(list)
    for child, parent in _processes():
        children[parent].append(child)
    found = [pid]
    for member in found:  # grows on the way
        found += children[member]
    return found


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each that still runs."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _processes() -> Iterator[tuple[int, int]]:
    """Yield every process of the machine with its parent."""
    if _PROC.joinpath("self", "stat").exists():  # Linux, where `ps` is often not installed
        yield from _from_proc()
        return
    listing = subprocess.run(
        ["/bin/ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True
    ).stdout
    for line in listing.splitlines():
        pid, parent = line.split()
        yield int(pid), int(parent)


def _from_proc() -> Iterator[tuple[int, int]]:
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            # It may end while we read.
            with suppress(FileNotFoundError, ProcessLookupError):
                # The parent is the second field after the name, which may hold anything.
                stat = (entry / "stat").read_text(errors="replace")
                yield int(entry.name), int(stat.rpartition(")")[2].split()[1])
