"""A worker to kill: says on standard output, and writes into a ledger, what it is about to do.

Usage: `ledger_worker.py ADDRESS LEDGER [hang|block]`. With `hang` it stops between its two steps
for ever, with `block` it is in a thread there for a minute; without, it goes through.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from mainstay.jobs import JobContext, JsonValue, Worker


def note(ledger: Path, line: str) -> None:
    """Write a line that outlives the process, and tell whoever waits for it."""
    with ledger.open("a") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())
    say(line)


def say(line: str) -> None:
    """Tell the test that listens."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(address: str, ledger: Path, mode: str) -> None:
    """Work until a signal."""
    drain_seconds = 0.1 if mode == "block" else 25
    name = f"ledger-{os.getpid()}"
    worker = Worker(address, name=name, tenant="*", drain_seconds=drain_seconds)

    def block() -> None:
        note(ledger, "blocks")
        time.sleep(60)

    async def step(name: str) -> str:
        note(ledger, f"{name} begins")
        note(ledger, f"{name} ends")
        return f"{name} of {os.getpid()}"

    @worker.function("work", on="test/work")
    async def work(job: JobContext) -> JsonValue:
        one = await job.step.run("one", step, "one")
        note(ledger, "between")
        if mode == "block":
            await job.step.run("block", block)
        if mode == "hang":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                note(ledger, "cancelled")
                raise
        two = await job.step.run("two", step, "two")
        return [one, two]

    running = asyncio.create_task(worker.run_until_signal())
    await worker.ready()
    say("ready")
    await running


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), "".join(sys.argv[3:])))
