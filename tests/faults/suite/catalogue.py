"""All faults there are, by family; what is of chance is the generator's."""

import itertools
import random

from tests.faults.suite import clock
from tests.faults.suite.disk import Disk
from tests.faults.suite.faults import (
    Clock,
    Fault,
    Full,
    Killed,
    Restarted,
    Severed,
    Spoilt,
    Stopped,
)
from tests.faults.suite.stage import SERVICE_PARTIES, SERVICES, WORKERS, replicas
from tests.faults.suite.stores import POSTGRES, REDIS
from tests.faults.suite.wiring import CALLERS, Links

_NEEDED = {REDIS: ("cache", "ratelimit", "health"), POSTGRES: SERVICES}
_BESIDE = (
    ("ratelimit", "cache"),
    ("ratelimit", "jobs"),
    ("jobs", "ratelimit"),
    ("health", "cache"),
    ("health", "ratelimit"),
    ("health", "jobs"),
)
"""Who asks whom beside the stores."""


def kills_and_stops(rng: random.Random) -> list[Fault]:
    """Return each process killed, one replica of each service stopped, and the stores both."""
    faults: list[Fault] = [Killed(parties=[name], outlived=True) for name in SERVICE_PARTIES]
    faults += [Killed(parties=replicas(service)) for service in SERVICES]
    faults += [Killed(parties=[name]) for name in (REDIS, POSTGRES)]
    faults += [Killed(parties=[rng.choice(WORKERS)], outlived=True)]
    faults += [
        Stopped(parties=[rng.choice(replicas(service))], outlived=True) for service in SERVICES
    ]
    faults += [Stopped(parties=replicas(service), seconds=6.0) for service in SERVICES]
    faults += [Stopped(parties=[name], seconds=8.0) for name in (REDIS, POSTGRES)]
    return faults


def restarts(rng: random.Random, *, chosen: int) -> list[Fault]:
    """Return all orders of stores and services, and so many of all four services and stores."""
    few = [
        Restarted(order=order) for order in itertools.permutations((REDIS, POSTGRES, "services"))
    ]
    parts = [REDIS, POSTGRES, *SERVICES]
    return [*few, *(Restarted(order=rng.sample(parts, len(parts))) for _ in range(chosen))]


def partitions(rng: random.Random) -> list[Fault]:
    """Return one between any two kinds of parties that talk, the replicas being of chance."""

    def one(service: str) -> str:
        return rng.choice(replicas(service))

    faults: list[Fault] = [
        Severed(pairs=[(CALLERS, one(service))], outlived=True) for service in SERVICES
    ]
    faults += [
        Severed(pairs=[(one(service), store)], seconds=6.0)
        for store, services in _NEEDED.items()
        for service in services
    ]
    faults += [
        Severed(pairs=[(one(source), one(target))], seconds=6.0, outlived=True)
        for source, target in _BESIDE
    ]
    faults.append(Severed(pairs=[(rng.choice(WORKERS), one("jobs"))], seconds=6.0, outlived=True))
    everybody = [(name, REDIS) for name in SERVICE_PARTIES if not name.startswith("jobs")]
    faults.append(Severed(pairs=everybody, seconds=6.0))
    faults.append(Severed(pairs=[(name, POSTGRES) for name in SERVICE_PARTIES], seconds=6.0))
    return faults


def bad_links(links: Links) -> list[Fault]:
    """Return links that are late, drip, are narrow and are half-closed."""
    faults: list[Fault] = []
    for pair in (("*", REDIS), ("*", POSTGRES), (CALLERS, "*")):
        faults += [
            Spoilt(kind="latency of 300 ms", links=links, pair=pair, delay=0.3),
            Spoilt(kind="drip, 20 bytes a second", links=links, pair=pair, rate=20.0),
            Spoilt(kind="narrow, 20 kB a second", links=links, pair=pair, rate=20_000.0),
            Spoilt(kind="half-closed", links=links, pair=pair, half_close=True, outlived=True),
        ]
    return faults


def full_disks(postgres: Disk, logs: Disk) -> list[Fault]:
    """Return the disks of PostgreSQL and of the logs full."""
    return [
        Full(
            kind="disk full", target="PostgreSQL, data and log of writes", disk=postgres, wants=True
        ),
        Full(kind="disk full", target="logs of everybody", disk=logs, outlived=True),
    ]


def clocks() -> list[Fault]:
    """Return steps ahead and back."""
    return [Clock(step=3_600.0), Clock(step=-3_600.0)] if clock.possible() else []
