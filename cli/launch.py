"""The first moments of a child process: `launch.py PARENT LOCK SIGNAL ACCOUNT PROGRAM ARGUMENT...`.

Signs the lock, becomes the account, asks for a signal when the parent dies, and turns into the
program. A program of its own, because the parent has threads (gRPC's, the tracer's), and code that
runs between fork and exec of such a process may find any lock taken for ever.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # started by its path, without site-packages: that is twice as quick
    sys.path.insert(0, str(Path(__file__).parents[1]))

from cli.account import Account
from cli.lock import sign

_PR_SET_PDEATHSIG = 1
_NO_ACCOUNT = "-"
PARENT_IS_GONE = 3


def launched(
    argv: list[str], *, lock: int, stop_signal: signal.Signals, account: Account | None
) -> list[str]:
    """Return the command line that runs `argv` in this way, as a child of this process."""
    return [
        sys.executable,
        "-I",
        "-S",
        __file__,
        str(os.getpid()),
        str(lock),
        str(int(stop_signal)),
        f"{account.uid}:{account.gid}" if account else _NO_ACCOUNT,
        *argv,
    ]


def _main(parent: str, lock: str, stop_signal: str, account: str, *argv: str) -> None:
    # Before the program exists: there is no moment in which a server runs that the next start
    # could not find.
    sign(int(lock))
    if account != _NO_ACCOUNT:
        uid, gid = account.split(":")
        Account(uid=int(uid), gid=int(gid)).become()
    if sys.platform == "linux":
        # After the change of user, which clears it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(stop_signal))
    if os.getppid() != int(parent):  # it died in between, so the signal will never come
        sys.exit(PARENT_IS_GONE)
    os.execvp(argv[0], argv)  # noqa: S606  # the whole purpose


if __name__ == "__main__":
    _main(*sys.argv[1:])
