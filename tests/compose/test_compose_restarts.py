"""Every container is killed and stopped in its turn; what was acknowledged is kept."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Self, TypeVar

import pytest

from mainstay import Mainstay, request
from mainstay.cache.client import Hit
from mainstay.errors import MainstayError
from mainstay.health import State
from mainstay.jobs import JobState
from tests.compose.figures import FIGURES
from tests.compose.project import SERVICES, STORES, Project, run

ENDPOINT = "/api/quiz/generate"
EVERYTHING = (*STORES, *SERVICES, "example-worker")
RECOVERED_WITHIN = 30.0
JOB_WITHIN = 90.0
LOOK_AGAIN = 0.2
SPENT = 2

T = TypeVar("T")

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]


class Ledger:
    """What was acknowledged, and is to be there afterwards."""

    def __init__(self, mainstay: Mainstay) -> None:
        self._mainstay = mainstay
        self._name = secrets.token_hex(4)
        self._job = ""
        self._left = 0

    async def write(self) -> Self:
        """Store a value, spend of a limit, and send an event that starts a job."""
        await self._mainstay.cache.set("kept", self._name, b"kept", ttl_class="general")
        for _ in range(SPENT):
            decision = await self._mainstay.ratelimit.check(self._name, ENDPOINT, plan="basic")
        self._left = decision.remaining or 0
        # A new question each time, and one that needs PostgreSQL and the worker only.
        accepted = await self._mainstay.jobs.send_event(
            "analytics/daily.aggregate",
            {"date": "2026-05-01", "metrics": ["views"], "creator_id": self._name},
        )
        (self._job,) = accepted.job_ids
        return self

    async def check(self) -> None:
        """See that all of it is there, and that the job ends well."""
        found = await self._mainstay.cache.get("kept", self._name)
        left = await self._mainstay.ratelimit.peek(self._name, ENDPOINT, plan="basic")

        assert isinstance(found, Hit)
        assert b"kept" == found.value
        assert self._left == left.remaining

        async def state() -> JobState:
            return (await self._mainstay.jobs.get_job(self._job)).state

        assert await until(state, lambda found: found is JobState.SUCCEEDED, seconds=JOB_WITHIN)


async def until(
    ask: Callable[[], Awaitable[T]], enough: Callable[[T], bool], *, seconds: float
) -> bool:
    """Ask again until it is enough; errors are what happens meanwhile. False when time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if enough(await ask()):
                return True
        except MainstayError:
            pass
        await asyncio.sleep(LOOK_AGAIN)  # another machine's work, as far as this one can tell
    return False


async def starts(project: Project) -> dict[str, str]:
    """Return when each container was started."""
    return {name: (await project.inspect(name))["State"]["StartedAt"] for name in EVERYTHING}


async def recovered(mainstay: Mainstay) -> bool:
    """Wait until the suite calls itself healthy."""

    async def report() -> State:
        return (await mainstay.health.get_report()).state

    return await until(report, lambda found: found is State.HEALTHY, seconds=RECOVERED_WITHIN)


@pytest.mark.parametrize("victim", EVERYTHING)
class TestKilled:
    async def test_loses_nothing(
        self, project: Project, mainstay: Mainstay, worker: str, victim: str
    ) -> None:
        """SIGKILL: its policy brings it back, the others go on, what was acknowledged is kept."""
        with request(tenant="kills"):
            ledger = await Ledger(mainstay).write()
            before = await starts(project)
            begun = time.monotonic()
            await project.crash(victim)
            await until_started_anew(project, victim, before[victim])
            await project.until_healthy([victim], seconds=RECOVERED_WITHIN)

            assert await recovered(mainstay)
            FIGURES.add(
                f"{victim} killed: healthy again, all of it", f"{time.monotonic() - begun:.1f} s"
            )
            await ledger.check()
        after = await starts(project)
        assert {victim} == {name for name in EVERYTHING if before[name] != after[name]}


@pytest.mark.parametrize("victim", EVERYTHING)
class TestRestarted:
    async def test_loses_nothing(
        self, project: Project, mainstay: Mainstay, worker: str, victim: str
    ) -> None:
        """SIGTERM: services drain and end well; what was acknowledged is kept."""
        with request(tenant="restarts"):
            ledger = await Ledger(mainstay).write()
            container = await project.container(victim)
            await run("docker", "stop", "--time", "20", container)
            code = (await project.inspect(victim))["State"]["ExitCode"]
            await run("docker", "start", container)
            await project.until_healthy([victim], seconds=RECOVERED_WITHIN)

            assert victim in STORES or code == 0
            assert await recovered(mainstay)
            await ledger.check()


async def until_started_anew(project: Project, service: str, before: str) -> None:
    """Wait until Docker has started it once more, by itself."""

    async def started() -> str:
        state = (await project.inspect(service))["State"]
        return str(state["StartedAt"]) if state["Running"] else before

    assert await until(started, lambda found: found != before, seconds=RECOVERED_WITHIN)
