"""Asks every target in the background and keeps the snapshot that all answers are read from."""

import asyncio
import random
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import structlog

from mainstay.context import new_request_id
from services.health import metrics
from services.health.maintenance import Maintenances
from services.health.ports import Probe, ProbeError
from services.health.rollup import Report
from services.health.snapshot import Snapshot
from services.health.state import Observation, State
from services.health.target import Target

log = structlog.get_logger()

# Several health services, and many targets, should not all knock at the same moment.
_JITTER = 0.1


def utc_now() -> datetime:
    """Return the time for people."""
    return datetime.now(UTC)


class Prober:
    """Probes all targets at once, every `interval` seconds, each for `timeout` seconds at most.

    As a resource of the service it has asked every target once before the service takes calls; a
    dead target is then known to be dead and holds up nothing.
    """

    name = "prober"

    def __init__(
        self,
        probes: Mapping[str, Probe],
        snapshot: Snapshot,
        *,
        interval: float,
        timeout: float,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = utc_now,
        request_ids: Callable[[], str] = new_request_id,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.snapshot = snapshot
        self._probes = dict(probes)
        self._interval = interval
        self._timeout = timeout
        self._monotonic = monotonic
        self._wall = wall
        self._request_ids = request_ids
        self._uniform = uniform
        self._listeners: list[Callable[[Observation | None], None]] = []

    def listen(self, noticed: Callable[[Observation | None], None]) -> None:
        """Call `noticed` with every observation, and with None when something else has changed."""
        self._listeners.append(noticed)

    def report(self) -> Report:
        """Return the report as of now."""
        return self.snapshot.report(self._monotonic(), self._wall())

    def set_maintenances(self, maintenances: Maintenances) -> None:
        """Take these targets, and no others, for out of service on purpose."""
        if maintenances != self.snapshot.maintenances:
            self.snapshot = self.snapshot.with_maintenances(maintenances)
            self._notice(None)

    async def replace_replicas(self, service: str, probes: Mapping[Target, Probe]) -> None:
        """Probe these replicas of a service from the next round on, and no others.

        The probe of a replica that stays is kept; its new one is closed, as are those that go.
        """
        names = {target.name for target in probes}
        gone = [
            self._probes.pop(name)
            for name, target in self.snapshot.probed.items()
            if target.service == service and name not in names and name in self._probes
        ]
        for target, probe in probes.items():
            if self._probes.setdefault(target.name, probe) is not probe:
                gone.append(probe)
        before = self.snapshot.probed
        self.snapshot = self.snapshot.with_replicas(service, list(probes))
        metrics.forget(before.keys() - self.snapshot.probed.keys())
        self._notice(None)
        await asyncio.gather(*(probe.close() for probe in gone))

    async def start(self) -> None:
        """Make the first round: `timeout` seconds at most, whatever state the targets are in."""
        await self.run_once()

    async def close(self) -> None:
        """Close the connections of the probes."""
        await asyncio.gather(*(probe.close() for probe in self._probes.values()))

    async def run(self) -> None:
        """Probe in rounds until cancelled; the first one was made by `start`.

        Rounds begin at the interval, however long one takes: what hangs is noticed no later.
        """
        took = 0.0
        while True:
            pause = self._interval * self._uniform(1 - _JITTER, 1 + _JITTER)
            await asyncio.sleep(max(0.0, pause - took))
            began = self._monotonic()
            await self.run_once()
            took = self._monotonic() - began

    async def run_once(self) -> None:
        """Probe every target once, all at the same time; each result counts as soon as it is in."""
        async with asyncio.TaskGroup() as round_of_probes:
            for target, probe in list(self._probes.items()):
                round_of_probes.create_task(self._probe(target, probe), name=f"probe {target}")

    async def _probe(self, target: str, probe: Probe) -> None:
        seen = await self._ask(target, probe)
        if target not in self.snapshot.probed:
            return  # a replica that left while it was being asked
        before = self.snapshot.state(target, seen.at)
        self.snapshot = self.snapshot.after(seen)
        metrics.record_probe(seen)
        if before is not self.snapshot.state(target, seen.at):
            _log_change(before, self.snapshot.standings[target].held)
        self._notice(seen)

    def _notice(self, seen: Observation | None) -> None:
        for noticed in self._listeners:
            noticed(seen)

    async def _ask(self, target: str, probe: Probe) -> Observation:
        request_id = self._request_ids()
        began = self._monotonic()
        state, message, cause = State.UNHEALTHY, "", ""
        try:
            async with asyncio.timeout(self._timeout):
                message = await probe.ask(request_id)
                state = State.DEGRADED if message else State.HEALTHY
        except TimeoutError:
            message = f"Did not answer within {self._timeout:g} s."
        except ProbeError as error:
            message, cause = error.message, error.cause
        except Exception:  # noqa: BLE001 - a fault in one probe must not blind the others
            message, cause = "The probe itself failed; see the log.", traceback.format_exc()
        ended = self._monotonic()
        return Observation(
            target=target,
            at=ended,
            time=self._wall(),
            latency=ended - began,
            request_id=request_id,
            state=state,
            message=message,
            cause=cause,
        )


def _log_change(before: State, seen: Observation) -> None:
    """Write one line for a change, with the id that the probe left in its target's log."""
    write = log.info if seen.state is State.HEALTHY else log.warning
    write(
        "check_changed_state",
        target=seen.target,
        state=seen.state.value,
        before=before.value,
        message=seen.message,
        cause=seen.cause,
        latency=round(seen.latency, 4),
        request_id=seen.request_id,
    )
