"""The fault suite of the jobs service: `make faults-jobs`, `SECONDS=` and `SEED=` if wanted."""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

import uvloop

from cli.embedded.postgres import PostgresServer
from tests.faults.jobs_suite.defaults import run_defaults
from tests.faults.jobs_suite.report import report
from tests.faults.jobs_suite.run import Plan, run
from tests.faults.jobs_suite.stage import ROOT

DOCUMENT = ROOT / "docs" / "faults-jobs.md"
# What a run takes beside the time in which things break: to start, to send blocked jobs, to end
# what is left, and 45 s for the pass at the default terms.
BESIDES = 100.0
LEAST = 20.0


async def main(seconds: float, seed: int, folder: Path) -> bool:
    """Run and report; return whether every promise was kept."""
    plan = Plan(
        seed=seed,
        seconds=max(seconds - BESIDES, LEAST),
        pause=2.5,
        rate=40.0,
        calm=4.0,
        blocked=100_000,
        killers=15,
        poisons=3,
        drain=60.0,
    )
    async with PostgresServer(folder / "postgres", create_databases=True) as postgres:
        findings = await run(plan, postgres, folder / "run")
        defaults = await run_defaults(postgres, folder / "defaults", seed)
    text = report(findings, defaults)
    sys.stdout.write(text)
    DOCUMENT.write_text(text)
    return findings.good and not defaults.violations


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="mainstay-faults-"))
    place.chmod(0o755)  # PostgreSQL may run as another user
    sys.stderr.write(f"seed {given.seed}, about {given.seconds:.0f} s, in {place}\n")
    if not uvloop.run(main(given.seconds, given.seed, place)):
        sys.exit(f"promises were broken; logs and ledgers are in {place}")
    shutil.rmtree(place)
