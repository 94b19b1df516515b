"""The account PostgreSQL runs as when `mainstay` itself runs as root, which PostgreSQL refuses.

`nobody` exists on every system, so nothing is added to the machine. It keeps one capability, to
pass through directories that only root may enter (a clone under /root, a temporary directory): the
alternative is to open those directories for everybody. The capability lets it read, never write.
"""

import ctypes
import os
import pwd
import sys
from dataclasses import dataclass
from pathlib import Path

_CAP_DAC_READ_SEARCH = 2
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_KEEPCAPS = 8
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user of the operating system to run a process as."""

    uid: int
    gid: int

    @classmethod
    def unprivileged(cls) -> "Account | None":
        """Return the account to switch to, or None where we are an ordinary user already."""
        if os.geteuid() != 0:
            return None
        entry = pwd.getpwnam("nobody")
        return cls(uid=entry.pw_uid, gid=entry.pw_gid)

    def own(self, directory: Path) -> None:
        os.chown(directory, self.uid, self.gid)

    def become(self) -> None:
        """Switch the calling process to this account. Called between fork and exec."""
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_KEEPCAPS, 1)
            # access(2) asks without the capabilities of an ordinary user unless this is set, and by
            # access(2) initdb looks for the server's binary.
            _LIBC.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
        os.setgroups([])
        os.setgid(self.gid)
        os.setuid(self.uid)
        if _LIBC is not None:
            _keep_directory_access(_LIBC)


def _keep_directory_access(libc: ctypes.CDLL) -> None:
    """Narrow the capabilities to one and let it survive exec (capabilities(7), ambient set)."""
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    bit = 1 << _CAP_DAC_READ_SEARCH
    # effective, permitted, inheritable; the second triple holds capabilities from 32 on
    data = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    if libc.capset(header, data) == 0:
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_READ_SEARCH, 0, 0)
