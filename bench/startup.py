"""From `mainstay up` to all ready with warm data, and the memory of the idle services."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.report import Row
from bench.server import REPOSITORY
from cli.ports import free_port

SERVICES = ("cache", "ratelimit", "jobs", "health")
READY_BAR = 6.0
MEMORY_BAR = 450
IDLE_SECONDS = 5
READY_TIMEOUT = 60.0


async def run() -> list[Row]:
    """Start twice in one directory; the second start is the warm one."""
    with tempfile.TemporaryDirectory() as directory:
        await asyncio.to_thread(_start, Path(directory))
        seconds, memory = await asyncio.to_thread(_start, Path(directory), measure_memory=True)
    total = sum(memory.values())
    each = ", ".join(f"{name} {megabytes:.0f}" for name, megabytes in sorted(memory.items()))
    return [
        Row(
            what="`mainstay up` to all ready, embedded, warm",
            bar=f"< {READY_BAR:g} s",
            measured=f"{seconds:.1f} s",
            met=seconds < READY_BAR,
        ),
        Row(
            what="memory of the four idle services together",
            bar=f"< {MEMORY_BAR} MiB",
            measured=f"{total:.0f} MiB",
            met=total < MEMORY_BAR,
            note=f"resident, shared pages counted in each: {each}",
        ),
    ]


def _start(directory: Path, *, measure_memory: bool = False) -> tuple[float, dict[str, float]]:
    began = time.perf_counter()
    process = subprocess.Popen(
        [Path(sys.executable).parent / "mainstay", "up", "--data-dir", str(directory)],
        cwd=REPOSITORY,
        env={**os.environ, **_free_ports()},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        seconds = _until_ready(process, began)
        if not measure_memory:
            return seconds, {}
        time.sleep(IDLE_SECONDS)
        return seconds, _memory(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _free_ports() -> dict[str, str]:
    names = [f"{name.upper()}_{kind}" for name in SERVICES for kind in ("PORT", "OPS_PORT")]
    return {f"MAINSTAY_{name}": str(free_port()) for name in (*names, "HEALTH_HTTP_PORT")}


def _until_ready(process: "subprocess.Popen[str]", began: float) -> float:
    assert process.stdout is not None
    for line in process.stdout:
        if re.search(r"\ball ready\b", line, re.IGNORECASE):
            return time.perf_counter() - began
        if time.perf_counter() - began > READY_TIMEOUT:
            break
    raise RuntimeError(f"`mainstay up` was not ready within {READY_TIMEOUT:g} s")


def _memory(parent: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for child in psutil.Process(parent).children(recursive=True):
        command = " ".join(child.cmdline())
        for name in SERVICES:
            if command.endswith(f"-m services.{name}"):
                found[name] = child.memory_info().rss / 2**20
    if set(found) != set(SERVICES):
        raise RuntimeError(f"found only {sorted(found)} of the services' processes")
    return found
