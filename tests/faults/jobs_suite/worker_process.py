"""A worker of the suite: `python -m tests.faults.jobs_suite.worker_process ADDRESS FOLDER NAME`.

With MAINSTAY_FAULTS_CLOCK its clock is wrong by so many seconds.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from mainstay.jobs import Worker
from tests.faults.jobs_suite.functions import register
from tests.faults.jobs_suite.ledger import Ledger

CLOCK = "MAINSTAY_FAULTS_CLOCK"
CONCURRENCY = 20


def shift_clock(seconds: float) -> None:
    """Let this process believe in another time of day."""
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)


async def main(address: str, folder: Path, name: str) -> None:
    """Work until a signal."""
    shift_clock(float(os.environ.get(CLOCK, "0")))
    worker = Worker(address, name=name, tenant="*", concurrency=CONCURRENCY, drain_seconds=2.0)
    register(worker, Ledger(folder, name))
    await worker.run_until_signal()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
