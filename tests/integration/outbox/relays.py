"""Relays, and ways to hold and to kill them where a test wants it."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mainstay.channel import Channel
from mainstay.outbox import Outbox, OutboxRelay, Round

PATIENCE = 20.0
# Longer than any test: what a relay finds in time, it was told.
NEVER = 3600.0
SCRIPT = Path(__file__).with_name("relay_process.py")


@asynccontextmanager
async def relaying(
    outbox: Outbox, address: str, *, poll_interval: float = NEVER, tenant: str = "acme"
) -> AsyncIterator[OutboxRelay]:
    """Relay within the block."""
    async with Channel(address, tenant=tenant) as channel:
        relay = OutboxRelay(outbox, channel, poll_interval=poll_interval)
        task = asyncio.create_task(relay.run())
        try:
            yield relay
        finally:
            relay.stop()
            await asyncio.wait_for(task, PATIENCE)


async def relay_once(outbox: Outbox, address: str) -> Round:
    """Relay one batch."""
    async with Channel(address, tenant="acme", timeout=2.0) as channel:
        return await OutboxRelay(outbox, channel).run_once()


class HeldChannel(Channel):
    """Holds every call until it is let go."""

    def __init__(self, target: str) -> None:
        super().__init__(target, tenant="acme")
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    async def unary(self, *arguments: Any, **options: Any) -> Any:
        """Say that there is a call, and make it when told to."""
        self.reached.set()
        await self.go.wait()
        return await super().unary(*arguments, **options)


@asynccontextmanager
async def relay_process(url: str, address: str) -> AsyncIterator[Process]:
    """Run a relay that stops for ever once the service has accepted its batch."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), url, address, stdout=PIPE
    )
    try:
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
            assert line, f"the relay ended before it said {expected!r}"
