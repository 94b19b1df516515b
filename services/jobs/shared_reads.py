"""Reads that many watchers share: one query for all jobs that somebody wants to see now."""

import asyncio
import math
from collections.abc import Collection
from itertools import islice

from mainstay.errors import DatabaseError
from services.jobs.job import Job, JobId
from services.jobs.ports import JobReader
from services.jobs.wakeups import Signal
from shared.rpc.call import Tenant

BATCH = 100
"""Jobs in one query."""
ROOM = 2 * 1024 * 1024
"""Bytes that one query brings, unless a single job has more: what a watcher may keep at a time."""

_Pair = tuple[Tenant, JobId]


class _Left:
    """A job that is there and did not fit."""


_Outcome = Job | None | _Left | DatabaseError


class SharedReads:
    """Whoever wants a job before its read has begun gets what that read brings."""

    def __init__(self, reader: JobReader) -> None:
        self._reader = reader
        self._wanted: dict[_Pair, asyncio.Future[_Outcome]] = {}
        self._signal = Signal()

    async def read(self, tenant: Tenant, job_ids: Collection[JobId]) -> dict[JobId, Job | None]:
        """Return jobs as they are after this call, None for those there are not.

        Those that do not fit into an answer are left out: ask for them again. Raises DatabaseError
        when the database cannot be used.
        """
        loop = asyncio.get_running_loop()
        reads = {
            job_id: self._wanted.setdefault((tenant, job_id), loop.create_future())
            for job_id in job_ids
        }
        self._signal.set()
        # Cancels none of them when the caller goes: others wait for them too.
        await asyncio.wait(reads.values())
        jobs: dict[JobId, Job | None] = {}
        for job_id, read in reads.items():
            match read.result():
                case DatabaseError() as error:
                    raise error
                case _Left():
                    pass
                case job:
                    jobs[job_id] = job
        return jobs

    async def run(self) -> None:
        """Read what is wanted, for ever."""
        while True:
            await self._signal.wait(within=math.inf)
            while self._wanted:
                await self.run_once()

    async def run_once(self) -> None:
        """Read the jobs that have been wanted for longest."""
        batch = {pair: self._wanted.pop(pair) for pair in list(islice(self._wanted, BATCH))}
        try:
            found = await self._reader.find_many(batch.keys(), room=ROOM)
        except DatabaseError as error:
            for read in batch.values():
                read.set_result(error)
        else:
            for pair, read in batch.items():
                read.set_result(_Left() if pair in found.left else found.jobs.get(pair))
