"""The service's own worker: its maintenance is functions of its own, started by its own schedules.

Every replica has one. What it does is a job like any other: it can be listed, watched, retried.
"""

import asyncio
from collections.abc import Callable

import structlog

from mainstay.errors import MainstayError
from mainstay.jobs import JobContext, JsonValue, Worker
from services.jobs.maintenance import Maintenance
from services.jobs.schedule import CatchUp, ScheduleDraft
from services.jobs.schedule_ports import ScheduleStore
from shared.rpc.call import Tenant

SYSTEM_TENANT = Tenant("mainstay")
PARTITION = "mainstay/partition-history"
SWEEP = "mainstay/sweep"
PAUSE_SECONDS = 5.0
DRAIN_SECONDS = 3.0

_SCHEDULES = {
    # Hourly, although a day is enough: the days to come are made even after a week's standstill.
    PARTITION: "17 * * * *",
    SWEEP: "43 * * * *",
}

log = structlog.get_logger()


class MaintenanceWorker:
    """Does the maintenance that schedules ask for; connects to the service at `address()`."""

    def __init__(
        self, address: Callable[[], str], maintenance: Maintenance, schedules: ScheduleStore
    ) -> None:
        self._address = address
        self._maintenance = maintenance
        self._schedules = schedules
        self._worker: Worker | None = None
        self._draining = False

    async def run(self) -> None:
        """Work until cancelled; for a background task."""
        while not self._draining:
            self._worker = self._new_worker()
            try:
                await self._keep_schedules()
                await self._worker.run()
            except MainstayError as error:
                log.warning("maintenance_interrupted", error=error.message)
                await asyncio.sleep(PAUSE_SECONDS)
        await asyncio.Event().wait()

    async def drain(self) -> None:
        """Take no more jobs and finish the one at hand."""
        self._draining = True
        if self._worker is not None:
            self._worker.stop()

    async def _keep_schedules(self) -> None:
        for function, cron in _SCHEDULES.items():
            await self._schedules.keep(SYSTEM_TENANT, _draft(function, cron))

    def _new_worker(self) -> Worker:
        worker = Worker(
            _reachable(self._address()),
            name="maintenance",
            tenant=SYSTEM_TENANT,
            concurrency=1,
            drain_seconds=DRAIN_SECONDS,
        )
        worker.function(PARTITION, concurrency=1)(self._partition)
        worker.function(SWEEP, concurrency=1)(self._sweep)
        return worker

    async def _partition(self, _job: JobContext) -> JsonValue:
        return {**await self._maintenance.partition()}

    async def _sweep(self, _job: JobContext) -> JsonValue:
        return {**await self._maintenance.sweep()}


def _reachable(address: str) -> str:
    """Return where a server that listens on every address can be reached from here."""
    return address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")


def _draft(function: str, cron: str) -> ScheduleDraft:
    return ScheduleDraft(
        name=function,
        cron=cron,
        time_zone="UTC",
        event="",
        function=function,
        data="{}",
        catch_up=CatchUp.LATEST,
        paused=False,
    )
