"""The soak: `make soak`, `MINUTES=` and `SEED=` if wanted. It stops by itself."""

import argparse
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path

import uvloop
from rich.console import Console

from tests.faults.soak.report import show
from tests.faults.soak.run import soak

RATE = 150.0


def main() -> None:
    """Soak for as long as was asked, and exit with 1 when memory grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=RATE, help="acts a second")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    given = parser.parse_args()
    console = Console(width=90)
    logging.getLogger("mainstay").setLevel(logging.ERROR)  # failed acts are in the table
    folder = Path(tempfile.mkdtemp(prefix="mainstay-soak-"))
    folder.chmod(0o755)  # PostgreSQL may run as another user
    console.print(f"seed {given.seed}, {given.minutes:g} minutes, in {folder}", highlight=False)
    soaked = uvloop.run(
        soak(
            folder,
            seconds=given.minutes * 60,
            rate=given.rate,
            seed=given.seed,
            say=lambda text: console.print(text, highlight=False),
        )
    )
    if not show(soaked, console):
        sys.exit(f"memory grew, or a service logged errors; logs are in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
