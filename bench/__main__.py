"""Runs the measurements and prints what they found."""

import gc
import importlib
import os
import sys
from importlib.util import find_spec

import uvloop

from bench.report import Findings, Row, show, show_comparisons

# By the module that holds them: the cache's needs packages that the others do without.
BARS = {"limit-check": "limit_check", "startup": "startup", "clean-clone": "clean_clone"}
CACHE = {
    "cache-rates": "cache_rates",
    "cache-cpu": "cache_cpu",
    "cache-batch": "cache_batch",
    "cache-near": "cache_near",
    "cache-tag": "cache_tag",
    "cache-stampede": "cache_stampede",
}
GROUPS = {"cache": list(CACHE)}


async def main(names: list[str]) -> None:
    """Run the named measurements, or all."""
    known = {**CACHE, **BARS}
    chosen = [each for name in names or known for each in GROUPS.get(name, [name])]
    if unknown := set(chosen) - set(known):
        raise SystemExit(f"no measurement {sorted(unknown)}; there are {[*GROUPS, *known]}")
    if set(chosen) & set(CACHE) and not (find_spec("cashews") and find_spec("aiocache")):
        raise SystemExit("cashews and aiocache are not installed; `make bench-cache` does it")
    rows: list[Row] = []
    findings: list[Findings] = []
    load = [_load()]
    try:
        for name in chosen:
            sys.stderr.write(f"measuring {name} …\n")
            found = await importlib.import_module(f"bench.{known[name]}").run()
            load.append(_load())
            if name in CACHE:
                findings.append(found)
            else:
                rows += found
    finally:
        # What was found before one of them failed is worth its minutes.
        if findings:
            show_comparisons(findings, _circumstances(load))
        if rows:
            show(rows)


def _load() -> float:
    return os.getloadavg()[0]


def _circumstances(load: list[float]) -> str:
    from bench.cache_contenders import VERSIONS  # noqa: PLC0415 - needs what only these need

    return (
        f"{VERSIONS}; {os.cpu_count()} cores; load of the machine {load[0]:.1f} before, "
        f"{min(load[1:]):.1f} to {max(load[1:]):.1f} during, of which about 2 is the measurement."
    )


if __name__ == "__main__":
    # The clients share two cores with what they measure: they have to be light too.
    gc.disable()
    uvloop.run(main(sys.argv[1:]))
