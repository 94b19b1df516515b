"""A server process under measurement: started for the run, its CPU time read before and after."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from mainstay.channel import Channel
from mainstay.errors import MainstayError
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc

READY_TIMEOUT = 30.0
REPOSITORY = Path(__file__).resolve().parent.parent


class Server:
    """A running process."""

    def __init__(self, process: "subprocess.Popen[bytes]", address: str) -> None:
        self._process = psutil.Process(process.pid)
        self.address = address

    def cpu_seconds(self) -> float:
        """Return user and system time since the start."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def rss_bytes(self) -> int:
        """Return how much memory it holds."""
        return int(self._process.memory_info().rss)


@asynccontextmanager
async def serve(
    module: str, port: int, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """Run `python -m module` until the block ends; ready when gRPC health says so."""
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=REPOSITORY,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
    )
    address = f"127.0.0.1:{port}"
    try:
        await _until_serving(process, address)
        yield Server(process, address)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _until_serving(process: "subprocess.Popen[bytes]", address: str) -> None:
    async with asyncio.timeout(READY_TIMEOUT), Channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel.raw)
        while process.poll() is None:
            try:
                await channel.unary(stub.Check, health_pb2.HealthCheckRequest(), timeout=1.0)
            except MainstayError:
                await asyncio.sleep(0.05)
            else:
                return
    raise RuntimeError(f"{process.args!r} ended with {process.returncode} before it was ready")
