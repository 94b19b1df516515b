"""What balancers are told."""

import pytest

from services.health.maintenance import Mode
from services.health.snapshot import Snapshot
from services.health.state import State
from services.health.verdict import Advice, Verdict, judge
from tests.unit.health.observations import failed, passed
from tests.unit.health.suites import PROBED, maintenance, out, report_of, suite, well_but

GROUPS = {"edge": ("cache", "redis"), "background": ("jobs", "database")}


def verdict(snapshot: Snapshot, name: str, floor: float = 0.5, now: float = 2) -> Verdict:
    found = judge(report_of(snapshot, now), name, groups=GROUPS, floor=floor)
    assert found is not None
    return found


def dead(*names: str) -> Snapshot:
    return well_but(*(failed(2, name) for name in names))


class TestTarget:
    def test_healthy_is_up(self) -> None:
        """Nothing to say."""
        assert Verdict(name="cache", advice=Advice.UP, state=State.HEALTHY) == verdict(
            well_but(), "cache"
        )

    def test_degraded_takes_traffic_and_says_so(self) -> None:
        """A shared dependency takes nobody out of rotation."""
        found = verdict(dead("redis"), "cache")

        assert (found.ready, found.degraded) == (True, True)

    def test_unhealthy_is_down(self) -> None:
        """Its only replica does not answer."""
        assert Advice.DOWN is verdict(dead("jobs/a:2"), "jobs").advice

    def test_unknown_is_down(self) -> None:
        """An old answer is never a good one."""
        assert (Advice.DOWN, State.UNKNOWN) == (
            verdict(well_but(), "cache", now=60).advice,
            verdict(well_but(), "cache", now=60).state,
        )

    def test_an_unknown_name_has_none(self) -> None:
        """It must look neither healthy nor down."""
        assert judge(report_of(well_but()), "cash", groups=GROUPS, floor=0.5) is None


class TestMaintenance:
    @pytest.mark.parametrize(
        ("mode", "advice"), [(Mode.DRAIN, Advice.DRAIN), (Mode.MAINTENANCE, Advice.MAINTENANCE)]
    )
    @pytest.mark.parametrize("name", ["cache", "cache/b:1", "suite", "edge", "jobs"])
    def test_the_served_status_says_so(self, mode: Mode, advice: Advice, name: str) -> None:
        """Not only alerts: no traffic comes, though nothing is wrong."""
        found = verdict(out("suite", mode), name)

        assert (found.advice, found.ready) == (advice, False)

    def test_a_service_whose_replicas_are_all_drained_is_drained(self) -> None:
        """They finish what they have; only when none does is there nothing to wait for."""
        names = ("cache/a:1", "cache/b:1", "cache/c:1")
        advices = [
            verdict(
                well_but().with_maintenances(
                    {name: maintenance(name, Mode.MAINTENANCE) for name in names}
                    | {name: maintenance(name, Mode.DRAIN) for name in drained}
                ),
                "cache",
            ).advice
            for drained in (names, names[:1], ())
        ]

        assert [Advice.DRAIN, Advice.DRAIN, Advice.MAINTENANCE] == advices

    def test_a_group_goes_on_without_a_member(self) -> None:
        """Whoever asks for the member alone is told to stay away."""
        one_out = well_but().with_maintenances({"cache": maintenance("cache")})

        assert (True, False) == (verdict(one_out, "edge").ready, verdict(one_out, "cache").ready)


class TestFloor:
    def test_one_of_three_is_down(self) -> None:
        """The fault is its own: the others are fit."""
        assert Advice.DOWN is verdict(dead("cache/a:1"), "cache/a:1").advice

    def test_when_most_look_sick_each_is_answered_for(self) -> None:
        """Two of three at once is hardly their fault; without them the third would drown."""
        snapshot = dead("cache/a:1", "cache/b:1")
        found = verdict(snapshot, "cache/a:1")

        assert (found.advice, found.open, found.degraded) == (Advice.UP, True, True)
        assert found.message.startswith("Answered for as ready, since most replicas look sick.")

    def test_the_floor_is_configured(self) -> None:
        """Who is sure of the probes sets it to 0."""
        snapshot = dead("cache/a:1", "cache/b:1")

        assert Advice.DOWN is verdict(snapshot, "cache/a:1", floor=0).advice

    def test_a_single_replica_is_its_own_witness(self) -> None:
        """There is no fleet to compare with."""
        assert Advice.DOWN is verdict(dead("jobs/a:2"), "jobs/a:2").advice

    def test_maintenance_is_not_opened(self) -> None:
        """Somebody wants it out, whatever the others do."""
        sick = dead("cache/a:1", "cache/b:1").with_maintenances(
            {"cache/a:1": maintenance("cache/a:1")}
        )

        assert Advice.MAINTENANCE is verdict(sick, "cache/a:1").advice

    def test_those_in_maintenance_do_not_count(self) -> None:
        """Of the two that are left one is fit: at half, the verdict on the other holds."""
        sick = dead("cache/a:1").with_maintenances({"cache/b:1": maintenance("cache/b:1")})

        assert Advice.DOWN is verdict(sick, "cache/a:1").advice

    def test_when_probing_stopped_nothing_is_opened_for_the_service(self) -> None:
        """The service as a whole stays honest: unknown is not ready."""
        stale = suite(*(passed(1, name) for name in PROBED))

        assert verdict(stale, "cache", now=60).ready is False


class TestGroup:
    def test_a_dead_critical_member_is_down(self) -> None:
        """Rolled up as the whole is, of its members alone."""
        assert (False, True) == (
            verdict(dead("jobs/a:2"), "background").ready,
            verdict(dead("jobs/a:2"), "edge").ready,
        )

    def test_a_dead_optional_member_degrades(self) -> None:
        """As it does the whole."""
        found = verdict(dead("redis"), "edge")

        assert (found.ready, found.degraded) == (True, True)


class TestSuite:
    def test_it_is_the_report(self) -> None:
        """Down when the report is unhealthy."""
        assert (True, False) == (
            verdict(well_but(), "suite").ready,
            verdict(dead("jobs/a:2"), "suite").ready,
        )
