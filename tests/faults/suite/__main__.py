"""The fault suite: `make faults`, with `SEED=` and `SECONDS=` if wanted."""

import argparse
import asyncio
import pickle
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import uvloop

from tests.faults.jobs_suite.stage import ROOT
from tests.faults.suite import catalogue, disk, namespaces
from tests.faults.suite.faults import Fault
from tests.faults.suite.namespaces import ENTER, Namespaces
from tests.faults.suite.report import report
from tests.faults.suite.rolling import RATE
from tests.faults.suite.run import Findings, Plan, run
from tests.faults.suite.stage import PARTIES
from tests.faults.suite.wiring import CALLERS, Links, links

DOCUMENT = ROOT / "docs" / "faults.md"
# Of the time that faults may take, what those in network namespaces get.
NETWORK_SHARE = 0.3
RESTART_ORDERS = 4
# In memory: the disk of a machine that others use would be one more fault, of nobody's making.
REDIS_SIZE = "256m"


def mixed(rng: random.Random, families: Sequence[Sequence[Fault]]) -> list[Fault]:
    """Return all faults so that a run that is cut short has seen some of each family."""
    placed = [
        ((number + rng.random()) / len(family), fault)
        for family in families
        for number, fault in enumerate(rng.sample(list(family), len(family)))
    ]
    return [fault for _, fault in sorted(placed, key=lambda each: each[0])]


async def run_links(plan: Plan, folder: Path, *, partitioned: bool) -> Findings:
    """Run what needs no network of its own; partitions too where there will be none."""
    rng = random.Random(plan.seed)
    with ExitStack() as disks:
        full: list[Fault] = []
        if disk.possible():
            disks.enter_context(disk.small_disk(folder / "redis", REDIS_SIZE))
            postgres = disks.enter_context(disk.small_disk(folder / "postgres", "400m"))
            logs = disks.enter_context(disk.small_disk(folder / "logs", "64m"))
            full = catalogue.full_disks(postgres, logs)

        def chosen(wiring: Links) -> list[Fault]:
            families = [
                catalogue.kills_and_stops(rng),
                catalogue.restarts(rng, chosen=RESTART_ORDERS),
                catalogue.bad_links(wiring),
                full,
                catalogue.clocks(),
                catalogue.partitions(rng) if partitioned else [],
            ]
            return mixed(rng, families)

        async with links() as wiring:
            return await run(plan, wiring, folder, lambda: chosen(wiring))


async def run_network(plan: Plan, folder: Path, run_id: int) -> Findings:
    """Run partitions, within the namespace of the callers."""
    rng = random.Random(plan.seed)
    wiring = Namespaces(run_id, PARTIES)
    with disk.small_disk(folder / "redis", REDIS_SIZE):
        return await run(plan, wiring, folder, lambda: mixed(rng, [catalogue.partitions(rng)]))


async def run_network_apart(plan: Plan, folder: Path, findings: Path) -> Findings:
    """Make the namespaces, and run within the callers' in a process of its own."""
    with namespaces.namespaces(PARTIES) as made:
        inside = [sys.executable, "-I", "-S", str(ENTER), str(made.path(CALLERS)), "-"]
        given = ["--seed", str(plan.seed), "--seconds", str(plan.seconds)]
        place = ["--network", str(made.run_id), str(folder), str(findings)]
        module = [sys.executable, "-m", "tests.faults.suite"]
        process = await asyncio.create_subprocess_exec(*inside, *module, *given, *place)
        if await process.wait() != 0:
            raise RuntimeError(f"the run in network namespaces failed; see {folder}")
    return _read(findings)


async def main(plan: Plan, place: Path) -> bool:
    """Run everything and report; return whether every promise was kept."""
    apart = namespaces.possible()
    share = NETWORK_SHARE if apart else 0.0
    began = time.monotonic()
    first = Plan(seed=plan.seed, seconds=plan.seconds * (1 - share), rolling=RATE)
    found = [await run_links(first, place / "links", partitioned=not apart)]
    if apart:
        left = plan.seconds - (time.monotonic() - began)
        second = Plan(seed=plan.seed, seconds=max(left, plan.seconds * share / 2))
        found.append(await run_network_apart(second, place / "network", place / "found"))
    text = report(plan.seed, found)
    sys.stdout.write(text)
    DOCUMENT.write_text(text)
    return not any(each.violations for each in found)


def _read(path: Path) -> Findings:
    found: Findings = pickle.loads(path.read_bytes())
    return found


def _network(plan: Plan, run_id: str, folder: str, findings: str) -> None:
    found = uvloop.run(run_network(plan, Path(folder), int(run_id)))
    Path(findings).write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=900.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--network", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    asked = Plan(seed=options.seed, seconds=options.seconds)
    if options.network:
        _network(asked, *options.network)
        sys.exit(0)
    root = Path(tempfile.mkdtemp(prefix="mainstay-faults-"))
    root.chmod(0o755)  # PostgreSQL may run as another user
    sys.stderr.write(f"seed {asked.seed}, about {asked.seconds:.0f} s, in {root}\n")
    if not uvloop.run(main(asked, root)):
        sys.exit(f"promises were broken; logs and ledgers are in {root}")
    shutil.rmtree(root)
