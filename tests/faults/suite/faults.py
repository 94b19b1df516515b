"""What is done to the stage: each fault begins, lasts and ends.

A fault that leaves one replica of everything alone is `outlived`: from its beginning on, callers
have somebody to turn to. After any other the time to recover counts from its end.
"""

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import asyncpg

from tests.faults.jobs_suite.link import Link
from tests.faults.jobs_suite.stage import GONE
from tests.faults.suite import clock
from tests.faults.suite.disk import Disk
from tests.faults.suite.stage import SERVICE_PARTIES, SERVICES, Stage, replicas
from tests.faults.suite.wiring import Links

SHORT, LONG = 3.0, 20.0
GAP = 0.3
# 200 MB for the log of writes, and nothing else.
_WRITE_MUCH = """
SELECT pg_logical_emit_message(false, 'faults', repeat('x', 1000000)) FROM generate_series(1, 200)
"""


class Fault(Protocol):
    """Something that is done to the stage.

    Attributes:
        kind: What the report calls it, with all of its kind.
        seconds: How long it lasts.
        outlived: Whether callers have somebody to turn to while it lasts.

    """

    kind: str
    seconds: float
    outlived: bool

    @property
    def target(self) -> str:
        """What it is done to."""
        ...

    async def begin(self, stage: Stage) -> None:
        """Do it."""
        ...

    async def end(self, stage: Stage) -> None:
        """Undo it, as far as the world would: nobody lends a hand to the suite itself."""
        ...


@dataclass(slots=True, kw_only=True)
class Killed:
    """SIGKILL; started again in the end, as a supervisor would."""

    parties: Sequence[str]
    kind: str = "killed"
    seconds: float = SHORT
    outlived: bool = False

    @property
    def target(self) -> str:
        return ", ".join(self.parties)

    async def begin(self, stage: Stage) -> None:
        await asyncio.gather(*(stage.kill(name) for name in self.parties))

    async def end(self, stage: Stage) -> None:
        await asyncio.gather(*(stage.start(name) for name in self.parties))


@dataclass(slots=True, kw_only=True)
class Stopped:
    """SIGSTOP: connections stay open and nobody answers; SIGCONT in the end."""

    parties: Sequence[str]
    kind: str = "stopped"
    seconds: float = LONG
    outlived: bool = False

    @property
    def target(self) -> str:
        return ", ".join(self.parties)

    async def begin(self, stage: Stage) -> None:
        for name in self.parties:
            stage.parties[name].send(signal.SIGSTOP)

    async def end(self, stage: Stage) -> None:
        for name in self.parties:
            stage.parties[name].send(signal.SIGCONT)


@dataclass(slots=True, kw_only=True)
class Restarted:
    """All of it ended at once, and started one after the other, nobody waiting for anybody."""

    order: Sequence[str]
    kind: str = "all ended, started in an order"
    seconds: float = 1.0
    outlived: bool = False

    @property
    def target(self) -> str:
        return " → ".join(self.order)

    async def begin(self, stage: Stage) -> None:
        names = [name for part in self.order for name in _members(part)]
        await asyncio.gather(*(stage.kill(name) for name in names))

    async def end(self, stage: Stage) -> None:
        for part in self.order:
            await asyncio.gather(*(stage.start(name) for name in _members(part)))
            await asyncio.sleep(GAP)


def _members(part: str) -> list[str]:
    if part == "services":
        return SERVICE_PARTIES
    return replicas(part) if part in SERVICES else [part]


@dataclass(slots=True, kw_only=True)
class Severed:
    """Nothing passes between parties, in any direction."""

    pairs: Sequence[tuple[str, str]]
    kind: str = "partition"
    seconds: float = LONG
    outlived: bool = False

    @property
    def target(self) -> str:
        (one, other), *more = self.pairs
        return f"{'everybody' if more else one} from {other}"

    async def begin(self, stage: Stage) -> None:
        for pair in self.pairs:
            stage.wiring.sever(*pair)

    async def end(self, stage: Stage) -> None:
        for pair in self.pairs:
            stage.wiring.mend(*pair)


@dataclass(slots=True, kw_only=True)
class Spoilt:
    """Links that carry, but badly: each `delay` late, or `rate` bytes a second, or half-closed."""

    kind: str
    links: Links
    pair: tuple[str, str]
    delay: float = 0.0
    rate: float | None = None
    half_close: bool = False
    seconds: float = SHORT
    outlived: bool = False

    @property
    def target(self) -> str:
        one, other = ("everybody" if name == "*" else name for name in self.pair)
        return f"{one} to {other}"

    async def begin(self, stage: Stage) -> None:
        for link in self._all():
            link.delay, link.rate = self.delay, self.rate
            if self.half_close:
                link.half_close()

    async def end(self, stage: Stage) -> None:
        for link in self._all():
            link.mend()

    def _all(self) -> list[Link]:
        return self.links.between(*self.pair)


@dataclass(slots=True, kw_only=True)
class Full:
    """A disk without a byte to spare.

    PostgreSQL first goes on in files that it has. It is made to want a new one for its log of
    writes, without which it stops itself, as it is documented to.
    """

    kind: str
    target: str
    disk: Disk
    wants: bool = False
    seconds: float = 6.0
    outlived: bool = False

    async def begin(self, stage: Stage) -> None:
        await asyncio.to_thread(self.disk.fill)
        if self.wants:
            with contextlib.suppress(*GONE, asyncpg.PostgresError):
                connection = await stage.database.connect()
                try:
                    await connection.execute(_WRITE_MUCH)
                finally:
                    connection.terminate()

    async def end(self, stage: Stage) -> None:
        self.disk.free()


@dataclass(slots=True, kw_only=True)
class Clock:
    """The clocks of the second replicas set, by so many seconds, and set right again."""

    step: float
    kind: str = "clock set"
    seconds: float = 5.0
    outlived: bool = True

    @property
    def target(self) -> str:
        return f"each second replica by {self.step / 3600:+g} h"

    async def begin(self, stage: Stage) -> None:
        self._set(stage, self.step)

    async def end(self, stage: Stage) -> None:
        self._set(stage, 0.0)

    def _set(self, stage: Stage, seconds: float) -> None:
        for service in SERVICES:
            clock.set_clock(stage.folder / "clocks", f"{service}-2", seconds)
