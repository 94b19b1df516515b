"""The figures of one day, added up; every night by a schedule, and whenever somebody asks."""

import datetime as dt
from dataclasses import dataclass, field
from functools import partial

from examples.video_app.fakes.warehouse import FakeWarehouse
from mainstay.jobs import JobContext, KeyedConcurrency, Worker

METRICS = ("views", "watch_time", "signups", "revenue", "quiz_scores")


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """The payload of `analytics/daily.aggregate`; no creator means all of them."""

    date: dt.date
    metrics: list[str] = field(default_factory=lambda: list(METRICS))
    creator_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The sums of a day by metric."""

    date: dt.date
    totals: dict[str, int]


def register(worker: Worker, warehouse: FakeWarehouse) -> None:
    """Add `aggregate-day`."""

    # Two that add up the same day at once would only ask the same questions twice.
    @worker.function(
        "aggregate-day",
        on="analytics/daily.aggregate",
        retries=4,
        priority=-10,
        keyed_concurrency=KeyedConcurrency(key="/date", limit=1),
    )
    async def aggregate_day(job: JobContext, day: Day) -> Figures:
        """Ask for each metric by a step of its own: a retry asks only for what is missing."""
        totals = await job.step.parallel(
            {
                metric: partial(warehouse.total, metric, day.date, day.creator_id)
                for metric in day.metrics
            },
            at_once=3,
        )
        return Figures(date=day.date, totals=totals)
