"""A killed worker and a silent one, at the default terms: how soon their jobs go on elsewhere."""

import asyncio
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from cli.embedded.postgres import PostgresServer
from tests.faults.jobs_suite import ledger, logs, oracle
from tests.faults.jobs_suite.faults import Injury, held_by
from tests.faults.jobs_suite.load import Load
from tests.faults.jobs_suite.oracle import Violation
from tests.faults.jobs_suite.process import PATIENCE
from tests.faults.jobs_suite.records import all_over, stored
from tests.faults.jobs_suite.recovery import lines_by_job, takeovers
from tests.faults.jobs_suite.stage import Player, Size, Stage, running_stage

JOBS = 60
LEASE = 30.0
"""The default, with which this pass is judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultFindings:
    """Seconds until another worker had begun with each job that one of the two had."""

    killed: list[float]
    silent: list[float]
    violations: list[Violation]


async def run_defaults(postgres: PostgresServer, folder: Path, seed: int) -> DefaultFindings:
    """Kill a worker and stop another, both with their hands full; a third goes on."""
    size = Size(clocks=(0.0, 0.0, 0.0))
    async with running_stage(postgres, folder, size, database="defaults") as stage:
        load = Load(stage.link.address, random.Random(seed))
        try:
            return await _play(stage, load, folder)
        finally:
            await load.close()


async def _play(stage: Stage, load: Load, folder: Path) -> DefaultFindings:
    await load.send("slow", JOBS, until=time.monotonic() + PATIENCE)
    killed, silent, _ = stage.workers
    injuries = [await _busy(stage, killed), await _busy(stage, silent)]
    silent.send(signal.SIGSTOP)
    await killed.kill()
    now = time.monotonic()
    for injury in injuries:
        injury.began = now
    await all_over(stage.database, within=LEASE + PATIENCE)
    # It still has what it had, and says so; nobody believes it.
    silent.send(signal.SIGCONT)
    await asyncio.sleep(2.0)
    await stage.freeze()
    everything = await stored(stage.database)
    entries = await asyncio.to_thread(ledger.read, stage.ledgers)
    by_job = lines_by_job(entries)
    waits = [sorted(takeovers(injury, by_job, everything.records)) for injury in injuries]
    violations = oracle.judge(load.accepted, everything, entries)
    violations += [Violation(promise=oracle.QUIET, what=what) for what in logs.unexpected(folder)]
    return DefaultFindings(killed=waits[0], silent=waits[1], violations=violations)


async def _busy(stage: Stage, worker: Player) -> Injury:
    """Wait until the worker has jobs."""
    async with asyncio.timeout(PATIENCE):
        while not (held := await held_by(stage.database, worker)):  # noqa: ASYNC110 - other process
            await asyncio.sleep(0.05)
    return Injury(kind="", target=worker.name, began=0.0, held=held)
