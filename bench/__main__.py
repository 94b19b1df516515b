"""Runs the measurements and prints one table."""

import gc
import sys
from collections.abc import Awaitable, Callable

import uvloop

from bench import cache_get, clean_clone, limit_check, startup
from bench.report import Row, show

MEASUREMENTS: dict[str, Callable[[], Awaitable[list[Row]]]] = {
    "cache-get": cache_get.run,
    "limit-check": limit_check.run,
    "startup": startup.run,
    "clean-clone": clean_clone.run,
}


async def main(names: list[str]) -> None:
    """Run the named measurements, or all."""
    if unknown := set(names) - set(MEASUREMENTS):
        raise SystemExit(f"no measurement {sorted(unknown)}; there are {sorted(MEASUREMENTS)}")
    rows: list[Row] = []
    for name in names or MEASUREMENTS:
        sys.stderr.write(f"measuring {name} …\n")
        rows += await MEASUREMENTS[name]()
    show(rows)


if __name__ == "__main__":
    # The clients share two cores with what they measure: they have to be light too.
    gc.disable()
    uvloop.run(main(sys.argv[1:]))
