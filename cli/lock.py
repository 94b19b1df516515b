"""Locks on files that end with their holder, and that say who it is.

The lock is `flock`: the kernel drops it when the last process that has the descriptor is gone, so a
killed holder leaves a file behind but never a lock. The file's text names the holder by its pid and
the moment it began; a pid alone could be somebody else's by now.
"""

import fcntl
import os
from pathlib import Path


def open_lock(path: Path) -> int:
    """Open the file of a lock, without taking it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def try_lock(descriptor: int) -> bool:
    """Take the lock if nobody has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sign(descriptor: int) -> None:
    """Name the calling process as the holder."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} {_begun(os.getpid())}\n".encode(), 0)


def holder(descriptor: int) -> int | None:
    """Return the pid of the holder, if it is still the process that signed."""
    pid, _, begun = os.pread(descriptor, 100, 0).decode(errors="replace").strip().partition(" ")
    if not pid.isdecimal() or _begun(int(pid)) != begun:
        return None
    return int(pid)


def _begun(pid: int) -> str:
    """Return when a process began, in clock ticks since boot; empty where there is no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The second field is the program's name in parentheses and may hold anything, spaces included;
    # the 22nd field of proc_pid_stat(5) is thus the 20th after the last parenthesis.
    return stat.rpartition(")")[2].split()[19]
