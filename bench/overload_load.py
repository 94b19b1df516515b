"""A process that offers calls at a rate, or keeps some under way, and says what became of them.

`python -m bench.overload_load ADDRESS RATE SECONDS CONNECTIONS TENANT` prints a JSON object. A RATE
of 0 keeps 64 calls under way: what is answered then in a second is the capacity. Callers and server
share no loop.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import uvloop

from bench.overload_peer import Peer, Tally, literal
from mainstay.cache.v1 import cache_service_pb2 as pb

PATH = "/mainstay.cache.v1.CacheService/Get"
ASKED = pb.GetRequest(namespace="overload", key="k").SerializeToString()
TICK = 0.001
CLOSED = 64
LINGER = 3.0
MOST = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the process found; milliseconds."""

    seconds: float
    served: list[float]
    shed: list[float]
    failed: int
    pushed_back: int
    unanswered: int


async def load(
    address: str, *, rate: float, seconds: float, connections: int = 8, tenant: str = ""
) -> Outcome:
    """Run the process and return what it found."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.overload_load", address, str(rate), str(seconds), str(connections), tenant),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    return Outcome(**json.loads(printed))


async def main(address: str, rate: float, seconds: float, connections: int, tenant: str) -> None:
    """Load the server and print what it answered."""
    gc.disable()
    loop = asyncio.get_running_loop()
    host, _, port = address.rpartition(":")
    peers: list[Peer] = []
    for _ in range(connections):
        _, peer = await loop.create_connection(
            lambda: Peer(PATH, ASKED, most=MOST), host, int(port)
        )
        peers.append(peer)
    await asyncio.gather(*(peer.opened for peer in peers))
    extra = literal("x-mainstay-tenant", tenant) if tenant else b""
    began = time.perf_counter()
    if rate:
        await _offer(peers, extra, rate, seconds)
    else:
        await _keep(peers, extra, seconds)
    took = time.perf_counter() - began
    sys.stdout.write(json.dumps(asdict(_outcome(peers, took))))
    for peer in peers:
        peer.close()


async def _offer(peers: Sequence[Peer], extra: bytes, rate: float, seconds: float) -> None:
    began, number = time.perf_counter(), 0
    while (now := time.perf_counter() - began) < seconds:
        while number < now * rate:
            peers[number % len(peers)].call(began + number / rate, extra)
            number += 1
        await asyncio.sleep(TICK)
    until = time.perf_counter() + LINGER
    while any(peer.under_way for peer in peers) and time.perf_counter() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def _keep(peers: Sequence[Peer], extra: bytes, seconds: float) -> None:
    until = time.perf_counter() + seconds

    def again(peer: Peer) -> None:
        if time.perf_counter() < until:
            peer.call(time.perf_counter(), extra)

    for number in range(CLOSED):
        peer = peers[number % len(peers)]
        peer.on_end = lambda peer=peer: again(peer)  # type: ignore[misc]
        again(peer)
    await asyncio.sleep(seconds)


def _outcome(peers: Sequence[Peer], seconds: float) -> Outcome:
    tallies: list[Tally] = [peer.tally for peer in peers]
    return Outcome(
        seconds=seconds,
        served=[each for tally in tallies for each in tally.served],
        shed=[each for tally in tallies for each in tally.shed],
        failed=sum(tally.failed + tally.unsent for tally in tallies),
        pushed_back=sum(tally.pushed_back for tally in tallies),
        unanswered=sum(peer.under_way for peer in peers),
    )


if __name__ == "__main__":
    address, rate, seconds, connections, tenant = sys.argv[1:]
    uvloop.run(main(address, float(rate), float(seconds), int(connections), tenant))
