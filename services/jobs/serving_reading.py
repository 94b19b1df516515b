"""GetJob, ListJobs, ListDeadLetters, WatchJob and WatchJobs: parse, call, format."""

import math
from collections.abc import AsyncIterator
from contextlib import aclosing

from mainstay.jobs.v1 import job_service_pb2 as pb
from services.jobs import formatting, job_parsing
from services.jobs.job_filter import JobPage
from services.jobs.listing_ports import ListingStore
from services.jobs.parsing import job_id_from
from services.jobs.watch import Watches
from shared.pages import page_size, page_token
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

# A watch without a deadline ends by itself: it may be for a job that nobody ever does.
_WATCH = MethodPolicy(default_deadline=3600.0, max_deadline=math.inf)

METHODS = {
    "GetJob": MethodPolicy(),
    "ListJobs": MethodPolicy(),
    "ListDeadLetters": MethodPolicy(),
    "WatchJob": _WATCH,
    "WatchJobs": _WATCH,
}


class ReadingMethods:
    """The methods of those who look at jobs."""

    watches: Watches
    listing: ListingStore

    async def GetJob(self, request: pb.GetJobRequest, context: object) -> pb.GetJobResponse:
        job = await self.watches.get(current_call().tenant, job_id_from(request.job_id))
        return pb.GetJobResponse(job=formatting.job(job))

    async def ListJobs(self, request: pb.ListJobsRequest, context: object) -> pb.ListJobsResponse:
        page = await self.listing.list_jobs(
            current_call().tenant,
            job_parsing.filter_from(request.filter),
            below=job_parsing.below_from(request.page_token),
            size=page_size(request.page_size),
        )
        return pb.ListJobsResponse(jobs=map(formatting.job, page.jobs), next_page_token=_next(page))

    async def ListDeadLetters(
        self, request: pb.ListDeadLettersRequest, context: object
    ) -> pb.ListDeadLettersResponse:
        page = await self.listing.list_dead_letters(
            current_call().tenant,
            job_parsing.filter_from(request.filter),
            below=job_parsing.below_from(request.page_token),
            size=page_size(request.page_size),
        )
        return pb.ListDeadLettersResponse(
            jobs=map(formatting.job, page.jobs), next_page_token=_next(page)
        )

    async def WatchJob(
        self, request: pb.WatchJobRequest, context: object
    ) -> AsyncIterator[pb.WatchJobResponse]:
        seen = {job_id_from(request.job_id): request.after_revision}
        async with aclosing(self.watches.follow(current_call().tenant, seen)) as jobs:
            async for job in jobs:
                yield pb.WatchJobResponse(job=formatting.job(job))

    async def WatchJobs(
        self, request: pb.WatchJobsRequest, context: object
    ) -> AsyncIterator[pb.WatchJobsResponse]:
        seen = job_parsing.watched_from(request)
        async with aclosing(self.watches.follow(current_call().tenant, seen)) as jobs:
            async for job in jobs:
                yield pb.WatchJobsResponse(job=formatting.job(job))


def _next(page: JobPage) -> str:
    return "" if page.next is None else page_token([str(page.next)])
