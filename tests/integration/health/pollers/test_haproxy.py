"""A real HAProxy with the configuration of the guide: it asks each replica, and our agent."""

import asyncio
import csv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cli.ports import free_ports
from services.health.maintenance import Mode
from services.health.state import State
from tests.integration.health.pollers.fleet import (
    Client,
    Replica,
    guide,
    program,
    replaced,
    replicas,
    running,
    until,
    watching,
)
from tests.integration.health.stand import Stand, open_stand

FRAME = """\
global
    stats socket {socket} mode 600 level admin
defaults
    mode tcp
    timeout connect 1s
    timeout client 5s
    timeout server 5s
    timeout check 500ms
frontend cache
    bind 127.0.0.1:{port}
    default_backend cache
"""


class HAProxy:
    """A running one: what it thinks of its servers, and who answers through it."""

    def __init__(self, socket: Path, port: int) -> None:
        self._socket = socket
        self.client = Client(port)

    async def server(self, name: str) -> dict[str, str]:
        """Return what it says of a server; the status without what it is due to."""
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        writer.write(b"show stat\n")
        answer = (await reader.read()).decode()
        writer.close()
        rows = csv.DictReader(answer.removeprefix("# ").splitlines())
        (row,) = [row for row in rows if (row["pxname"], row["svname"]) == ("cache", name)]
        return row | {"status": row["status"].removesuffix(" (agent)")}

    async def until(self, name: str, **expected: str) -> None:
        """Wait until it says this of a server."""
        found: dict[str, str] = {}

        async def holds() -> bool:
            row = await self.server(name)
            found.update({column: row[column] for column in expected})
            return found == expected

        try:
            await until(holds)
        except TimeoutError as error:
            raise AssertionError(f"{name} is {found}, not {expected}") from error


@asynccontextmanager
async def haproxy(backend: str, directory: Path) -> AsyncIterator[HAProxy]:
    """Run one with this backend."""
    (port,) = free_ports(1)
    socket = directory / "s"
    file = directory / "haproxy.cfg"
    file.write_text(FRAME.format(socket=socket, port=port) + backend)
    argv = [program("haproxy"), "-db", "-f", str(file)]
    async with running("haproxy", argv, directory):

        async def listens() -> bool:
            return socket.exists()

        await until(listens)
        yield HAProxy(socket, port)


def checked_and_advised(one: Replica, other: Replica, stand: Stand) -> str:
    """Return the backend of the guide, with the ports of this test and a shorter breath."""
    changes = {
        f"cache/10.0.0.{number}:50051": each.target.name for number, each in ((7, one), (8, other))
    }
    changes |= {
        f"10.0.0.{number}:50051 check port 8051": f"127.0.0.1:{each.ops_port} check"
        for number, each in ((7, one), (8, other))
    }
    changes |= {
        "agent-addr 10.0.0.9 agent-port 8090": (
            f"agent-addr 127.0.0.1 agent-port {stand.agent.port}"
        ),
        "inter 2s fall 3 rise 2 agent-inter 2s": "inter 100ms fall 2 rise 1 agent-inter 100ms",
    }
    return replaced(guide("HAProxy"), changes)


def asked_once(one: Replica, other: Replica, stand: Stand) -> str:
    """Return the backend of the guide that asks one question for all servers."""
    changes = {
        "10.0.0.7:50051 check": f"127.0.0.1:{one.ops_port} check",
        "10.0.0.8:50051 check": f"127.0.0.1:{other.ops_port} check",
        "addr 10.0.0.9 port 8080": f"addr 127.0.0.1 port {stand.http.port}",
        "inter 2s fall 3 rise 2": "inter 100ms fall 2 rise 1",
    }
    return replaced(guide("HAProxy, soft stop by status"), changes)


def know(stand: Stand, *known: Replica) -> None:
    """Have these replicas, all healthy, for the service's own."""
    targets = [each.target for each in known]
    stand.prober.snapshot = stand.prober.snapshot.with_replicas("cache", targets)
    stand.see(State.HEALTHY, *targets)


@pytest.fixture
async def fleet() -> AsyncIterator[tuple[Replica, Replica]]:
    """Run two replicas."""
    async with replicas("one", "other") as (one, other):
        yield one, other


Fleet = tuple[Replica, Replica]


class TestWithAgent:
    async def test_a_replica_dies_and_comes_back(self, fleet: Fleet, tmp_path: Path) -> None:
        """It is out, the other answers every call, and it is in again when it is back."""
        one, _ = fleet
        async with (
            watching(*fleet) as stand,
            haproxy(checked_and_advised(*fleet, stand), tmp_path) as proxy,
        ):
            await proxy.until("one", status="UP", weight="100")
            before = await proxy.client.settles_on("one", "other")
            await one.stop()
            await proxy.until("one", status="DOWN", agent_status="L7STS")
            during = await proxy.client.settles_on("other")
            await one.start()
            await proxy.until("one", status="UP", weight="100", agent_status="L7OK")
            after = await proxy.client.settles_on("one", "other")

        assert (True, True, True) == (before, during, after)

    async def test_a_replica_is_taken_out_and_brought_back(
        self, fleet: Fleet, tmp_path: Path
    ) -> None:
        """By our maintenance and drain, one after the other, though it answers all the time."""
        one, _ = fleet
        async with (
            watching(*fleet) as stand,
            haproxy(checked_and_advised(*fleet, stand), tmp_path) as proxy,
        ):
            await proxy.until("one", status="UP", weight="100")
            stand.take_out(one.target.name, Mode.MAINTENANCE)
            await proxy.until("one", status="MAINT")
            maintained = await proxy.client.settles_on("other")
            stand.take_out(one.target.name, Mode.DRAIN)
            await proxy.until("one", status="DRAIN")
            drained = await proxy.client.settles_on("other")
            stand.bring_back()
            await proxy.until("one", status="UP", weight="100")
            after = await proxy.client.settles_on("one", "other")

        assert (True, True, True) == (maintained, drained, after)

    async def test_what_was_down_is_drained_and_brought_back(
        self, fleet: Fleet, tmp_path: Path
    ) -> None:
        """Each line says all of it: no word of an earlier one stands beside it."""
        one, other = fleet
        async with open_stand() as stand:
            know(stand, one, other)
            async with haproxy(checked_and_advised(one, other, stand), tmp_path) as proxy:
                stand.see(State.UNHEALTHY, one.target)
                await proxy.until("one", status="DOWN")
                stand.take_out(one.target.name, Mode.MAINTENANCE)
                await proxy.until("one", status="MAINT")
                stand.bring_back()
                await proxy.until("one", status="DOWN")
                stand.take_out(one.target.name, Mode.DRAIN)
                await proxy.until("one", status="DRAIN")
                stand.see(State.HEALTHY, one.target)
                stand.bring_back()
                await proxy.until("one", status="UP", weight="100")
                after = await proxy.client.settles_on("one", "other")

        assert after

    async def test_degraded_weighs_half(self, fleet: Fleet, tmp_path: Path) -> None:
        """It still takes traffic."""
        one, other = fleet
        async with open_stand() as stand:
            know(stand, one, other)
            async with haproxy(checked_and_advised(one, other, stand), tmp_path) as proxy:
                await proxy.until("one", status="UP", weight="100")
                await proxy.until("other", status="UP", weight="100")
                stand.see(State.DEGRADED, one.target)
                await proxy.until("one", status="UP", weight="50")
                found = await proxy.server("other")

        assert ("UP", "100") == (found["status"], found["weight"])

    async def test_nothing_is_stuck_when_our_agent_leaves(
        self, fleet: Fleet, tmp_path: Path
    ) -> None:
        """A replica that was down comes back by HAProxy's own check, with nobody to say `up`."""
        one, _ = fleet
        async with (
            watching(*fleet) as stand,
            haproxy(checked_and_advised(*fleet, stand), tmp_path) as proxy,
        ):
            await one.stop()
            await proxy.until("one", status="DOWN", agent_status="L7STS")
            await stand.drain()
            await proxy.until("one", status="DOWN", agent_status="L7OK")
            await stand.close()
            await one.start()
            await proxy.until("one", status="UP")
            after = await proxy.client.settles_on("one", "other")

        assert after

    async def test_a_new_agent_ends_what_an_old_one_said(
        self, fleet: Fleet, tmp_path: Path
    ) -> None:
        """After a crash its last word stands, and the first line of the next one ends it."""
        one, other = fleet
        async with open_stand() as stand:
            know(stand, one, other)
            async with haproxy(checked_and_advised(one, other, stand), tmp_path) as proxy:
                stand.see(State.UNHEALTHY, one.target)
                await proxy.until("one", status="DOWN", agent_status="L7STS")
                await stand.agent.close()
                stand.see(State.HEALTHY, one.target)
                await proxy.until("one", status="DOWN", agent_status="L4CON")
                await stand.agent.start()
                await proxy.until("one", status="UP", weight="100")
                stand.take_out(one.target.name, Mode.MAINTENANCE)
                await proxy.until("one", status="MAINT")
                await stand.agent.close()
                stand.bring_back()
                await stand.agent.start()
                await proxy.until("one", status="UP", weight="100")
                after = await proxy.client.settles_on("one", "other")

        assert after


class TestDisableOn404:
    async def test_a_drain_is_no_fault(self, fleet: Fleet, tmp_path: Path) -> None:
        """With the status 404 a server gets no new connections, until the drain is over."""
        async with (
            watching(*fleet, drain_status=404) as stand,
            haproxy(asked_once(*fleet, stand), tmp_path) as proxy,
        ):
            await proxy.until("one", status="UP")
            stand.take_out("cache", Mode.DRAIN)
            await proxy.until("one", status="NOLB")
            stand.take_out("cache", Mode.MAINTENANCE)
            await proxy.until("one", status="DOWN")
            stand.bring_back()
            await proxy.until("one", status="UP")
            after = await proxy.client.settles_on("one", "other")

        assert after

    async def test_an_unknown_name_is_a_fault(self, fleet: Fleet, tmp_path: Path) -> None:
        """It never looks drained: that would be found out when it is too late."""
        async with watching(*fleet, drain_status=404) as stand:
            backend = replaced(asked_once(*fleet, stand), {"/readyz/cache": "/readyz/cahce"})
            async with haproxy(backend, tmp_path) as proxy:
                await proxy.until("one", status="DOWN")
                found = await proxy.server("one")

        assert "400" == found["check_code"]
