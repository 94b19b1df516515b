"""The methods of the client that look at jobs: once, in lists, and for as long as they last."""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from mainstay.errors import DeadlineError, MainstayError
from mainstay.jobs.calls import PAGE_SIZE, Calls, all_pages
from mainstay.jobs.job_messages import filter_message, parse_job
from mainstay.jobs.model import Job, JobFilter
from mainstay.jobs.reconnect import reconnect_pause
from mainstay.jobs.v1 import job_service_pb2 as pb

log = logging.getLogger("mainstay.jobs")

# A watch is renewed this often, so that no stream outlives a silent loss of its connection by much.
WATCH_SECONDS = 60.0


class Watching(Calls):
    """Reads and watches jobs."""

    async def get_job(self, job_id: str) -> Job:
        """Return the job as it is now; raises NotFoundError when there is none for this tenant."""
        request = pb.GetJobRequest(job_id=job_id)
        response = await self._channel.unary(self._stub.GetJob, request, retry=True)
        return parse_job(response.job)

    def list_jobs(self, filter: JobFilter | None = None) -> AsyncGenerator[Job, None]:  # noqa: A002
        """Yield jobs that fit, the newest first, without their steps, results and payloads.

        Pages are fetched as they are read; jobs that come meanwhile are neither repeated nor hide
        others. Jobs that have ended are listed for 30 days.
        """
        wire = filter_message(filter)

        async def fetch(token: str) -> tuple[Sequence[Job], str]:
            request = pb.ListJobsRequest(filter=wire, page_size=PAGE_SIZE, page_token=token)
            page = await self._channel.unary(self._stub.ListJobs, request, retry=True)
            return [parse_job(job) for job in page.jobs], page.next_page_token

        return all_pages(fetch)

    async def watch_job(
        self,
        job_id: str,
        *,
        after_revision: int = 0,
        timeout: float | None = None,  # noqa: ASYNC109 - bounds the whole watch, reconnects included
    ) -> AsyncGenerator[Job, None]:
        """Yield the job as it is and again after every change, until it has ended.

        Only what is newer than `after_revision` is yielded; changes that come faster than they are
        read are folded into one, and the last state is always among them. When the service cannot
        be reached the watch goes on from the last revision as soon as it can be again; that it was
        interrupted is logged under `mainstay.jobs`. With a `timeout` in seconds DeadlineError is
        raised when the job has not ended by then. Raises NotFoundError when there is no such job.
        """
        async with aclosing(self.watch_jobs({job_id: after_revision}, timeout=timeout)) as jobs:
            async for job in jobs:
                yield job

    async def watch_jobs(
        self,
        jobs: Sequence[str] | Mapping[str, int],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - bounds the whole watch, reconnects included
    ) -> AsyncGenerator[Job, None]:
        """Yield up to 1,000 jobs on one stream, each as `watch_job` does, until all have ended.

        `jobs` are ids, or ids with the revision after which each is wanted. Raises NotFoundError
        naming a job that does not exist.
        """
        wanted = jobs if isinstance(jobs, Mapping) else dict.fromkeys(jobs, 0)
        seen = {_as_told(job_id): revision for job_id, revision in wanted.items()}
        expiry = math.inf if timeout is None else time.monotonic() + timeout
        failures = 0
        trouble: MainstayError | None = None
        while seen:
            try:
                async with aclosing(self._open_watch(seen, expiry)) as states:
                    async for job in states:
                        failures, trouble = 0, None
                        if job.state.ended:
                            seen.pop(job.job_id, None)
                        else:
                            seen[job.job_id] = job.revision
                        yield job
                async for job in self._ended(seen, expiry):
                    yield job
                failures += 1
            except MainstayError as error:
                failures = _count_failure(error, failures)
                if not isinstance(error, DeadlineError):
                    if trouble is None:
                        log.warning("watch interrupted, goes on when it can: %s", error.message)
                    trouble = error
            if seen:
                await self._pause(seen, failures, expiry, trouble)

    async def wait_for_job(self, job_id: str, *, timeout: float) -> Job:  # noqa: ASYNC109 - as above
        """Return the job once it has ended, well or badly.

        Raises DeadlineError when it has not within `timeout` seconds; the job goes on.
        """
        async with aclosing(self.watch_job(job_id, timeout=timeout)) as jobs:
            async for job in jobs:
                if job.state.ended:
                    return job
        return await self.get_job(job_id)

    async def _open_watch(
        self, seen: Mapping[str, int], expiry: float
    ) -> AsyncGenerator[Job, None]:
        wanted = [
            pb.WatchJobRequest(job_id=job_id, after_revision=revision)
            for job_id, revision in seen.items()
        ]
        timeout = min(_remaining(expiry), WATCH_SECONDS)
        if len(wanted) == 1:
            states = self._channel.server_stream(self._stub.WatchJob, wanted[0], timeout=timeout)
            async with aclosing(states):
                async for state in states:
                    yield parse_job(state.job)
            return
        many = self._channel.server_stream(
            self._stub.WatchJobs, pb.WatchJobsRequest(jobs=wanted), timeout=timeout
        )
        async with aclosing(many):
            async for each in many:
                yield parse_job(each.job)

    async def _ended(self, seen: dict[str, int], expiry: float) -> AsyncGenerator[Job, None]:
        """Take out of `seen` those that are over, and yield those whose end was not seen.

        A stream ends when all of its jobs are over, and says nothing of those that were so at the
        revision after which they were wanted.
        """
        for job_id, revision in list(seen.items()):
            response = await self._channel.unary(
                self._stub.GetJob,
                pb.GetJobRequest(job_id=job_id),
                timeout=min(_remaining(expiry), self._channel.timeout),
            )
            job = parse_job(response.job)
            if job.state.ended:
                del seen[job_id]
                if job.revision > revision:
                    yield job

    async def _pause(
        self,
        seen: Mapping[str, int],
        failures: int,
        expiry: float,
        trouble: MainstayError | None,
    ) -> None:
        pause = reconnect_pause(failures, self._jitter) if failures else 0.0
        if time.monotonic() + pause >= expiry:
            others = len(seen) - 1
            has = f" and {others:,} more have" if others else " has"
            at_last = "" if trouble is None else f"; at last it could not look: {trouble.message}"
            raise DeadlineError(
                f"job {next(iter(seen))}{has} not ended within the time of the watch, which stops "
                f"none of them; watch again{at_last}"
            ) from trouble
        await asyncio.sleep(pause)


def _as_told(job_id: str) -> str:
    """Return an id as the service will write it; what is none is for the service to refuse."""
    try:
        return str(uuid.UUID(job_id))
    except ValueError:
        return job_id


def _remaining(expiry: float) -> float:
    """Return the seconds left; never nothing, which would mean: no deadline."""
    return max(expiry - time.monotonic(), 0.001)


def _count_failure(error: MainstayError, failures: int) -> int:
    """Return how many failures there are now in a row, or raise what waiting cannot heal."""
    if isinstance(error, DeadlineError):
        return 1  # one stream's time is over, or the whole watch's, which the loop knows
    if not error.transient:
        raise error
    return failures + 1
