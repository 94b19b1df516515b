"""One worker's process, of any contender.

`python -m bench.job_worker <contender> <address> <ledger> <concurrency> [tenant]` prints a line
when it can be given jobs, works until SIGTERM, and prints another when all it did is acknowledged.
"""

import asyncio
import gc
import importlib
import signal
import sys
from pathlib import Path

import uvloop

from bench.job_contenders import BY_NAME, Shift
from bench.job_ledger import Ledger


async def main(
    contender: str, address: str, ledger: str, concurrency: str, tenant: str = ""
) -> None:
    """Work until asked to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    shift = Shift(
        address=address,
        ledger=Ledger(Path(ledger)),
        concurrency=int(concurrency),
        tenant=tenant or None,
        ready=lambda: _say("ready"),
        stop=stop,
    )
    module = importlib.import_module(BY_NAME[contender].module)
    gc.freeze()
    await module.work(shift)
    _say("stopped")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
