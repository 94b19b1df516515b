"""Runs a program within a network namespace: `enter.py PATH ACCOUNT PROGRAM ARGUMENT...`.

The account is `uid:gid`, or `-` to stay who one is.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # started by its path, without site-packages
    sys.path.insert(0, str(Path(__file__).parents[3]))

from cli.account import Account

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1


def main(path: str, account: str, *argv: str) -> None:
    """Enter, become the account, and turn into the program."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(path).open() as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")
    if account != "-":
        uid, gid = account.split(":")
        Account(uid=int(uid), gid=int(gid)).become()
        # A change of user clears what the launch asked for.
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGINT))
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main(*sys.argv[1:])
