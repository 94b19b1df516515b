"""Constant load on the cache by everything it can do, with a ledger that every answer is held to.

Every value is written or computed once in the life of a ledger. Once an invalidation has been
acknowledged, no read that begins later may bring a value that was there before the invalidation
began: whose writing had ended by then, whatever it ended with, or whose computing had begun.
"""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import NamedTuple

from mainstay.cache import CacheClient, Hit
from mainstay.errors import MainstayError

NAMESPACE = "load"
WORKERS, KEYS_EACH = 12, 3
LOADED_KEYS = tuple(f"{w}/{k}" for w in range(WORKERS) for k in range(KEYS_EACH))
PAUSE_SECONDS = 0.008
# Longer than any call may take: the channel gives each 5 s.
DEADLINE_SECONDS = 6.0
# Whoever computes while the store dies cannot give the lease back: others wait until it ends.
LEASE = timedelta(seconds=2)
PATIENCE = 30.0


class Call(NamedTuple):
    """One call that was made, and what it ended with: `ok` or the reason of its error."""

    worker: int
    operation: str
    key: str
    began: float
    seconds: float
    outcome: str


@dataclass(slots=True)
class Ledger:
    """What was written, computed and invalidated, and when."""

    born: dict[bytes, float] = field(default_factory=dict)
    dead_before: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    violations: list[str] = field(default_factory=list)
    numbers: "count[int]" = field(default_factory=count)

    def new_value(self, key: str) -> bytes:
        """Return a value that there never was."""
        return f"{key}#{next(self.numbers)}".encode()

    def appears(self, value: bytes) -> None:
        """Note that a value is there from now on."""
        self.born[value] = time.monotonic()

    def invalidated(self, keys: Sequence[str], began: float) -> None:
        """Note that an invalidation was acknowledged."""
        for key in keys:
            self.dead_before[key] = max(self.dead_before[key], began)

    def check(self, key: str, value: bytes | None, dead_before: float, how: str) -> None:
        """Hold an answer to what was acknowledged before its question."""
        if value is None:
            return
        if not value.startswith(f"{key}#".encode()):
            self.violations.append(f"{how} of {key} brought {value!r}, another's value")
        # A value that is still being written has not been there before anything.
        if self.born.get(value, float("inf")) < dead_before:
            self.violations.append(f"{how} of {key} brought {value!r}, which was invalidated")


def tag_of(key: str) -> str:
    """Return a tag that a key shares with one of every worker."""
    return f"tag-{key[-1]}"


class CacheLoad:
    """Workers that each own some keys, write and invalidate those, and read everybody's."""

    def __init__(self, clients: Sequence[CacheClient], ledger: Ledger) -> None:
        self.calls: list[Call] = []
        self.ledger = ledger
        self._clients = clients
        self._keys = list(LOADED_KEYS)
        self._random = random.Random(3)
        self._made = [0] * WORKERS
        self._succeeded = [0] * WORKERS
        self._ended = asyncio.Condition()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["CacheLoad"]:
        """Work within the block."""
        tasks = [asyncio.create_task(self._work(number)) for number in range(WORKERS)]
        try:
            await self.every_worker()
            yield self
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}, ends

    async def every_worker(self, calls: int = 10, *, ok: bool = True) -> None:
        """Wait until each worker has begun and ended so many calls from now on.

        With `ok` those count that succeeded.
        """
        counted = self._succeeded if ok else self._made
        # One may be under way that began before.
        goals = [counted[number] + calls + 1 for number in range(WORKERS)]
        async with asyncio.timeout(PATIENCE), self._ended:
            await self._ended.wait_for(
                lambda: all(counted[number] >= goal for number, goal in enumerate(goals))
            )

    async def forget(self) -> None:
        """Hold answers only to what is acknowledged from now on: the store has lost something."""
        self.ledger.dead_before.clear()
        # What is under way was asked before.
        await self.every_worker(1, ok=False)
        self.ledger.violations.clear()

    async def failure(self) -> None:
        """Wait until a call fails from now on."""
        seen = len(self.calls)
        async with asyncio.timeout(PATIENCE), self._ended:
            await self._ended.wait_for(
                lambda: any(call.outcome != "ok" for call in self.calls[seen:])
            )

    async def _work(self, number: int) -> None:
        client = self._clients[number % len(self._clients)]
        own = self._keys[number * KEYS_EACH : (number + 1) * KEYS_EACH]
        while True:
            operation, key = self._choose(own)
            began, outcome = time.monotonic(), "ok"
            try:
                async with asyncio.timeout(DEADLINE_SECONDS):
                    await operation(client, key)
            except MainstayError as error:
                outcome = error.reason
            except TimeoutError:
                outcome = "NO ANSWER"
            seconds = time.monotonic() - began
            self._made[number] += 1
            self._succeeded[number] += outcome == "ok"
            async with self._ended:
                self.calls.append(Call(number, operation.__name__, key, began, seconds, outcome))
                self._ended.notify_all()
            await asyncio.sleep(PAUSE_SECONDS)

    def _choose(self, own: Sequence[str]) -> "tuple[Operation, str]":
        operations: dict[Operation, int] = {
            self.get: 40,
            self.get_many: 5,
            self.set: 20,
            self.get_or_compute: 20,
            self.delete: 4,
            self.invalidate_key: 3,
            self.invalidate_tag: 4,
            self.invalidate_prefix: 3,
            self.invalidate_all: 1,
        }
        (operation,) = self._random.choices([*operations], [*operations.values()])
        reads = operation in {self.get, self.get_many}
        return operation, self._random.choice(self._keys if reads else own)

    async def get(self, client: CacheClient, key: str) -> None:
        dead = self.ledger.dead_before[key]
        found = await client.get(NAMESPACE, key)
        self.ledger.check(key, found.value if isinstance(found, Hit) else None, dead, "get")

    async def get_many(self, client: CacheClient, key: str) -> None:
        dead = {name: self.ledger.dead_before[name] for name in self._keys}
        for name, found in (await client.get_many(NAMESPACE, self._keys)).items():
            value = found.value if isinstance(found, Hit) else None
            self.ledger.check(name, value, dead[name], "get_many")

    async def set(self, client: CacheClient, key: str) -> None:
        value = self.ledger.new_value(key)
        try:
            await client.set(NAMESPACE, key, value, tags=[tag_of(key)])
        finally:
            self.ledger.appears(value)

    async def get_or_compute(self, client: CacheClient, key: str) -> None:
        async def compute() -> bytes:
            value = self.ledger.new_value(key)
            self.ledger.appears(value)
            await asyncio.sleep(0)
            return value

        dead = self.ledger.dead_before[key]
        value = await client.get_or_compute(
            NAMESPACE, key, compute, tags=[tag_of(key)], lease_duration=LEASE
        )
        self.ledger.check(key, value, dead, "get_or_compute")

    async def delete(self, client: CacheClient, key: str) -> None:
        await self._invalidate([key], client.delete(NAMESPACE, key))

    async def invalidate_key(self, client: CacheClient, key: str) -> None:
        await self._invalidate([key], client.invalidate_keys(NAMESPACE, [key]))

    async def invalidate_tag(self, client: CacheClient, key: str) -> None:
        keys = [other for other in self._keys if tag_of(other) == tag_of(key)]
        await self._invalidate(keys, client.invalidate_tags([tag_of(key)]))

    async def invalidate_prefix(self, client: CacheClient, key: str) -> None:
        prefix = key[: key.index("/") + 1]
        keys = [other for other in self._keys if other.startswith(prefix)]
        await self._invalidate(keys, client.invalidate_prefix(NAMESPACE, prefix))

    async def invalidate_all(self, client: CacheClient, key: str) -> None:
        await self._invalidate(self._keys, client.invalidate_namespace(NAMESPACE))

    async def _invalidate(self, keys: Sequence[str], call: Awaitable[object]) -> None:
        began = time.monotonic()
        await call
        self.ledger.invalidated(keys, began)


Operation = Callable[[CacheClient, str], Awaitable[None]]
