"""Sends jobs at a steady rate, and keeps what the service has acknowledged."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mainstay.channel import Channel
from mainstay.errors import DeadlineError, MainstayError
from mainstay.jobs import Event, JobClient, JobState
from tests.faults.jobs_suite.functions import REPEATED, event_of

TENANTS = ("acme", "globex")
KEYS = ("a", "b", "c")
MOMENTS = ("between", "reporting", "end")
SENDERS = 6
BATCH = 100
PAUSE = 0.1
# More would say how fast this machine is, and hide how soon what is broken heals.
BACKLOG = 100
# How often a function is sent, and how many at once: what has a cap comes in crowds.
MIX: Mapping[str, tuple[int, int]] = {
    "noop": (30, 5),
    "steps": (20, 2),
    "slow": (6, 4),
    "capped": (5, 20),
    "keyed": (5, 20),
    "flaky": (12, 2),
    "waits": (8, 2),
    "family": (8, 1),
    "saga": (8, 1),
    REPEATED: (8, 6),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A job that the service has acknowledged; `at` is when it was first sent."""

    n: int
    function: str
    tenant: str
    at: float
    ends: JobState


class Load:
    """Sends jobs; `accepted` holds them by id.

    Attributes:
        accepted: What was acknowledged.
        unanswered: The numbers of what was sent and never acknowledged; it may or may not run.
        errors: How often calls failed, by the name of the error; all are repeated.
        refused: Errors that do not pass by themselves, of which there should be none.
        repeats: How often the service said that it had accepted a job before.

    """

    def __init__(
        self, target: str, rng: random.Random, *, backlog: Callable[[], int] = lambda: 0
    ) -> None:
        self.accepted: dict[str, Sent] = {}
        self.unanswered: set[int] = set()
        self.errors: Counter[str] = Counter()
        self.refused: list[str] = []
        self.repeats = 0
        self._rng = rng
        self._backlog = backlog
        self._sent = 0
        self._channels = {tenant: Channel(target, tenant=tenant) for tenant in TENANTS}
        self.clients = {tenant: JobClient(each) for tenant, each in self._channels.items()}

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels.values():
            await channel.close()

    async def send_steadily(self, rate: float, seconds: float) -> None:
        """Send so many jobs a second, for so long, fewer while a backlog is worked off."""
        began = time.monotonic()
        until = began + seconds
        sent = 0
        room = asyncio.Semaphore(SENDERS)
        async with asyncio.TaskGroup() as sending:
            while (now := time.monotonic()) < until:
                if sent > (now - began) * rate or self._backlog() > BACKLOG:
                    await asyncio.sleep(0.02)
                    continue
                function = self._choose()
                batch = self._rng.randint(1, MIX[function][1])
                sent += batch
                await room.acquire()
                task = sending.create_task(self.send(function, batch, until=until + 20))
                task.add_done_callback(lambda _: room.release())

    async def send(self, function: str, count: int = 1, *, until: float, **data: Any) -> None:
        """Send jobs of a function in one call, again until the service has acknowledged them."""
        tenant = self._rng.choice(TENANTS)
        payloads = [self._payload(function) | data for _ in range(count)]
        self.unanswered |= {payload["n"] for payload in payloads}
        at = time.monotonic()
        job_ids = await self._accepted(function, tenant, payloads, until)
        for job_id, payload in zip(job_ids, payloads, strict=False):
            self.unanswered.discard(payload["n"])
            self.accepted[job_id] = Sent(
                n=payload["n"],
                function=function,
                tenant=tenant,
                at=at,
                ends=_end_of(function, payload),
            )

    async def block(self, count: int) -> None:
        """Put so many jobs into a queue that is paused."""
        for client in self.clients.values():
            await client.pause_queue("blocked")
        numbers = asyncio.Semaphore(4)

        async def send() -> None:
            async with numbers:
                await self.send("blocked", BATCH, until=time.monotonic() + 60)

        await asyncio.gather(*(send() for _ in range(count // BATCH)))

    def _choose(self) -> str:
        weights = [weight for weight, _ in MIX.values()]
        (function,) = self._rng.choices([*MIX], weights)
        return function

    def _payload(self, function: str) -> dict[str, Any]:
        self._sent += 1
        payload: dict[str, Any] = {"n": self._sent}
        match function:
            case "keyed":
                payload["key"] = self._rng.choice(KEYS)
            case "saga":
                payload["cancel"] = self._rng.random() < 0.3
            case "mortal":
                payload["moment"] = self._rng.choice(MOMENTS)
        return payload

    async def _accepted(
        self, function: str, tenant: str, payloads: list[dict[str, Any]], until: float
    ) -> list[str]:
        client = self.clients[tenant]
        direct = len(payloads) == 1 and self._rng.random() < 0.5
        keys = [f"{function}-{payload['n']}" for payload in payloads]
        while time.monotonic() < until:
            try:
                if direct:
                    job = await client.enqueue(function, payloads[0], idempotency_key=keys[0])
                    self.repeats += job.duplicate
                    return [job.job_id]
                events = [
                    Event(name=event_of(function), data=payload, idempotency_key=key)
                    for payload, key in zip(payloads, keys, strict=True)
                ]
                accepted = await client.send_events(events)
                self.repeats += sum(event.duplicate for event in accepted)
                return [job_id for event in accepted for job_id in event.job_ids]
            except MainstayError as error:
                self.errors[type(error).__name__] += 1
                # Its own key makes a repetition safe, whatever became of the call.
                if not (error.transient or isinstance(error, DeadlineError)):
                    self.refused.append(f"{type(error).__name__}: {error.message}")
                await asyncio.sleep(PAUSE)
        return []


def _end_of(function: str, payload: Mapping[str, Any]) -> JobState:
    """Return how a job has to end."""
    if function == "saga":
        return JobState.CANCELLED if payload["cancel"] else JobState.DEAD_LETTERED
    return JobState.DEAD_LETTERED if function == "poison" else JobState.SUCCEEDED
