"""One run: a stage, a load, faults, and the judgement in the end."""

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.embedded.postgres import PostgresServer
from tests.faults.jobs_suite import ledger, logs, oracle
from tests.faults.jobs_suite.companion import Companion
from tests.faults.jobs_suite.faults import Faults
from tests.faults.jobs_suite.ledger import Entry, Ledger, What
from tests.faults.jobs_suite.load import Load
from tests.faults.jobs_suite.oracle import Violation
from tests.faults.jobs_suite.records import all_over, stored
from tests.faults.jobs_suite.recovery import Recovery, recoveries
from tests.faults.jobs_suite.sampler import Sampler, Samples
from tests.faults.jobs_suite.stage import Size, Stage, running_stage
from tests.faults.jobs_suite.unruly import UnrulyWorker

LEASE = 3.0
UNRULY = 2
TERMS = {
    "MAINSTAY_JOBS_SESSION_LEASE": str(LEASE),
    "MAINSTAY_JOBS_HEARTBEAT_INTERVAL": "1",
    "MAINSTAY_JOBS_RESUME_WINDOW": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of everything.

    Attributes:
        seed: Of every choice of chance.
        seconds: How long faults are injected; None injects each once.
        pause: Between two faults, in seconds.
        rate: Jobs to send in a second.
        calm: How long jobs are sent before anything breaks, in seconds, and again behind those
            that are blocked.
        blocked: How many jobs are put into a paused queue first.
        killers: How many jobs kill their worker once.
        poisons: How many always do.
        drain: How long jobs may take to end once all is healed, in seconds.

    """

    seed: int
    seconds: float | None
    pause: float
    rate: float
    calm: float
    blocked: int
    killers: int
    poisons: int
    drain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What came of a run; latencies are from send to start, in seconds."""

    plan: Plan
    seconds: float
    accepted: Counter[str]
    unanswered: int
    repeats: int
    errors: Counter[str]
    entries: int
    ends: Counter[tuple[str, str]]
    due: int
    succeeded: int
    failures: Counter[str]
    samples: Samples
    answers: Counter[str]
    restarts: int
    drained: float
    calm: float
    calm_blocked: float
    recoveries: list[Recovery]
    violations: list[Violation] = field(default_factory=list)

    @property
    def success(self) -> float:
        """Return the share of what should have succeeded, or been undone, that was."""
        return self.succeeded / self.due if self.due else 0.0

    @property
    def good(self) -> bool:
        return not self.violations and self.success > 0.99


async def run(plan: Plan, postgres: PostgresServer, folder: Path) -> Findings:
    """Put everything on a stage, break it as planned and judge what came of it."""
    began = time.monotonic()
    async with running_stage(postgres, folder, Size(terms=TERMS), database="faults") as stage:
        performance = _Performance(plan, stage, folder)
        try:
            await performance.play()
            return await performance.judge(began)
        finally:
            await performance.load.close()


class _Performance:
    """A plan on a stage."""

    def __init__(self, plan: Plan, stage: Stage, folder: Path) -> None:
        self._plan = plan
        self._stage = stage
        self._folder = folder
        self._rng = random.Random(plan.seed)
        self._sampler = Sampler(stage.database)
        self.load = Load(
            stage.link.address,
            random.Random(plan.seed + 1),
            backlog=lambda: self._sampler.backlog,
        )
        self._faults = Faults(stage, random.Random(plan.seed + 2), lease=LEASE)
        self._companion = Companion(stage.database, self.load)
        self._unruly = [
            UnrulyWorker(stage.link, Ledger(stage.ledgers, f"unruly-{number}"))
            for number in range(UNRULY)
        ]
        self._calm: list[tuple[float, float]] = []
        self._drained = 0.0

    async def play(self) -> None:
        """Send, break and heal; returns when no job is left to be done, or the time is over."""
        tasks = [self._companion.run(), self._sampler.run(), self._revive()]
        tasks += [worker.run() for worker in self._unruly]
        async with in_background(*tasks):
            for worker in self._unruly:
                await worker.ready.wait()
            await self._stay_calm()
            if self._plan.blocked:
                await self.load.block(self._plan.blocked)
                await self._stay_calm()
            await self._break()
            await self._stage.heal()
            self._drained = await all_over(self._stage.database, within=self._plan.drain)

    async def judge(self, began: float) -> Findings:
        """Compare the ledgers with what is stored, when nobody changes either any more."""
        await self._stage.freeze()
        everything = await stored(self._stage.database)
        entries = await asyncio.to_thread(ledger.read, self._stage.ledgers)
        violations = oracle.judge(self.load.accepted, everything, entries)
        violations += [
            Violation(promise=oracle.SAID, what=what)
            for worker in self._unruly
            for what in worker.believed
        ]
        violations += [Violation(promise=oracle.PASSING, what=what) for what in self.load.refused]
        violations += _seen(self._sampler.samples)
        violations += [
            Violation(promise=oracle.QUIET, what=what) for what in logs.unexpected(self._folder)
        ]
        due, succeeded, failures = oracle.success(self.load.accepted, everything)
        return Findings(
            plan=self._plan,
            seconds=time.monotonic() - began,
            accepted=Counter(sent.function for sent in self.load.accepted.values()),
            unanswered=len(self.load.unanswered),
            repeats=self.load.repeats,
            errors=self.load.errors + self._companion.errors,
            entries=len(entries),
            ends=_ends(everything.records.values()),
            due=due,
            succeeded=succeeded,
            failures=failures,
            samples=self._sampler.samples,
            answers=sum((worker.answers for worker in self._unruly), Counter()),
            restarts=sum(worker.starts - 1 for worker in self._stage.workers),
            drained=self._drained,
            calm=self._latency(entries, 0),
            calm_blocked=self._latency(entries, -1),
            recoveries=recoveries(self._faults.injuries, entries, everything.records),
            violations=violations,
        )

    async def _stay_calm(self) -> None:
        """Send jobs while nothing is broken, to see how soon they begin."""
        began = time.monotonic()
        await self.load.send_steadily(self._plan.rate / 2, self._plan.calm)
        self._calm.append((began, time.monotonic()))

    async def _break(self) -> None:
        seconds = self._plan.seconds
        pause = self._plan.pause
        if seconds is None:
            faults = self._faults.each_once(pause)
            seconds = pause * self._faults.kinds
        else:
            faults = self._faults.at_random(seconds, pause)
        async with in_background(self._kill_by_jobs(seconds)):
            await asyncio.gather(faults, self.load.send_steadily(self._plan.rate, seconds))

    async def _kill_by_jobs(self, seconds: float) -> None:
        """Send the jobs that kill their workers, spread over the time."""
        names = ["mortal"] * self._plan.killers + ["poison"] * self._plan.poisons
        self._rng.shuffle(names)
        until = time.monotonic() + seconds
        for name in names:
            await self.load.send(name, until=until + 20)
            await asyncio.sleep(seconds / len(names) / 2)

    async def _revive(self) -> None:
        """Start workers again that their jobs have killed."""
        while True:
            for worker in self._stage.workers:
                if not worker.runs and not worker.lock.locked():
                    async with worker.lock:
                        await worker.start()
            await asyncio.sleep(0.2)

    def _latency(self, entries: list[Entry], number: int) -> float:
        """Return the median from send to start of no-ops in a time of calm."""
        if not self._calm:
            return 0.0
        begin, end = self._calm[number]
        sent = {
            job_id: each.at
            for job_id, each in self.load.accepted.items()
            if each.function == "noop" and begin <= each.at < end
        }
        starts = [
            entry.at - sent[entry.job_id]
            for entry in entries
            if entry.what is What.TURN and entry.job_id in sent
        ]
        return statistics.median(starts) if starts else 0.0


def _seen(samples: Samples) -> list[Violation]:
    return [
        Violation(promise=oracle.CAPPED if "cap is" in what else oracle.PLACES, what=what)
        for what in samples.wrong
    ]


def _ends(records: Any) -> Counter[tuple[str, str]]:
    return Counter((job.function, job.state.value) for job in records)


@asynccontextmanager
async def in_background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run tasks within the block; one that fails ends the block with its error."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
        yield
        for task in tasks:
            task.cancel()
