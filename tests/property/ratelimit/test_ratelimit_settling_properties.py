"""What replicas admit between them that lose Redis together and find it one after the other."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import count
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from services.ratelimit.debts import Debts
from services.ratelimit.degrading import DegradingStore
from services.ratelimit.local_counters import LocalCounters
from services.ratelimit.policy import SECOND, Algorithm, FailureMode, Limit, Rule
from services.ratelimit.ports import Charge
from services.ratelimit.redis_counters import RedisCounterStore
from services.ratelimit.replicas import KEY, OWING_KEY, Replicas
from services.ratelimit.settling import Settling
from shared.redis.client import Redis, Script
from shared.redis.errors import unavailable
from shared.rpc.call import Tenant

WINDOW = 3_600 * SECOND
START = 1_760_000_000 * SECOND
REPLICAS = 3

_numbers = count(1)


class Line(Redis):
    """The real client on a line of its own, which can be cut while Redis goes on."""

    is_cut = False

    @property
    def connected(self) -> bool:
        return super().connected and not self.is_cut

    def cut(self) -> None:
        self._losses += 1
        self.is_cut = True

    async def run_script(self, script: Script, keys: Sequence[str | bytes], args: Any) -> Any:
        if self.is_cut:
            raise unavailable("nowhere", "REDIS_BREAKER_OPEN", "cut", retry_after=1)
        return await super().run_script(script, keys, args)


class Step(NamedTuple):
    """What one of the replicas does next; `calls` come at once, each of this cost."""

    what: str
    replica: int
    calls: int
    cost: int


class Member:
    """One replica, put together as the service does it."""

    def __init__(self, world: "World", line: Line, name: str) -> None:
        self.line, self._world = line, world
        store = RedisCounterStore(line, clock=lambda: world.now)
        local, self.debts = LocalCounters(), Debts(replica=name)
        self.all = Replicas(
            line,
            replica=name,
            owes=lambda: bool(self.debts),
            clock=lambda: world.now // 1000,
        )
        self.settling = Settling(
            store,
            local,
            self.debts,
            now_us=lambda: world.now,
            connected=lambda: line.connected,
            settling=lambda: self.all.settling,
            report=lambda _: None,
        )
        self._store = DegradingStore(
            store,
            local,
            self.debts,
            now_us=lambda: world.now,
            seconds=lambda: world.now / SECOND,
            replicas=lambda: self.all.count,
            settling=lambda: self.all.settling,
        )

    async def check(self, cost: int) -> None:
        charge = self._world.charge._replace(cost=cost)
        (verdict,) = await self._store.decide([charge], consume=True)
        self._world.admitted += cost * verdict.admits

    async def look(self) -> None:
        if self.line.connected:
            await self.all.beat()


class World:
    """Replicas on one Redis, and how much they admitted between them."""

    def __init__(self, lines: Sequence[Line], quota: int, algorithm: Algorithm) -> None:
        self.now, self.admitted = START, 0
        rule = Rule(
            name=f"s{next(_numbers)}",
            endpoints=("*",),
            default=(),
            on_failure=FailureMode.LOCAL,
        )
        limit = Limit(quota=quota, window=WINDOW, algorithm=algorithm)
        self.charge = Charge(Tenant("acme"), rule, 0, "user:1", limit, 1)
        self.members = [Member(self, line, f"{rule.name}-{n}") for n, line in enumerate(lines)]

    async def begin(self) -> None:
        """Let all hear of each other, and then lose Redis."""
        await self.members[0].line.execute("DEL", KEY, OWING_KEY)
        for member in (*self.members, *self.members):
            await member.look()
        for member in self.members:
            member.line.cut()

    async def do(self, step: Step) -> None:
        self.now += 1000
        member = self.members[step.replica]
        match step.what:
            case "check":
                await asyncio.gather(*(member.check(step.cost) for _ in range(step.calls)))
            case "pay while asked":
                calls = (member.check(step.cost) for _ in range(step.calls))
                await asyncio.gather(member.settling.run_once(), *calls)
            case "look while asked":
                calls = (member.check(step.cost) for _ in range(step.calls))
                await asyncio.gather(member.look(), *calls)
            case "back":
                member.line.is_cut = False

    async def settle(self) -> None:
        """Let all be back and settled."""
        for n in range(REPLICAS):
            await self.do(Step("back", n, 0, 0))
        for _ in range(3):
            for member in self.members:
                while member.debts:
                    await member.settling.run_once()
                await member.look()


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(["check"] * 4 + ["pay while asked", "look while asked"] * 3 + ["back"]),
        st.integers(0, REPLICAS - 1),
        st.integers(0, 6),
        st.integers(1, 3),
    ),
    min_size=10,
    max_size=60,
)


def lived(
    redis_url: str, quota: int, algorithm: Algorithm, steps: Sequence[Step]
) -> tuple[int, int, list[bool]]:
    """Return what was admitted until all had settled, what in the end, and whether they had."""

    async def live() -> tuple[int, int, list[bool]]:
        async with AsyncExitStack() as stack:
            lines = [Line(redis_url, timeout=5) for _ in range(REPLICAS)]
            for line in lines:
                await line.start()
                stack.push_async_callback(line.close)
            world = World(lines, quota, algorithm)
            await world.begin()
            for step in steps:
                await world.do(step)
            meanwhile = world.admitted
            await world.settle()
            settled = [member.all.settled for member in world.members]
            for _ in range(quota + 1):
                await world.do(Step("check", 0, 1, 1))
            return meanwhile, world.admitted, settled

    return asyncio.run(live())


class TestOneOutage:
    @settings(max_examples=100)
    @given(
        quota=st.integers(REPLICAS, 40),
        algorithm=st.sampled_from([Algorithm.SLIDING_WINDOW, Algorithm.FIXED_WINDOW]),
        steps=steps,
    )
    def test_admits_the_limit_and_no_more(
        self, session_redis_url: str, quota: int, algorithm: Algorithm, steps: Sequence[Step]
    ) -> None:
        """In whatever order replicas are back, pay and look; and in the end all of it."""
        meanwhile, in_the_end, settled = lived(session_redis_url, quota, algorithm, steps)

        assert meanwhile <= quota
        assert quota == in_the_end
        assert all(settled)
