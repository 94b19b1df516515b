"""How fast jobs of five durable steps are done."""

from bench.job_contenders import DBOS, STEPS, STEPS_OF_A_JOB, Contender, those
from bench.job_draining import LONGEST, Drained, drain, rows_of
from bench.job_stage import Stage, attempt, stage
from bench.report import OURS, Findings

CONCURRENCY = 50
JOBS, JOBS_OF_RIVALS = 2_000, 500
BAR = 300


async def run() -> Findings:
    """Drain one queue after the other."""
    turns: dict[str, list[Drained]] = {}
    failures: list[str] = []
    async with stage() as place:
        for contender in those(DBOS):
            work = _drain(place, contender, turns)
            await attempt(contender, work, seconds=LONGEST, failures=failures)
    note = (
        f"Steps: {JOBS:,} jobs ({JOBS_OF_RIVALS} of rivals) of {STEPS_OF_A_JOB} steps that do "
        f"nothing, one after the other, each stored before the next; {CONCURRENCY} jobs at a time."
    )
    return Findings(
        rows=rows_of(f"Jobs of {STEPS_OF_A_JOB} steps", turns, BAR),
        note=" ".join([note, *failures]),
    )


async def _drain(place: Stage, contender: Contender, turns: dict[str, list[Drained]]) -> None:
    jobs = JOBS if contender.name == OURS else JOBS_OF_RIVALS
    turns[contender.name] = [
        await drain(place, contender, STEPS, jobs=jobs, concurrency=CONCURRENCY)
    ]
