"""The probe of Redis on a cluster: it finds its key, and sees what the cluster has lost."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from services.health.ports import ProbeError
from services.health.probe_redis import RedisProbe
from tests.cluster.six_nodes import PATIENCE, SixNodes, keys_of_every_master

KEY = "mainstay:health:test"

MakeProbe = Callable[[str], RedisProbe]


@pytest.fixture
async def make_probe() -> AsyncIterator[MakeProbe]:
    """Make probes that are closed at the end."""
    probes: list[RedisProbe] = []

    def make(url: str) -> RedisProbe:
        probes.append(RedisProbe(url, instance="test"))
        return probes[-1]

    yield make
    for probe in probes:
        await probe.close()


async def told(probe: RedisProbe) -> str:
    """Return what a probe says of a cluster that works or fails."""
    try:
        return await asyncio.wait_for(probe.ask("request-1"), PATIENCE)
    except ProbeError as error:
        return error.message


async def until(probe: RedisProbe, is_it: Callable[[str], bool]) -> str:
    """Ask until the probe says what is waited for."""
    async with asyncio.timeout(PATIENCE):
        while not is_it(said := await told(probe)):  # noqa: ASYNC110 - a cluster tells nobody
            await asyncio.sleep(0.05)
    return said


def well(said: str) -> bool:
    """Tell whether a probe has nothing to say."""
    return not said


class TestWrite:
    async def test_goes_to_the_owner_of_its_key(
        self, cluster: SixNodes, make_probe: MakeProbe
    ) -> None:
        """Whichever node is asked, masters and replicas alike."""
        owner = await cluster.master_of(KEY)
        said, written = [], []
        for node in cluster.nodes:
            said.append(await told(make_probe(node.url)))
            written.append(await owner.ask("GET", KEY))
            await owner.ask("DEL", KEY)

        assert [""] * 6 == said
        assert ["request-1"] * 6 == written

    async def test_follows_the_slot(self, cluster: SixNodes, make_probe: MakeProbe) -> None:
        """While it moves and after; the connection is kept."""
        source = await cluster.master_of(KEY)
        probe = make_probe(source.url)
        before = await told(probe)
        await source.ask("DEL", KEY)
        target = await cluster.move_slot(KEY, finish=False)
        during = await told(probe)
        await cluster.finish_move(KEY, target)
        after = await told(probe)

        assert ("", "", "") == (before, during, after)
        assert "request-1" == await target.ask("GET", KEY)


class TestLoss:
    async def test_the_owner_of_its_key(self, cluster: SixNodes, make_probe: MakeProbe) -> None:
        """No writes until its replica has taken over; then they are found there."""
        owner = await cluster.master_of(KEY)
        other = next(node for node in cluster.nodes if node is not owner)
        probe = make_probe(other.url)
        before = await told(probe)
        await cluster.kill_master_of(KEY)
        gone = await told(probe)
        await cluster.promoted(KEY, instead_of=owner)
        then = await until(probe, well)

        assert (before, gone, then) == ("", "Refused or closed the connection.", "")

    async def test_a_third_of_the_slots(self, cluster: SixNodes, make_probe: MakeProbe) -> None:
        """The others are served: it needs care."""
        owner = await cluster.master_of(KEY)
        masters = [await cluster.master_of(key) for key in keys_of_every_master()]
        master = next(node for node in masters if node is not owner)
        replica = await cluster.replica_of(master)
        probe = make_probe(owner.url)
        await replica.kill()
        await master.kill()
        said = await until(probe, lambda said: "slots" in said)
        await master.start()
        await replica.start()

        assert said.startswith("The cluster serves 10,92")
        assert said.endswith(" of 16,384 slots.")
        assert "" == await until(probe, well)
