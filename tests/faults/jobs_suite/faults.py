"""What is done to the stage, one fault at a time or several at once."""

import asyncio
import itertools
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.jobs_suite.stage import GONE, Database, Player, Stage

HEALED_WITHIN = 60.0
_HELD = """
SELECT l.job_id::text, l.epoch
FROM jobs.leases AS l JOIN jobs.sessions AS s USING (session_id)
WHERE s.worker = $1
"""
# The connection that listens asks for nothing else, but for a sign of life now and then.
_LISTENERS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND (query LIKE 'LISTEN%' OR query = 'SELECT 1')
"""


@dataclass(slots=True, kw_only=True)
class Injury:
    """A fault that took place; `held` are a worker's jobs at that moment, with their epochs."""

    kind: str
    target: str
    began: float
    healed: float = 0.0
    held: dict[str, int] = field(default_factory=dict)


Fault = Callable[[Player, Injury], Awaitable[None]]


async def held_by(database: Database, worker: Player) -> dict[str, int]:
    """Return the jobs that a worker has, with their epochs."""
    rows = await database.fetch(_HELD, worker.name)
    return {row["job_id"]: row["epoch"] for row in rows}


class Faults:
    """Injects faults; every choice is the random generator's. `lease` is how long one lasts."""

    def __init__(self, stage: Stage, rng: random.Random, *, lease: float) -> None:
        self.injuries: list[Injury] = []
        self._stage = stage
        self._rng = rng
        self._lease = lease
        self._tasks: set[asyncio.Task[None]] = set()
        servers, workers = stage.servers, stage.workers
        postgres, listener, horizon, sender = (
            [_NoPlayer(name, asyncio.Lock())]
            for name in ("postgres", "listener", "horizon", "sender")
        )
        self._kinds: dict[str, tuple[list[Any], Fault, int]] = {
            "worker killed": (workers, self._kill, 3),
            "worker stopped past its lease": (workers, self._stop, 2),
            "worker drained and replaced": (workers, self._replace, 1),
            "server drained and replaced": (servers, self._replace, 1),
            "server killed": (servers, self._kill, 3),
            "server stopped past the lease": (servers, self._stop_for_long, 1),
            "PostgreSQL restarted at once": (postgres, self._restart_postgres, 1),
            "server-PostgreSQL: cut": (servers, self._cut, 1),
            "server-PostgreSQL: replies lost": (servers, self._lose_replies, 3),
            "server-PostgreSQL: half-open": (servers, self._half_open, 1),
            "server-PostgreSQL: slow": (servers, self._delay, 1),
            "worker-server: cut": (workers, self._cut, 1),
            "worker-server: replies lost": (workers, self._lose_replies, 2),
            "worker-server: half-open": (workers, self._half_open, 2),
            "worker-server: slow": (workers, self._delay, 1),
            "sender-server: replies lost": (sender, self._lose_replies_to_sender, 2),
            "listener terminated": (listener, self._terminate_listeners, 1),
            "horizon pinned": (horizon, self._pin_horizon, 1),
        }

    @property
    def kinds(self) -> int:
        """How many kinds of faults there are."""
        return len(self._kinds)

    async def each_once(self, pause: float) -> None:
        """Inject every fault once, in an order of chance, a new one after each pause."""
        for kind in self._rng.sample([*self._kinds], len(self._kinds)):
            self._inject(kind)
            await asyncio.sleep(pause)
        await self._all_healed()

    async def at_random(self, seconds: float, pause: float) -> None:
        """Inject faults for so long, a new one after about each pause; each kind at least once."""
        until = time.monotonic() + seconds
        first = self._rng.sample([*self._kinds], len(self._kinds))
        weights = [weight for _, _, weight in self._kinds.values()]
        for number in itertools.count():
            if time.monotonic() >= until:
                break
            (kind,) = self._rng.choices([*self._kinds], weights)
            self._inject(first[number] if number < len(first) else kind)
            await asyncio.sleep(pause * self._rng.uniform(0.3, 1.7))
        await self._all_healed()

    def _inject(self, kind: str) -> None:
        task = asyncio.create_task(self._take_place(kind), name=kind)
        self._tasks.add(task)

    async def _all_healed(self) -> None:
        async with asyncio.timeout(HEALED_WITHIN):
            await asyncio.gather(*self._tasks)

    async def _take_place(self, kind: str) -> None:
        targets, fault, _ = self._kinds[kind]
        target = self._rng.choice(targets)
        # One at a time for each target: what is stopped is not killed, what is cut is cut once.
        async with target.lock:
            injury = Injury(kind=kind, target=target.name, began=time.monotonic())
            self.injuries.append(injury)
            await fault(target, injury)
            injury.healed = time.monotonic()

    async def _kill(self, player: Player, injury: Injury) -> None:
        await self._look_what_it_holds(player, injury)
        await player.kill()
        await asyncio.sleep(self._rng.uniform(0.1, 2.0))
        await player.start()

    async def _stop(self, player: Player, injury: Injury) -> None:
        await self._look_what_it_holds(player, injury)
        player.send(signal.SIGSTOP)
        await asyncio.sleep(self._lease + self._rng.uniform(1.0, 2.0))
        player.send(signal.SIGCONT)

    async def _stop_for_long(self, player: Player, _: Injury) -> None:
        """Stop it in the middle of whatever transactions it has open."""
        player.send(signal.SIGSTOP)
        await asyncio.sleep(self._lease * self._rng.uniform(1.5, 4.0))
        player.send(signal.SIGCONT)

    async def _replace(self, player: Player, _: Injury) -> None:
        await player.stop()
        await player.start()

    async def _look_what_it_holds(self, player: Player, injury: Injury) -> None:
        injury.held = await held_by(self._stage.database, player)
        injury.began = time.monotonic()

    async def _restart_postgres(self, _: Player, injury: Injury) -> None:
        postgres = self._stage.postgres
        postgres.child.send(signal.SIGQUIT)
        await postgres.child.exited()
        await postgres.start()

    async def _cut(self, player: Player, _: Injury) -> None:
        player.link.cut()

    async def _lose_replies(self, player: Player, _: Injury) -> None:
        await player.link.lose_replies(self._rng.uniform(0.02, 0.3))

    async def _lose_replies_to_sender(self, _: Player, __: Injury) -> None:
        await self._stage.link.lose_replies(self._rng.uniform(0.02, 0.3))

    async def _half_open(self, player: Player, _: Injury) -> None:
        await player.link.swallow(self._lease + self._rng.uniform(1.0, 3.0))

    async def _delay(self, player: Player, _: Injury) -> None:
        player.link.delay = self._rng.uniform(0.02, 0.2)
        await asyncio.sleep(2.0)
        player.link.delay = 0.0

    async def _terminate_listeners(self, _: Player, __: Injury) -> None:
        await self._stage.database.fetch(_LISTENERS)

    async def _pin_horizon(self, _: Player, __: Injury) -> None:
        try:
            connection = await self._stage.database.connect()
        except GONE:
            return  # PostgreSQL is not there just now, and nothing pins anything
        try:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await connection.fetch("SELECT count(*) FROM jobs.sessions")
            await asyncio.sleep(self._lease * self._rng.uniform(1.0, 4.0))
        except GONE:
            pass  # it was restarted meanwhile
        finally:
            connection.terminate()


@dataclass(slots=True)
class _NoPlayer:
    """What is no process of the stage, and yet has a name and one injury at a time."""

    name: str
    lock: asyncio.Lock
