"""A process of callers that all want one value: `cold_callers_process.py ADDRESS CALLERS`.

It says `ready`, then obeys lines of JSON. A round says how many clients the callers have between
them, which key they want, for how long it is leased, and for how many seconds it is computed, or
null: until the line `{"finish": true}`. All callers ask in the same turn. The process says when a
computation begins, and at the end of a round what every caller got. Moments are those of the
monotonic clock, which all processes of a machine share.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import uvloop

from mainstay.cache import CacheClient
from mainstay.channel import Channel
from mainstay.errors import MainstayError

NAMESPACE = "stampede"


def say(event: str, **what: object) -> None:
    """Write a line that arrives even if this process is killed the moment after."""
    line = json.dumps({"event": event, "pid": os.getpid(), "at": time.monotonic(), **what})
    os.write(1, line.encode() + b"\n")


async def ask(client: CacheClient, order: dict[str, Any], finish: asyncio.Event) -> str:
    """Be one caller; returns the value, or the name of the error."""

    async def compute() -> bytes:
        say("computing")
        await (finish.wait() if order["seconds"] is None else asyncio.sleep(order["seconds"]))
        return str(os.getpid()).encode()

    lease_duration = timedelta(milliseconds=order["lease_ms"])
    try:
        value = await client.get_or_compute(
            NAMESPACE, order["key"], compute, lease_duration=lease_duration
        )
    except MainstayError as error:
        return f"{type(error).__name__}: {error.message}"
    return "None" if value is None else value.decode()


async def lateness(seconds: float) -> float:
    """Return by how much a plain timer of this process is late."""
    began = time.monotonic()
    await asyncio.sleep(seconds)
    return time.monotonic() - began - seconds


async def take_part(
    clients: list[CacheClient], order: dict[str, Any], finish: asyncio.Event
) -> None:
    """Let all callers ask, and tell what came of it."""
    chosen = clients[: order["clients"]]
    began = time.monotonic()
    late = asyncio.create_task(lateness(order["seconds"] or 0))
    asking = (ask(chosen[n % len(chosen)], order, finish) for n in range(len(clients)))
    values = await asyncio.gather(*asking)
    ended = time.monotonic()
    say("answered", began=began, ended=ended, late=await late, values=Counter(values))


async def main(address: str, callers: int) -> None:
    """Take part in one round after the other."""
    async with AsyncExitStack() as open_ones:
        channel = await open_ones.enter_async_context(Channel(address, tenant="acme"))
        clients = [
            await open_ones.enter_async_context(CacheClient(channel)) for _ in range(callers)
        ]
        await clients[0].get(NAMESPACE, "connects")
        say("ready")
        finish, rounds = asyncio.Event(), []
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            if "finish" in order:
                finish.set()
                continue
            finish = asyncio.Event()
            rounds.append(asyncio.create_task(take_part(clients, order, finish)))
        await asyncio.gather(*rounds)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
