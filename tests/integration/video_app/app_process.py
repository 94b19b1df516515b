"""Parts of the example app as processes, started as its README says."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from examples.video_app.fakes.pace import SPEED

ROOT = Path(__file__).parents[3]
PATIENCE = 20.0


async def start(
    module: str, addresses: Mapping[str, str], environment: Mapping[str, str] | None = None
) -> Process:
    """Start a part of the app."""
    variables = {f"MAINSTAY_{name.upper()}_ADDRESS": value for name, value in addresses.items()}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"examples.video_app.{module}",
        cwd=ROOT,
        env={**os.environ, **variables, **(environment or {})},
        stdout=PIPE,
    )


async def said(process: Process) -> list[str]:
    """Return all lines that a process has said once it has ended."""
    async with asyncio.timeout(PATIENCE):
        output, _ = await process.communicate()
    return output.decode().splitlines()


@asynccontextmanager
async def worker_process(
    addresses: Mapping[str, str], *, speed: float, **environment: str
) -> AsyncIterator[Process]:
    """Run the app's worker within the block; it is connected when the block begins."""
    process = await start("worker", addresses, {SPEED: str(speed), **environment})
    try:
        await next_line(process, "connected to jobs service")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def next_line(process: Process, part: str) -> dict[str, Any]:
    """Return the next JSON line whose event has `part` in it."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while line := await process.stdout.readline():
            fields: dict[str, Any] = json.loads(line)
            if part in fields["event"]:
                return fields
    raise AssertionError(f"the worker ended before it logged {part!r}")
