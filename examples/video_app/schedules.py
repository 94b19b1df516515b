"""What the platform does by the clock: a deployment runs this once there is a worker.

Run it with `.venv/bin/python -m examples.video_app.schedules`; again changes nothing.
"""

import asyncio
from collections.abc import Sequence

from examples.video_app.jobs.content_health import CHECK_CONTENT
from mainstay import Mainstay
from mainstay.errors import NotFoundError
from mainstay.jobs import CatchUp, JobClient, Schedule


async def put_schedules(jobs: JobClient) -> Sequence[Schedule]:
    """Put the two schedules; raises NotFoundError when no worker has declared what they start."""
    nightly = await jobs.put_schedule(
        "analytics-nightly",
        # Half past nine in the evening in New York: there it is still the day that has just ended
        # in UTC, so that `{date}` names a day that is over.
        "30 21 * * *",
        time_zone="America/New_York",
        event="analytics/daily.aggregate",
        data={"date": "{date}"},
        # A day that is left out would be missing from every chart.
        catch_up=CatchUp.ALL,
    )
    weekly = await jobs.put_schedule(
        "content-health-weekly", "0 6 * * 1", function=CHECK_CONTENT, catch_up=CatchUp.LATEST
    )
    return nightly, weekly


async def main() -> int:
    """Put the schedules, tell when they tick next, and return the exit status."""
    async with Mainstay.from_environment(tenant="demo") as mainstay:
        try:
            schedules = await put_schedules(mainstay.jobs)
        except NotFoundError as error:
            print(f"{error.message}; run .venv/bin/python -m examples.video_app.worker first")
            return 1
    for schedule in schedules:
        starts = schedule.event or schedule.function
        print(f"{schedule.name:<22} {schedule.next_time:%a %d %b %H:%M} UTC  {starts}")
    return 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
