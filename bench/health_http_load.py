"""A process that asks for `/health` at a rate: callers of gRPC and of HTTP share no event loop.

`python -m bench.health_http_load PORT RATE SECONDS STATE` prints latencies in milliseconds, and
since when every answer said that both stores are in STATE.
"""

import asyncio
import gc
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import uvloop

from bench.pace import offer

STORES = (b'"database":{"status":"', b'"redis":{"status":"')
REQUEST = b"GET /health HTTP/1.1\r\nHost: health\r\nConnection: close\r\n\r\n"


@dataclass(slots=True)
class Witness:
    """Notes since when every answer is the expected one, on the clock of `perf_counter`."""

    expected: object
    since: float | None = None

    def look(self, found: object) -> None:
        """Take an answer into account."""
        if found != self.expected:
            self.since = None
        elif self.since is None:
            self.since = time.perf_counter()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLoad:
    """What the process found."""

    latencies: list[float]
    since: float | None


async def http_load(port: int, *, rate: int, seconds: float, state: str) -> HttpLoad:
    """Run the process and return what it found."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.health_http_load", str(port), str(rate), str(seconds), state),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    found: dict[str, Any] = json.loads(printed)
    return HttpLoad(latencies=found["latencies"], since=found["since"])


async def main(port: int, rate: int, seconds: float, state: str) -> None:
    """Ask, each time over a connection of its own, as ALB does."""
    gc.disable()
    witness = Witness({state.encode()})

    async def ask(_: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        answer = await reader.read()
        writer.close()
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer[:100])
        witness.look({answer.partition(store)[2].partition(b'"')[0] for store in STORES})

    latencies = await offer(ask, rate=rate, seconds=seconds)
    sys.stdout.write(json.dumps({"latencies": latencies, "since": witness.since}))


if __name__ == "__main__":
    port, rate, seconds, state = sys.argv[1:]
    uvloop.run(main(int(port), int(rate), float(seconds), state))
