"""Looks into the database again and again for caps exceeded, and jobs in two places."""

import asyncio
import time
from dataclasses import dataclass, field

from tests.faults.jobs_suite.functions import BLOCKED, CAP, KEY_CAP, TRIGGERED
from tests.faults.jobs_suite.stage import Database

PAUSE = 0.05
_RUNNING = """
SELECT function, CASE WHEN function = 'keyed' THEN tenant || '/' || key ELSE '' END AS key,
    count(*) AS running
FROM jobs.leases
WHERE function IN ('capped', 'keyed')
GROUP BY 1, 2
"""
# Where few jobs are, each looked for where many are.
_TWICE = """
SELECT job_id::text FROM jobs.leases WHERE job_id IN (SELECT job_id FROM jobs.delayed)
UNION ALL SELECT l.job_id::text FROM jobs.leases AS l JOIN jobs.ready AS r USING (job_id)
UNION ALL SELECT d.job_id::text FROM jobs.delayed AS d JOIN jobs.ready AS r USING (job_id)
UNION ALL SELECT d.job_id::text FROM jobs.dead_letters AS d JOIN jobs.ready AS r USING (job_id)
UNION ALL SELECT l.job_id::text FROM jobs.leases AS l JOIN jobs.dead_letters AS d USING (job_id)
"""
_MOVING = [name for name in TRIGGERED if name != BLOCKED]
_BACKLOG = """
SELECT (SELECT count(*) FROM jobs.ready WHERE function = ANY($1::text[]))
    + (SELECT count(*) FROM jobs.leases) AS jobs
"""
CAPS = {"capped": CAP, "keyed": KEY_CAP}


@dataclass(slots=True)
class Samples:
    """What was seen: how often, the most that ran at once by function, and what must not be."""

    taken: int = 0
    most: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Sampler:
    """Takes samples until cancelled; `backlog` is how many jobs could run or do, not long ago."""

    def __init__(self, database: Database) -> None:
        self.samples = Samples()
        self.backlog = 0
        self._database = database

    async def run(self) -> None:
        """Look about fifteen times a second."""
        looked = 0.0
        while True:
            for row in await self._database.fetch(_RUNNING):
                self._saw(row["function"], row["key"], row["running"])
            self.samples.taken += 1
            ((self.backlog,),) = await self._database.fetch(_BACKLOG, _MOVING)
            if time.monotonic() > looked + 1.0:
                looked = time.monotonic()
                for row in await self._database.fetch(_TWICE):
                    self.samples.wrong.append(f"job {row['job_id']} in two places")
            await asyncio.sleep(PAUSE)

    def _saw(self, function: str, key: str, running: int) -> None:
        most = self.samples.most
        most[function] = max(most.get(function, 0), running)
        if running > CAPS[function]:
            what = f"{function} {key}".strip()
            self.samples.wrong.append(
                f"{running} of {what} leased at once, the cap is {CAPS[function]}"
            )
