"""What is out of service on purpose, at hand in every instance of the health service."""

import asyncio
import random
from contextlib import suppress

import structlog

from services.health.database import FAILURES
from services.health.maintenance import Maintenance, Maintenances
from services.health.ports import MaintenanceStore
from services.health.prober import Prober

INTERVAL = 2.0
"""Seconds; also while the store is away, so that its return is heard of within five."""

log = structlog.get_logger()


class MaintenanceBook:
    """Reads the store every two seconds; while it does not answer, what is known stays in force.

    What ends does so by itself, whether the store can be asked or not. A resource: what was set
    before a restart is in force when the first call comes, if the store answers.
    """

    name = "maintenances"

    def __init__(
        self, store: MaintenanceStore, prober: Prober, *, interval: float = INTERVAL
    ) -> None:
        self._store = store
        self._prober = prober
        self._interval = interval
        self._known: Maintenances = {}
        self._changes = 0

    async def start(self) -> None:
        """Read what the store has, if it answers."""
        with suppress(*FAILURES):
            await self.load_once()

    async def close(self) -> None:
        """Do nothing: there is nothing to give back."""

    async def load_once(self) -> None:
        """Read what the store has; raises DatabaseError."""
        changes = self._changes
        found = await self._store.load()
        # What was set meanwhile may not be in it.
        if changes == self._changes:
            self._apply(found)

    async def set(self, maintenance: Maintenance) -> None:
        """Take a target out of service, everywhere; raises DatabaseError."""
        await self._store.put(maintenance)
        self._changes += 1
        self._apply({**self._known, maintenance.target: maintenance})

    async def end(self, target: str) -> None:
        """Take a target back into service, everywhere; raises DatabaseError."""
        await self._store.delete(target)
        self._changes += 1
        self._apply({name: each for name, each in self._known.items() if name != target})

    async def run(self) -> None:
        """Read again and again; for a background task, which must not end."""
        failing = False
        while True:
            try:
                await self.load_once()
                failing = False
            except FAILURES as error:
                if not failing:
                    log.warning("maintenances_not_read", error=str(error))
                failing = True
            await asyncio.sleep(self._interval * random.uniform(0.8, 1.2))  # noqa: S311

    def _apply(self, maintenances: Maintenances) -> None:
        self._known = maintenances
        self._prober.set_maintenances(maintenances)
