"""How long a call waits before anything is done for it, as a caller sees it: by making one.

Calls queue in the transport, where no handler and no clock of the event loop can see them: grpcio
accepts one call in a turn of the loop, so the loop looks idle enough while hundreds wait. A call of
one's own stands in the same queue. It comes in by a socket of this process alone, asks for health,
which takes no slot, and is made only while others come.
"""

import asyncio
import os
import secrets
import time

import grpc

from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from shared.rpc.admission import Allowance
from shared.telemetry import metrics

INTERVAL = 0.05
"""Seconds between two looks at the queue."""

PATIENCE = 2.0
"""Longest wait for a sounding, in seconds: a queue that long is as bad as any."""

QUIET = 5
"""Calls between two looks that are no load."""


def sounding_address() -> str:
    """Return where this process's own calls come in: a socket without a file, of one process."""
    return f"unix-abstract:mainstay-{os.getpid()}-{secrets.token_hex(8)}"


class Sounding:
    """Measures the queue; `run` is a background task of the server."""

    def __init__(self, address: str, allowance: Allowance) -> None:
        self._address = address
        self._allowance = allowance
        self._out: asyncio.Task[None] | None = None
        self._began = 0.0
        self._last = 0.0

    async def run(self) -> None:
        """Measure until cancelled."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                while True:
                    await asyncio.sleep(INTERVAL)
                    self.look(stub)
            finally:
                await self._give_up()

    def look(self, stub: "health_pb2_grpc.HealthAsyncStub") -> None:
        """Have the allowance follow what is known of the queue, and go on measuring."""
        delay = self._last
        if self._out is not None:
            # It has not come back: the queue is at least as long as that.
            delay = max(delay, time.monotonic() - self._began)
        elif self._allowance.asked > QUIET or self._allowance.limited:
            self._began = time.monotonic()
            self._out = asyncio.create_task(self._sound(stub), name="one sounding")
        self._last = 0.0
        self._allowance.sound(delay)
        metrics.queue_delay.set(delay)
        metrics.calls.allowance = self._allowance.limit

    async def _sound(self, stub: "health_pb2_grpc.HealthAsyncStub") -> None:
        try:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
            self._last = time.monotonic() - self._began
        except grpc.aio.AioRpcError:
            self._last = PATIENCE  # it waited that long, or the transport itself turns calls away
        finally:
            self._out = None

    async def _give_up(self) -> None:
        if self._out is not None:
            self._out.cancel()
            await asyncio.gather(self._out, return_exceptions=True)
