"""How long it takes to invalidate a tag on many entries, and how long that blocks Redis."""

import asyncio
import random
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from statistics import median

import cashews

from bench.cache_contenders import LIFETIME, NAMESPACE
from bench.report import OURS, Comparison, Findings
from bench.target import Target, cache_service
from mainstay.cache.client import CacheClient, Miss, MissReason
from mainstay.cache.results import Item, Written
from mainstay.channel import Channel

ENTRIES = 100_000
VALUE = b"x" * 100
# Every entry has all of them; they are invalidated one after the other, and all that again.
TAGS = tuple(f"plan:{number}" for number in range(5))
WRITTEN_AT_ONCE = 250
PASSES = 4
ATTEMPTS, PAUSE = 5, 0.5
SAMPLE = 1_000
BAR_MS, BLOCKED_BAR_MS = 5.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was measured.

    Attributes:
        latencies: Of the invalidations, in ms.
        blocked: The longest command that Redis ran meanwhile, in ms.
        command: Its name.
        missed: Of the entries read afterwards, those that were gone, for being invalidated.

    """

    latencies: list[float]
    blocked: float
    command: str
    missed: int


async def run() -> Findings:
    """Write the entries, invalidate them, and read some."""
    async with cache_service() as target:
        async with Channel(target.address) as channel:
            ours = await _mainstay(target, CacheClient(channel))
        return _findings(ours, await _cashews(target))


async def _mainstay(target: Target, client: CacheClient) -> Found:
    for first in range(0, ENTRIES, WRITTEN_AT_ONCE):
        await _write(client, range(first, first + WRITTEN_AT_ONCE))
    await client.invalidate_tags(["unused"])  # loads the script into Redis
    await _log_every_command(target)
    latencies = [await _timed(client.invalidate_tags([tag])) for tag in TAGS * PASSES]
    blocked, command = await _longest_command(target)
    missed = await _missed(client)
    return Found(latencies=latencies, blocked=blocked, command=command, missed=missed)


async def _write(client: CacheClient, numbers: range) -> None:
    items = [Item(key=f"key-{number}", value=VALUE, ttl=LIFETIME, tags=TAGS) for number in numbers]
    for _ in range(ATTEMPTS):
        answers = await client.set_many(NAMESPACE, items)
        items = [item for item in items if not isinstance(answers[item.key], Written)]
        if not items:
            return
        await asyncio.sleep(PAUSE)  # a machine with much else to do: the breaker may have opened
    raise RuntimeError(f"{len(items)} entries were not written, one for: {answers[items[0].key]}")


async def _cashews(target: Target) -> Found:
    cache = cashews.Cache()
    cache.setup(target.redis_url)
    tag = "plan"
    cache.register_tag(tag, "key-{number}")
    for first in range(0, ENTRIES, WRITTEN_AT_ONCE):
        keys = [f"key-{number}" for number in range(first, first + WRITTEN_AT_ONCE)]
        # What `set` with a tag stores one by one, in its own batches: it has none with tags.
        await cache.set_many(dict.fromkeys(keys, VALUE), expire=LIFETIME)
        await cache.set_add(f"_tag:{tag}", *keys, expire=LIFETIME.total_seconds())
    await _log_every_command(target)
    latencies = [await _timed(cache.delete_tags(tag))]
    blocked, command = await _longest_command(target)
    found = await cache.get_many(*_sample())
    await cache.close()
    return Found(latencies=latencies, blocked=blocked, command=command, missed=found.count(None))


async def _timed(invalidation: Awaitable[object]) -> float:
    began = time.perf_counter()
    await invalidation
    return (time.perf_counter() - began) * 1000


async def _log_every_command(target: Target) -> None:
    await target.redis.config_set("slowlog-max-len", 10_000)
    await target.redis.config_set("slowlog-log-slower-than", 0)
    await target.redis.slowlog_reset()


async def _longest_command(target: Target) -> tuple[float, str]:
    logged = await target.redis.slowlog_get(10_000)
    theirs = [entry for entry in logged if not entry["command"].startswith((b"SLOWLOG", b"CONFIG"))]
    longest = max(theirs, key=lambda entry: int(entry["duration"]))
    return longest["duration"] / 1000, longest["command"].split()[0].decode()


async def _missed(client: CacheClient) -> int:
    found = await client.get_many(NAMESPACE, _sample())
    gone = Miss(reason=MissReason.INVALIDATED_BY_TAG)
    return sum(result == gone for result in found.values())


def _sample() -> list[str]:
    return [f"key-{number}" for number in random.sample(range(ENTRIES), SAMPLE)]


def _findings(ours: Found, others: Found) -> Findings:
    middle, slowest = median(ours.latencies), max(ours.latencies)
    rows = [
        Comparison(
            what=f"tag on {ENTRIES:,}: p50, ms",
            bar=f"< {BAR_MS:g}",
            met=middle < BAR_MS and ours.missed == SAMPLE,
            figures={OURS: f"{middle:.2f}", "cashews": f"{median(others.latencies):,.0f}"},
        ),
        Comparison(
            what=f"  slowest of {len(ours.latencies)}, ms", figures={OURS: f"{slowest:.2f}"}
        ),
        Comparison(
            what="  Redis blocked for, ms",
            bar=f"< {BLOCKED_BAR_MS:g}",
            met=ours.blocked < BLOCKED_BAR_MS,
            figures={OURS: f"{ours.blocked:.3f}", "cashews": f"{others.blocked:.2f}"},
        ),
    ]
    note = (
        f"Tag: the longest command that Redis ran meanwhile was {ours.command} (of cashews, "
        f"{others.command}, in one pass over the entries). Of {SAMPLE:,} entries read "
        f"afterwards {ours.missed:,} were misses by tag (of cashews {others.missed:,})."
    )
    return Findings(rows=rows, note=note)
