"""Worker processes that a test may stop, continue and kill."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

SCRIPT = Path(__file__).with_name("ledger_worker.py")
PATIENCE = 20.0


@asynccontextmanager
async def worker_process(address: str, ledger: Path, *mode: str) -> AsyncIterator[Process]:
    """Run a worker process within the block; it is ready when the block begins."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), address, str(ledger), *mode, stdout=PIPE
    )
    try:
        await said(process, "ready")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: Process, expected: str) -> None:
    """Wait until the process says a line."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while (line := (await process.stdout.readline()).decode().rstrip()) != expected:
            assert line, f"the worker ended before it said {expected!r}"
