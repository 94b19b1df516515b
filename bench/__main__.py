"""Runs the measurements and prints what they found."""

import gc
import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import uvloop

from bench.report import WIDTH, Findings, Row, show, show_comparisons

# By the module that holds them.
BARS = {"startup": "startup", "clean-clone": "clean_clone"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Measurements that are shown as one table, beside libraries that only they need.

    Without one of `rivals` they cannot be taken; who is `optional` is left out where it is missing.
    Many columns want a `width`.
    """

    title: str
    modules: Mapping[str, str]
    rivals: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    width: int = WIDTH


GROUPS = {
    "cache": Group(
        title="The cache beside others",
        modules={
            "cache-rates": "cache_rates",
            "cache-cpu": "cache_cpu",
            "cache-batch": "cache_batch",
            "cache-near": "cache_near",
            "cache-tag": "cache_tag",
            "cache-stampede": "cache_stampede",
        },
        rivals=("redis", "cashews", "aiocache"),
    ),
    "ratelimit": Group(
        title="The rate limits beside a library",
        modules={
            "limit-rates": "limit_rates",
            "limit-cpu": "limit_cpu",
            "limit-batch": "limit_batch",
            "limit-redis": "limit_redis",
            "limit-local": "limit_local",
        },
        rivals=("redis", "limits"),
    ),
    "telemetry": Group(
        title="What it costs to be seen",
        modules={"telemetry-cpu": "telemetry_cpu", "telemetry-outage": "telemetry_outage"},
        rivals=("redis",),
    ),
    "identity": Group(
        title="What it costs to know who calls",
        modules={"identity-cpu": "identity_cpu"},
        rivals=("redis",),
    ),
    "health": Group(
        title="The health of the suite",
        modules={"health-detection": "health_detection", "health-load": "health_load"},
    ),
    "overload": Group(
        title="More calls than can be served", modules={"overload-cache": "overload"}
    ),
    "jobs": Group(
        title="The jobs beside others",
        modules={
            "job-drain": "job_drain",
            "job-latency": "job_latency",
            "job-steps": "job_steps",
            "job-send": "job_send",
            "job-recovery": "job_recovery",
            "job-takeover": "job_takeover",
            "job-idle": "job_idle",
            "job-blocked": "job_blocked",
            "job-tenants": "job_tenants",
        },
        optional=("pgqueuer", "procrastinate", "dbos", "dramatiq"),
        width=100,
    ),
}


async def main(names: list[str]) -> None:
    """Run the named measurements, or all."""
    known = {*BARS, *(name for group in GROUPS.values() for name in group.modules)}
    if unknown := set(names) - known - set(GROUPS):
        raise SystemExit(f"no measurement {sorted(unknown)}; there are {[*GROUPS, *sorted(known)]}")
    for name, group in GROUPS.items():
        await _compare(
            group, [each for each in group.modules if not names or {name, each} & {*names}]
        )
    rows: list[Row] = []
    for name, module in BARS.items():
        if not names or name in names:
            rows += await _run(name, module)
    if rows:
        show(rows)


async def _compare(group: Group, names: list[str]) -> None:
    """Run some measurements of a group and show what they found."""
    if not names:
        return
    if missing := [rival for rival in group.rivals if find_spec(rival) is None]:
        raise SystemExit(f"{', '.join(missing)} not installed; `make bench` does it")
    findings: list[Findings] = []
    load = [_load()]
    try:
        for name in names:
            findings.append(await _run(name, group.modules[name]))
            load.append(_load())
    finally:
        # What was found before one of them failed is worth its minutes.
        if findings:
            show_comparisons(group.title, findings, _circumstances(group, load), width=group.width)


async def _run(name: str, module: str) -> Any:
    sys.stderr.write(f"measuring {name} …\n")
    return await importlib.import_module(f"bench.{module}").run()


def _load() -> float:
    return os.getloadavg()[0]


def _circumstances(group: Group, load: list[float]) -> str:
    names = (*group.rivals, *group.optional)
    versions = ", ".join(
        f"{name} {version(name)}" if find_spec(name) else f"without {name}, which is not installed"
        for name in names
    )
    machine = f"{os.cpu_count()} cores; load of the machine {load[0]:.1f} before, "
    return (
        f"{versions}{'; ' if versions else ''}{machine}"
        f"{min(load[1:]):.1f} to {max(load[1:]):.1f} during, of which about 2 is the measurement."
    )


if __name__ == "__main__":
    # The clients share two cores with what they measure: they have to be light too.
    gc.disable()
    uvloop.run(main(sys.argv[1:]))
