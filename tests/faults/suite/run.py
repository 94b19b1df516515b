"""One run: a stage, traffic, faults one after the other, and the judgement in the end."""

import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.jobs_suite import ledger, logs, oracle
from tests.faults.jobs_suite.companion import Companion
from tests.faults.jobs_suite.load import Load
from tests.faults.jobs_suite.oracle import Violation
from tests.faults.jobs_suite.records import all_over, stored
from tests.faults.jobs_suite.run import in_background
from tests.faults.suite import promises
from tests.faults.suite.faults import Fault
from tests.faults.suite.history import Call
from tests.faults.suite.rolling import Rolling, roll
from tests.faults.suite.stage import RULES, SERVICE_PARTIES, WORKERS, Stage, running_stage
from tests.faults.suite.traffic import RATES, Traffic
from tests.faults.suite.wiring import CALLERS, Wiring

CALM = 2.5
PATIENCE = promises.RECOVERY_SECONDS + 5.0
LOOK_SECONDS = 0.25
AFTERWARDS = "all healthy"
"""The kind of calls that cannot succeed while a fault lasts, whoever outlives it."""


@dataclass(slots=True, kw_only=True)
class Injury:
    """A fault that took place; `recoveries` are seconds by kind of calls, None for never."""

    kind: str
    target: str
    outlived: bool
    began: float
    ended: float = 0.0
    recoveries: dict[str, float | None] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    calls: int = 0

    @property
    def slowest(self) -> tuple[str, float | None]:
        """Return which kind of calls recovered last, and when."""
        never = [kind for kind, after in self.recoveries.items() if after is None]
        if never:
            return ", ".join(never), None
        return max(self.recoveries.items(), key=lambda each: each[1] or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of everything.

    Attributes:
        seed: Of every choice of chance.
        seconds: After so long no further fault begins.
        jobs: Jobs of the mixture that are sent in a second, beside those of the traffic.
        rolling: Calls in a second of the rolling restart, with which the run begins; 0 for none.
        drain: How long jobs may take to end once all is healed, in seconds.

    """

    seed: int
    seconds: float
    jobs: float = 4.0
    rolling: float = 0.0
    drain: float = 90.0


@dataclass(slots=True, kw_only=True)
class Findings:
    """What came of a run."""

    network: str
    seconds: float = 0.0
    load: float = 0.0
    injuries: list[Injury] = field(default_factory=list)
    omitted: list[str] = field(default_factory=list)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    calm: Counter[tuple[str, str]] = field(default_factory=Counter)
    rates: dict[str, float] = field(default_factory=dict)
    slowest: float = 0.0
    stalls: int = 0
    stalled: float = 0.0
    reads: int = 0
    invalidations: int = 0
    decisions: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    jobs: int = 0
    due: int = 0
    succeeded: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    drained: float = 0.0
    entries: int = 0
    ended: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    rolling: Rolling | None = None
    violations: list[Violation] = field(default_factory=list)


async def run(
    plan: Plan, wiring: Wiring, folder: Path, faults: Callable[[], Sequence[Fault]]
) -> Findings:
    """Put everything on a stage, break it in the order of the faults, and judge."""
    async with running_stage(wiring, folder) as stage:
        target = await stage.target(CALLERS, "jobs")
        load = Load(target, random.Random(plan.seed + 1))
        try:
            return await _Performance(plan, stage, load).play(faults())
        finally:
            await load.close()


class _Performance:
    """A plan on a stage."""

    def __init__(self, plan: Plan, stage: Stage, load: Load) -> None:
        self._plan = plan
        self._stage = stage
        self._load = load
        self._traffic = Traffic(stage, load, random.Random(plan.seed + 2))
        self._companion = Companion(stage.database, load)
        self._found = Findings(network=stage.wiring.name)
        self._faulty: list[tuple[float, float]] = []

    async def play(self, faults: Sequence[Fault]) -> Findings:
        """Call, break and heal, wait until no job is left to be done, and judge."""
        began = time.monotonic()
        await self._stage.workers_known(len(WORKERS))
        if self._plan.rolling:
            self._found.rolling = await roll(self._stage, self._load, rate=self._plan.rolling)
        await self._traffic.renew()
        traffic, forever = asyncio.create_task(self._traffic.run()), 86_400.0
        jobs = self._load.send_steadily(self._plan.jobs, forever)
        try:
            async with in_background(self._stage.keep(), self._companion.run()):
                async with in_background(jobs):
                    await self._break(faults, until=began + self._plan.seconds)
                    traffic.cancel()
                    await asyncio.gather(traffic, return_exceptions=True)
                await self._traffic.close()
                self._found.drained = await all_over(self._stage.database, within=self._plan.drain)
        finally:
            traffic.cancel()
        await self._stage.freeze()
        self._found.seconds = time.monotonic() - began
        self._found.load = os.getloadavg()[2]
        await self._judge()
        return self._found

    async def _break(self, faults: Sequence[Fault], *, until: float) -> None:
        # What is measured later is compared with what it was: first, all has to be well.
        await self._until_well(time.monotonic())
        for fault in faults:
            if time.monotonic() >= until:
                self._found.omitted.append(f"{fault.kind}: {fault.target}")
                continue
            await self._traffic.renew()
            await asyncio.sleep(CALM)
            await self._inflict(fault)

    async def _inflict(self, fault: Fault) -> None:
        injury = Injury(
            kind=fault.kind,
            target=fault.target,
            outlived=fault.outlived,
            began=time.monotonic(),
        )
        self._found.injuries.append(injury)
        await fault.begin(self._stage)
        await asyncio.sleep(fault.seconds)
        await fault.end(self._stage)
        injury.ended = time.monotonic()
        injury.recoveries = await self._until_well(injury.ended, injury)
        over = time.monotonic()
        for call in self._since(injury.began):
            injury.calls += 1
            if call.outcome not in {"ok", ""}:
                injury.errors[f"{call.kind}: {call.outcome}"] += 1
        self._faulty.append((injury.began, over))
        sys.stderr.write(f"{_told(injury)}\n")

    async def _until_well(
        self, ended: float, injury: Injury | None = None
    ) -> dict[str, float | None]:
        """Wait until calls of every kind succeed again; return after how long each did."""
        while True:
            now = time.monotonic()
            found: dict[str, float | None] = {}
            for kind, rate in RATES.items():
                outlived = injury is not None and injury.outlived and kind != AFTERWARDS
                since = injury.began if injury is not None and outlived else ended
                calls = [call for call in self._since(since) if call.kind == kind]
                least = max(1, int(rate * promises.CLEAN_SECONDS * 0.7))
                found[kind] = promises.recovery(calls, since, least=least, now=now)
            if None not in found.values() or now > ended + PATIENCE:
                return found
            await asyncio.sleep(LOOK_SECONDS)

    def _since(self, moment: float) -> list[Call]:
        """Return the calls since a moment, which are the last of the history."""
        found = []
        for call in reversed(self._traffic.history.calls):
            if call.began < moment - 1.0:
                break
            if call.began >= moment:
                found.append(call)
        return found[::-1]

    async def _judge(self) -> None:
        found, history, stage = self._found, self._traffic.history, self._stage
        everything = await stored(stage.database)
        entries = await asyncio.to_thread(ledger.read, stage.ledgers)
        starts = [
            at for name in SERVICE_PARTIES if "ratelimit" in name for at in stage.starts[name]
        ]
        found.violations = [
            *oracle.judge(self._load.accepted, everything, entries),
            *promises.stale(history.reads, history.values, history.invalidations),
            *promises.over_limit(history.decisions, RULES, starts),
            *promises.wrong_modes(history.decisions, RULES),
            *promises.hung(history, time.monotonic()),
            *_unrecovered(found.injuries),
            *_rolled(found.rolling),
        ]
        for at, what in stage.ended:
            found.ended.append(what)
            if not what.startswith(("postgres", "redis")):
                found.violations.append(
                    Violation(promise=promises.LIVING, what=f"at {at:.1f}: {what}")
                )
        found.logged = logs.unexpected(stage.logs)
        found.due, found.succeeded, found.failures = oracle.success(self._load.accepted, everything)
        found.jobs, found.entries = len(self._load.accepted), len(entries)
        self._count()

    def _count(self) -> None:
        found, history = self._found, self._traffic.history
        for call in history.calls:
            calm = not any(began <= call.began <= over for began, over in self._faulty)
            (found.calm if calm else found.calls)[call.kind, call.outcome] += 1
        span = history.calls[-1].began - history.calls[0].began if history.calls else 1.0
        total = Counter(call.kind for call in history.calls)
        found.rates = {kind: total[kind] / max(span, 1.0) for kind in RATES}
        found.slowest = max((c.ended or 0.0) - c.began - c.deadline for c in history.calls)
        found.stalls = len(history.stalls)
        found.stalled = max((lasted for _, lasted in history.stalls), default=0.0)
        found.reads, found.invalidations = len(history.reads), len(history.invalidations)
        for each in history.decisions:
            found.decisions[each.rule, each.mode, each.allowed] += 1


def _told(injury: Injury) -> str:
    kind, after = injury.slowest
    recovered = "never" if after is None else f"{after:.1f} s"
    return f"{injury.kind}: {injury.target}; recovery {recovered} ({kind})"


def _unrecovered(injuries: Sequence[Injury]) -> list[Violation]:
    found = []
    for injury in injuries:
        for kind, after in injury.recoveries.items():
            if after is None or after > promises.RECOVERY_SECONDS:
                said = "did not recover" if after is None else f"recovered after {after:.1f} s"
                what = f"{kind} {said}: {injury.kind}, {injury.target}"
                found.append(Violation(promise=promises.RECOVERED, what=what))
    return found


def _rolled(rolling: Rolling | None) -> list[Violation]:
    if rolling is None:
        return []
    return [
        Violation(promise=promises.ROLLING, what=f"{what} ({count} times)")
        for what, count in rolling.failures.items()
    ]
