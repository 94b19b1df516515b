"""Constant load on the rate limits by callers who note every answer."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

from mainstay.errors import MainstayError
from mainstay.ratelimit.client import RateLimitClient
from mainstay.ratelimit.results import Decision

WORKERS = 12
PAUSE_SECONDS = 0.01
PATIENCE = 30.0
QUOTA = 40

POLICY = f"""
version: 1
limits:
  - name: shared
    endpoints: [shared]
    default: {QUOTA}/h
    on_failure: local
  - name: open_rule
    endpoints: [open]
    default: {QUOTA}/h
    on_failure: open
  - name: closed_rule
    endpoints: [closed]
    default: 1000000/h
    on_failure: closed
  - name: many
    endpoints: [many]
    default: 10/h
    on_failure: local
  - name: free
    endpoints: ["*"]
    default: unlimited
"""

ENDPOINTS = ("shared", "open", "closed", "many", "free")


def write_policy(directory: Path) -> Path:
    """Put the policy of the load into a directory, and return that."""
    (directory / "ratelimit.yaml").write_text(POLICY)
    return directory


class Call(NamedTuple):
    """One check that was made; no decision when it failed."""

    endpoint: str
    subject: str
    began: float
    ended: float
    decision: Decision | None
    error: str

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class LimitLoad:
    """Workers that ask for one endpoint after the other, spread over replicas.

    They share one subject, but for `many`, where every call has a subject of its own.
    """

    def __init__(self, clients: Sequence[RateLimitClient], *, subject: str = "user:1") -> None:
        self.calls: list[Call] = []
        self._clients = clients
        self._subject = subject
        self._numbers = count(1)
        self._more = asyncio.Condition()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let the workers run within the block; what they do not expect fails it."""
        workers = [asyncio.create_task(self._work(n)) for n in range(WORKERS)]
        try:
            yield
        finally:
            for worker in workers:
                worker.cancel()
            ends = await asyncio.gather(*workers, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends

    async def further(self, calls: int) -> None:
        """Wait for so many more calls that begin from now on."""
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE), self._more:
            await self._more.wait_for(lambda: len(self.since(began)) >= calls)

    def since(self, began: float, ended: float | None = None) -> list[Call]:
        """Return the calls that began and ended within this time."""
        return [
            call
            for call in self.calls
            if call.began >= began and (ended is None or call.ended <= ended)
        ]

    def admitted(self, endpoint: str) -> int:
        """Return how many calls were allowed so far."""
        return sum(
            call.decision is not None and call.decision.allowed
            for call in self.calls
            if call.endpoint == endpoint
        )

    async def _work(self, worker: int) -> None:
        client = self._clients[worker % len(self._clients)]
        for n in count(worker):
            endpoint = ENDPOINTS[n % len(ENDPOINTS)]
            await self._check(client, endpoint)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _check(self, client: RateLimitClient, endpoint: str) -> None:
        subject = f"user:{next(self._numbers)}" if endpoint == "many" else self._subject
        decision, error, began = None, "", time.monotonic()
        try:
            decision = await client.check(subject, endpoint)
        except MainstayError as failure:
            error = failure.reason
        async with self._more:
            self.calls.append(Call(endpoint, subject, began, time.monotonic(), decision, error))
            self._more.notify_all()


def modes(calls: Sequence[Call]) -> dict[str, Counter[str]]:
    """Return how often what decided, by endpoint; `redis` where the counters did."""
    found: dict[str, Counter[str]] = {}
    for call in calls:
        mode = None if call.decision is None else call.decision.failure_mode
        found.setdefault(call.endpoint, Counter())[mode.name.lower() if mode else "redis"] += 1
    return found
