"""Which replicas are probed while names change, name nothing, and cannot be looked up."""

import asyncio
import socket
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.health.addresses import Address
from services.health.discovery import Discovery, look_up
from services.health.ports import Probe
from services.health.prober import Prober
from services.health.snapshot import Snapshot
from services.health.state import Damping
from services.health.target import Kind, Target

NOW = datetime(2026, 1, 31, tzinfo=UTC)
CACHE = Target(name="cache", kind=Kind.SERVICE)
JOBS = Target(name="jobs", kind=Kind.SERVICE)


class Fine(Probe):
    """Answers well, and knows whether it was closed."""

    def __init__(self, address: Address) -> None:
        self.address = str(address)
        self.closed = False

    async def ask(self, request_id: str) -> str:
        return ""

    async def close(self) -> None:
        self.closed = True


class Place:
    """A discovery, and all that it depends on, as the test says."""

    def __init__(self, **services: str) -> None:
        self.hosts: dict[str, Collection[str] | Exception | None] = {}
        self.now = 0.0
        self.probes: list[Fine] = []
        snapshot = Snapshot.empty(
            (CACHE, JOBS), damping=Damping(rise=1, fall=1, stale_after=600), time=NOW
        )
        self.prober = Prober({}, snapshot, interval=300, timeout=5)
        self.discovery = Discovery(
            self.prober,
            services,
            self._probe_of,
            interval=10,
            resolve=self._resolve,
            timeout=0.05,
            monotonic=lambda: self.now,
        )

    async def _resolve(self, host: str) -> Collection[str]:
        match self.hosts[host]:
            case None:
                await asyncio.Event().wait()
                return ()
            case Exception() as error:
                raise error
            case found:
                return found

    def _probe_of(self, address: Address) -> Probe:
        probe = Fine(address)
        self.probes.append(probe)
        return probe

    async def look(self, **hosts: Collection[str] | Exception | None) -> list[str]:
        """Look up names that have these addresses now, and return the replicas that are probed."""
        self.hosts.update(hosts)
        await self.discovery.run_once()
        return self.replicas

    @property
    def replicas(self) -> list[str]:
        """Return the replicas that are probed."""
        return sorted(self.prober.snapshot.probed)


async def looked_up(place: Place, *answers: Any) -> tuple[list[list[str]], list[Mapping[str, Any]]]:
    """Look once for each of the answers for `all`; return what was probed, and the warnings."""
    with capture_logs() as lines:
        probed = [await place.look(all=answer) for answer in answers]
    return probed, [line for line in lines if line["log_level"] == "warning"]


class TestAddresses:
    async def test_literal_ones_are_taken_as_they_are(self) -> None:
        """Nothing is looked up."""
        place = Place(cache="127.0.0.1:50051", jobs="10.0.0.7:1,10.0.0.8:1,[::1]:1")

        assert [
            "cache/127.0.0.1:50051",
            "jobs/10.0.0.7:1",
            "jobs/10.0.0.8:1",
            "jobs/[::1]:1",
        ] == await place.look()

    async def test_all_behind_a_name(self) -> None:
        """And those that are configured beside it."""
        place = Place(cache="dns:all:50051,10.0.0.1:7")

        assert ["cache/10.0.0.1:7", "cache/10.0.0.2:50051", "cache/[fd00::3]:50051"] == (
            await place.look(all=["10.0.0.2", "fd00::3"])
        )

    async def test_no_more_than_256(self) -> None:
        """A name with thousands would turn the probes into an attack."""
        place = Place(cache="all:1")
        (probed,), warnings = await looked_up(
            place, [f"10.0.{n // 200}.{n % 200}" for n in range(300)]
        )

        assert 256 == len(probed)
        assert [("replicas_not_probed", 44)] == [
            (line["event"], line["count"]) for line in warnings
        ]


class TestChanges:
    async def test_who_stays_keeps_its_probe(self) -> None:
        """And what is known of it; who goes is closed."""
        place = Place(cache="all:1")
        await place.look(all=["10.0.0.1", "10.0.0.2"])
        await place.prober.run_once()
        await place.look(all=["10.0.0.2", "10.0.0.3"])
        asked = {probe.address: probe for probe in place.probes if not probe.closed}

        assert ["cache/10.0.0.2:1", "cache/10.0.0.3:1"] == place.replicas
        assert {"10.0.0.2:1", "10.0.0.3:1"} == asked.keys()
        assert asked["10.0.0.2:1"] is place.probes[1]
        assert {"cache/10.0.0.2:1"} == place.prober.snapshot.standings.keys()

    async def test_nothing_new_makes_no_probes(self) -> None:
        """In another order neither."""
        place = Place(cache="all:1")
        await place.look(all=["10.0.0.1", "10.0.0.2"])
        await place.look(all=["10.0.0.2", "10.0.0.1"])

        assert 2 == len(place.probes)


class TestResolverFails:
    @pytest.mark.parametrize("failure", [socket.gaierror(socket.EAI_AGAIN, "later"), None])
    async def test_what_is_known_stays(self, failure: Exception | None) -> None:
        """Whether it says so or is silent; after a minute the log says so, once."""
        place = Place(cache="all:1")
        early, told_early = await looked_up(place, ["10.0.0.1"], failure)
        place.now = 61.0
        late, told_late = await looked_up(place, failure, failure)

        assert [["cache/10.0.0.1:1"]] * 4 == early + late
        assert [] == told_early
        assert ["name_not_resolved"] == [line["event"] for line in told_late]

    async def test_one_that_never_worked_is_told_at_once(self) -> None:
        """And its service stays unknown, until it does."""
        place = Place(cache="all:1")
        probed, warnings = await looked_up(place, OSError("no resolver"), None, ["10.0.0.1"])

        assert [[], [], ["cache/10.0.0.1:1"]] == probed
        assert ["name_not_resolved"] == [line["event"] for line in warnings]

    async def test_others_are_found_meanwhile(self) -> None:
        """One name that hangs holds up no other longer than its timeout."""
        place = Place(cache="all:1", jobs="other:2")

        assert ["jobs/10.0.0.9:2"] == await place.look(all=None, other=["10.0.0.9"])


class TestNothing:
    async def test_a_name_that_names_nothing_is_believed_the_third_time(self) -> None:
        """A restart of a name server does not take replicas away, their end does."""
        place = Place(cache="all:1")
        probed, warnings = await looked_up(place, ["10.0.0.1"], [], [], [], [], ["10.0.0.2"])

        known, gone = ["cache/10.0.0.1:1"], list[str]()
        assert [known, known, known, gone, gone, ["cache/10.0.0.2:1"]] == probed
        assert ["name_names_nothing"] == [line["event"] for line in warnings]

    async def test_only_in_a_row(self) -> None:
        """One answer in between, and it counts from the beginning."""
        place = Place(cache="all:1")
        probed, _ = await looked_up(place, ["10.0.0.1"], [], [], ["10.0.0.1"], [], [])

        assert [["cache/10.0.0.1:1"]] * 6 == probed


class TestSystem:
    def test_localhost(self) -> None:
        """It has an address of each family; replicas are counted once."""
        assert ["127.0.0.1"] == look_up("localhost")

    async def test_what_no_resolver_could_be_asked_for_is_a_failed_lookup(self) -> None:
        """A mistake in one address stops neither the service nor the look-up of others."""
        prober = Prober({}, Place().prober.snapshot, interval=300, timeout=5)
        places = {"jobs": f"{'a' * 64}:1", "cache": "localhost:50051"}
        with capture_logs() as lines:
            await Discovery(prober, places, Fine, interval=10).start()

        assert ["cache/127.0.0.1:50051"] == sorted(prober.snapshot.probed)
        assert "name_not_resolved" in [line["event"] for line in lines]

    async def test_through_the_operating_system(self) -> None:
        """A name becomes the replicas behind it, as in production."""
        snapshot = Place().prober.snapshot
        prober = Prober({}, snapshot, interval=300, timeout=5)
        discovery = Discovery(prober, {"cache": "localhost:50051"}, Fine, interval=10)
        await discovery.start()

        assert ["cache/127.0.0.1:50051"] == sorted(prober.snapshot.probed)
