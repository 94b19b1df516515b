"""A soak: the suite, its load, and a sample of every process's memory every so often."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from cli.layout import SERVICES, Layout
from cli.settings import SuiteSettings
from cli.suite import Suite
from tests.faults.soak.growth import Sample
from tests.faults.soak.load import Counts, Load, clients, worker

SAMPLES = 300
SHORTEST_PAUSE = 0.5
LOUD = ('"level":"error"', '"level":"fatal"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """What a soak found: samples by service, what became of the load, and lines of errors."""

    seconds: float
    samples: Mapping[str, list[Sample]]
    counts: Counts
    loud: list[str]


async def soak(
    folder: Path,
    *,
    seconds: float,
    rate: float,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
) -> Soaked:
    """Run everything for so long."""
    settings = SuiteSettings().model_copy(update={"redis_url": None, "postgres_url": None})
    terms = {"MAINSTAY_LOG_FORMAT": "json", "MAINSTAY_LOG_LEVEL": "info"}
    suite = Suite(
        data_dir=folder,
        layout=Layout.on_free_ports(),
        settings=settings,
        environment=lambda _: terms,
    )
    async with suite:
        await suite.start(lambda started: say(f"{started.name} {started.address}"))
        processes = {name: _process(name) for name in SERVICES}
        async with worker(suite.layout), clients(suite.layout) as callers:
            load = Load(callers, suite.layout, random.Random(seed))
            samples: dict[str, list[Sample]] = {name: [] for name in SERVICES}
            sampling = asyncio.create_task(_sample(processes, samples, seconds))
            try:
                began = time.monotonic()
                await load.run(rate=rate, seconds=seconds)
                took = time.monotonic() - began
            finally:
                sampling.cancel()
                await asyncio.gather(sampling, return_exceptions=True)
    loud = [line for name in SERVICES for line in _loud_lines(suite.directory.log(name))]
    return Soaked(seconds=took, samples=samples, counts=load.counts, loud=loud)


def _process(name: str) -> psutil.Process:
    """Find the process of a service among those that this one has started."""
    return next(
        each for each in psutil.Process().children() if each.cmdline()[-1:] == [f"services.{name}"]
    )


async def _sample(
    processes: Mapping[str, psutil.Process], samples: dict[str, list[Sample]], seconds: float
) -> None:
    began = time.monotonic()
    while True:
        at = time.monotonic() - began
        for name, process in processes.items():
            samples[name].append(Sample(at=at, bytes=int(process.memory_info().rss)))
        await asyncio.sleep(max(SHORTEST_PAUSE, seconds / SAMPLES))


def _loud_lines(log: Path) -> list[str]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if any(each in line for each in LOUD)]
