"""Open-loop load: calls begin when they are due, whether or not the earlier ones were answered."""

import asyncio
import math
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

LONGEST_WAIT = 30.0


async def offer(
    call: Callable[[int], Awaitable[object]], *, rate: int, seconds: float
) -> list[float]:
    """Begin `rate` calls a second, each with its number; return their latencies in milliseconds.

    Counted from when a call was due: a late start is waiting too. One that raises takes for ever.
    """
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[float]] = []

    async def measure(number: int, due: float) -> float:
        await call(number)
        return (time.perf_counter() - due) * 1000

    def start(number: int, due: float) -> None:
        tasks.append(loop.create_task(measure(number, due)))

    await asyncio.to_thread(keep_time, loop, start, rate, seconds)
    async with asyncio.timeout(LONGEST_WAIT):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    if errors := [each for each in results if isinstance(each, BaseException)]:
        sys.stderr.write(f"{len(errors)} of {len(results)} calls failed, one with {errors[0]!r}\n")
    return [math.inf if isinstance(each, BaseException) else each for each in results]


def keep_time(
    loop: asyncio.AbstractEventLoop,
    start: Callable[[int, float], object],
    rate: int,
    seconds: float,
) -> None:
    """Have `start` called in the loop with each number and when it is due; call it in a thread."""
    # In a thread, because the timers of event loops are good to a millisecond only, which is what
    # is to be measured.
    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = began + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        loop.call_soon_threadsafe(start, number, due)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of the values do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]
