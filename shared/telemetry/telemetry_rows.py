"""The rows that a service writes about itself: its request log and its performance."""

import asyncio
import os
import secrets
from socket import gethostname

from shared.postgres.pool import Postgres
from shared.telemetry import metrics, performance, request_log
from shared.telemetry.call_lines import Keep
from shared.telemetry.measuring import work
from shared.telemetry.row_writer import INTERVAL, RowWriter

MAX_CALLS = 10_000
"""Rows of the request log that wait at most: some 5 MB."""
MAX_MINUTES = 10_000
"""Rows of performance that wait at most: those of 50 names for three hours."""


class TelemetryRows:
    """The rows of one service in one process; nobody waits for them to be written."""

    def __init__(self, service: str, postgres_url: str, *, interval: float = INTERVAL) -> None:
        instance = f"{gethostname()}:{os.getpid()}:{secrets.token_hex(2)}"
        postgres = Postgres(
            postgres_url,
            max_size=1,
            session_settings={
                "application_name": "mainstay telemetry",
                # The last rows may be lost if the server crashes; its disk has better to do.
                "synchronous_commit": "off",
            },
        )
        self._writer = RowWriter(postgres, interval=interval)
        calls = self._writer.buffer(
            request_log.TABLE, request_log.request_row(service, instance), max_rows=MAX_CALLS
        )
        minutes = self._writer.buffer(
            performance.TABLE,
            performance.performance_row(service, instance),
            max_rows=MAX_MINUTES,
        )
        self._unseen: set[str] = set()
        self._performance = performance.Performance(
            metrics.calls, work, minutes.add, unseen=self._unseen
        )
        self._keep: Keep = calls.add

    def of(self, method: str, *, quiet: bool) -> Keep | None:
        """Return what takes the calls of a method; of quiet ones nothing is kept."""
        if quiet:
            self._unseen.add(method)
            return None
        return self._keep

    async def run(self) -> None:
        """Write again and again; for a background task."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._performance.run(), name="performance")
            tasks.create_task(self._writer.run(), name="telemetry-writer")

    async def close(self) -> None:
        """Write what is left, within 2 s."""
        self._performance.close_current()
        await self._writer.close()
