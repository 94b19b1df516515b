"""Brings waiting jobs what they wait for: signals, events, and the cancellation of sagas."""

import asyncio
from collections import Counter
from typing import Any

from mainstay.errors import MainstayError, NotFoundError, PreconditionError
from tests.faults.jobs_suite.load import Load
from tests.faults.jobs_suite.stage import Database

PAUSE = 0.2
_WAITS = """
SELECT w.job_id::text AS job_id, w.kind, w.subject, w.tenant, (j.data ->> 'n')::integer AS n
FROM jobs.waits AS w JOIN jobs.jobs AS j USING (job_id)
WHERE w.kind IN ('event', 'signal') AND j.cancel_time IS NULL
"""


class Companion:
    """Looks for waits that are stored, and answers each; what fails is answered again."""

    def __init__(self, database: Database, load: Load) -> None:
        self.errors: Counter[str] = Counter()
        self._database = database
        self._load = load
        self._answered: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            waits = await self._database.fetch(_WAITS)
            new = [
                each for each in waits if (each["job_id"], each["subject"]) not in self._answered
            ]
            for begin in range(0, len(new), 10):
                await asyncio.gather(*map(self._answer, new[begin : begin + 10]))
            await asyncio.sleep(PAUSE)

    async def _answer(self, wait: Any) -> None:
        client = self._load.clients[wait["tenant"]]
        job_id, n = wait["job_id"], wait["n"]
        try:
            if wait["kind"] == "event":
                key = f"news-{job_id}"
                await client.send_event(wait["subject"], {"n": n}, idempotency_key=key)
            elif wait["subject"] == "never":
                await client.cancel_job(job_id, rollback=True, reason="the suite asks for it")
            else:
                await client.signal_job(job_id, wait["subject"], {"n": n})
        except (NotFoundError, PreconditionError):
            pass  # an answer whose reply was lost had come: what it waited for, it has
        except MainstayError as error:
            self.errors[type(error).__name__] += 1
            return
        self._answered.add((job_id, wait["subject"]))
