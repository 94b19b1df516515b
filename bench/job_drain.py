"""How fast jobs that do nothing are done, end to end, with everything on this machine."""

from bench.job_contenders import DBOS, DRAMATIQ, NOOP, PGQUEUER, PROCRASTINATE, Contender, those
from bench.job_draining import LONGEST, Drained, drain, rows_of
from bench.job_stage import Stage, attempt, stage
from bench.report import Findings

BAR = 5_000
TURNS = 3


async def run() -> Findings:
    """Take turns, so that a busy neighbour disturbs all of them."""
    turns: dict[str, list[Drained]] = {}
    failures: list[str] = []
    contenders = those(PGQUEUER, PROCRASTINATE, DBOS, DRAMATIQ)
    async with stage() as place:
        for contender in contenders * TURNS:
            work = _take_turn(place, contender, turns)
            await attempt(contender, work, seconds=LONGEST, failures=failures)
    return Findings(
        rows=rows_of("No-op jobs end to end", turns, BAR), note=_note(contenders, failures)
    )


async def _take_turn(place: Stage, contender: Contender, turns: dict[str, list[Drained]]) -> None:
    jobs, concurrency = contender.drain_jobs, contender.drain_concurrency
    drained = await drain(place, contender, NOOP, jobs=jobs, concurrency=concurrency)
    turns.setdefault(contender.name, []).append(drained)


def _note(contenders: list[Contender], failures: list[str]) -> str:
    each = "; ".join(
        f"{one.name}: {one.drain_jobs:,} jobs, {one.drain_concurrency or 'any number'} at a time, "
        f"{one.durability}"
        for one in contenders
    )
    note = (
        "Drain: payloads of 200 B, queued before the one worker starts; from the first job's begin "
        f"until the last end is stored; medians of {TURNS} turns. PostgreSQL with fsync and "
        f"synchronous_commit on for all who use it. {each}."
    )
    return " ".join([note, *failures])
