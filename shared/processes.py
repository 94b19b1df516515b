"""Several processes on one gRPC port: one event loop each, the kernel spreads the connections.

The first process only starts the others, passes signals on and waits. When one ends, it ends
the rest: a service that limps along with fewer processes than configured helps nobody.
"""

import os
import signal
import subprocess
import sys

import structlog

INDEX_VARIABLE = "MAINSTAY_PROCESS_INDEX"

log = structlog.get_logger()


def is_worker_process() -> bool:
    """Return whether this process was started by `supervise`."""
    return INDEX_VARIABLE in os.environ


def process_index() -> int:
    """Return this process's number, from 0."""
    return int(os.environ.get(INDEX_VARIABLE, "0"))


def supervise(count: int) -> int:
    """Run this same command `count` times and return the exit code of the first that ended."""
    module = sys.modules["__main__"].__spec__
    name = module.name.removesuffix(".__main__") if module else sys.argv[0]
    command = [sys.executable, "-m", name, *sys.argv[1:]]
    children = {
        child.pid: child
        for child in (
            subprocess.Popen(command, env={**os.environ, INDEX_VARIABLE: str(index)})  # noqa: S603
            for index in range(count)
        )
    }

    def pass_on(number: int, _frame: object) -> None:
        for child in children.values():
            child.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    first_code: int | None = None
    while children:
        pid, status = os.wait()
        ended = children.pop(pid, None)
        if ended is None:
            continue
        code = os.waitstatus_to_exitcode(status)
        ended.returncode = code
        if first_code is None:
            first_code = code
            log.info("process_ended", pid=pid, code=code)
            pass_on(signal.SIGTERM, None)
    return abs(first_code or 0)
