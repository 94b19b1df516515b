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
from services.health.ports import Probe, ProbeError
from services.health.rollup import Check
from services.health.snapshot import Snapshot
from services.health.state import Failure, Observation, State

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
        self._probes = probes
        self._interval = interval
        self._timeout = timeout
        self._monotonic = monotonic
        self._wall = wall
        self._request_ids = request_ids
        self._uniform = uniform

    async def start(self) -> None:
        """Make the first round: `timeout` seconds at most, whatever state the targets are in."""
        await self.run_once()

    async def close(self) -> None:
        """Close the connections of the probes."""
        await asyncio.gather(*(probe.close() for probe in self._probes.values()))

    async def run(self) -> None:
        """Probe in rounds until cancelled; the first one was made by `start`."""
        while True:
            await asyncio.sleep(self._interval * self._uniform(1 - _JITTER, 1 + _JITTER))
            await self.run_once()

    async def run_once(self) -> None:
        """Probe every target once, all at the same time; each result counts as soon as it is in."""
        async with asyncio.TaskGroup() as round_of_probes:
            for target, probe in self._probes.items():
                round_of_probes.create_task(self._probe(target, probe), name=f"probe {target}")

    async def _probe(self, target: str, probe: Probe) -> None:
        seen = await self._ask(target, probe)
        before = self.snapshot.check(target, seen.at)
        self.snapshot = self.snapshot.after(seen)
        after = self.snapshot.check(target, seen.at)
        metrics.record_probe(seen)
        metrics.record_state(after)
        if before.state is not after.state:
            _log_change(before, after, seen)

    async def _ask(self, target: str, probe: Probe) -> Observation:
        request_id = self._request_ids()
        began = self._monotonic()
        message, cause = "", ""
        try:
            async with asyncio.timeout(self._timeout):
                await probe.ask(request_id)
        except TimeoutError:
            message = f"Did not answer within {self._timeout:g} s."
        except ProbeError as error:
            message, cause = error.message, error.cause
        except Exception:  # noqa: BLE001 - a fault in one probe must not blind the others
            message, cause = "The probe itself failed; see the log.", traceback.format_exc()
        ended = self._monotonic()
        seen = Observation(
            target=target,
            at=ended,
            time=self._wall(),
            latency=ended - began,
            request_id=request_id,
        )
        return seen if not message else _failure(seen, message, cause)


def _failure(seen: Observation, message: str, cause: str) -> Failure:
    return Failure(
        target=seen.target,
        at=seen.at,
        time=seen.time,
        latency=seen.latency,
        request_id=seen.request_id,
        message=message,
        cause=cause,
    )


def _log_change(before: Check, after: Check, seen: Observation) -> None:
    """Write one line for a change, with the id that the probe left in its target's log."""
    write = log.info if after.state is State.HEALTHY else log.warning
    write(
        "check_changed_state",
        target=after.target.name,
        state=after.state.value,
        before=before.state.value,
        message=after.message,
        cause=seen.cause if isinstance(seen, Failure) else "",
        latency=round(seen.latency, 4),
        request_id=seen.request_id,
    )
