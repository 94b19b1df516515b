"""Several processes on one gRPC port: one event loop each, the kernel spreads the connections.

The first process only starts the others, passes signals on and waits. When one ends, it ends
the rest: a service that limps along with fewer processes than configured helps nobody.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import structlog

INDEX_VARIABLE = "MAINSTAY_PROCESS_INDEX"
PORT_STRIDE = 100
"""Between the HTTP ports of two processes: far enough to miss those of the other services."""

log = structlog.get_logger()


def is_worker_process() -> bool:
    """Return whether this process was started by `supervise`."""
    return INDEX_VARIABLE in os.environ


def process_index() -> int:
    """Return this process's number, from 0."""
    return int(os.environ.get(INDEX_VARIABLE, "0"))


def own_port(port: int) -> int:
    """Return this process's share of a port that cannot be shared; 0 stays 0."""
    return port + PORT_STRIDE * process_index() if port else 0


def supervise(count: int) -> int:
    """Run this same command `count` times and return the first exit code that is not 0."""
    children: dict[int, subprocess.Popen[bytes]] = {}
    codes: list[int] = []
    told = threading.Event()

    def tell(*_: object) -> None:
        told.set()
        for pid in list(children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, tell)
    signal.signal(signal.SIGINT, tell)
    for index in range(count):
        if not told.is_set():
            child = _start(index)
            children[child.pid] = child
            if told.is_set():  # while it was being started
                os.kill(child.pid, signal.SIGTERM)
    while children:
        pid, status = os.wait()
        code = os.waitstatus_to_exitcode(status)
        children.pop(pid).returncode = code
        log.info("process_ended", pid=pid, code=code)
        codes.append(code if code >= 0 else 128 - code)
        # Only once: to a process that drains, a second signal means "at once".
        if not told.is_set():
            tell()
    return next((code for code in codes if code), 0)


def _start(index: int) -> "subprocess.Popen[bytes]":
    module = sys.modules["__main__"].__spec__
    name = module.name.removesuffix(".__main__") if module else sys.argv[0]
    return subprocess.Popen(  # noqa: S603 - the command is this process's own
        [sys.executable, "-m", name, *sys.argv[1:]],
        env={**os.environ, INDEX_VARIABLE: str(index)},
        stdin=subprocess.PIPE,  # never written to; it ends with this process
    )
