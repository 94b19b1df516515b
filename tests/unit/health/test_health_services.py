"""What a service's replicas, and what it needs, make of it."""

import pytest

from services.health.causes import explain
from services.health.maintenance import Mode
from services.health.rollup import Report
from services.health.state import State
from services.health.target import SUITE, replica
from tests.unit.health.observations import FULL, REFUSED, failed, passed, warned
from tests.unit.health.suites import check_of, maintenance, out, report_of, suite, well_but


def explain_whole(report: Report) -> str:
    explanation = explain(report, SUITE)
    assert explanation is not None
    return explanation.summary


class TestReplicas:
    def test_one_of_three_that_is_dead_degrades_its_service(self) -> None:
        """The others do the work; the suite is not blamed for more than it is."""
        snapshot = well_but(failed(2, "cache/b:1"))
        check = check_of(snapshot, "cache")

        assert (check.own, check.message) == (State.DEGRADED, f"1 of 3 replicas: {REFUSED}")
        assert State.DEGRADED is report_of(snapshot).state

    def test_all_dead_is_unhealthy(self) -> None:
        """Nobody is left."""
        snapshot = well_but(*(failed(2, f"cache/{each}:1") for each in "abc"))

        assert State.UNHEALTHY is check_of(snapshot, "cache").own
        assert State.UNHEALTHY is report_of(snapshot).state

    def test_the_last_one_known_dead_and_the_others_unknown_is_unhealthy(self) -> None:
        """What is not known is no replica to rely on."""
        snapshot = suite(failed(2, "cache/a:1"))

        assert State.UNHEALTHY is check_of(snapshot, "cache").own

    def test_a_single_replica_speaks_in_its_own_words(self) -> None:
        """One of one replicas would be an odd thing to read."""
        check = check_of(well_but(failed(2, "jobs/a:2")), "jobs")

        assert (check.own, check.message) == (State.UNHEALTHY, REFUSED)

    def test_without_any_it_is_unknown(self) -> None:
        """A name that resolves to nothing is no service."""
        check = check_of(well_but().with_replicas("jobs", []), "jobs")

        assert (check.own, check.message) == (State.UNKNOWN, "No replica of it is known.")

    def test_what_found_it_is_the_failing_replicas_probe(self) -> None:
        """Its request id leads to the log of that replica."""
        check = check_of(well_but(failed(2, "cache/b:1")), "cache")

        assert check.found_by == "cache/b:1-2"

    def test_one_that_was_just_found_changes_nothing(self) -> None:
        """Its first probe is under way: neither does it help nor is the service blamed."""
        snapshot = well_but()
        found = [*(replica("cache", f"{each}:1") for each in "abc"), replica("cache", "new:1")]

        assert State.HEALTHY is check_of(snapshot.with_replicas("cache", found), "cache").own

    def test_a_replica_in_maintenance_counts_for_nothing(self) -> None:
        """It was taken out on purpose: neither is the service blamed, nor does it help."""
        one_out = well_but(failed(2, "cache/b:1")).with_maintenances(
            {"cache/b:1": maintenance("cache/b:1")}
        )

        assert State.HEALTHY is check_of(one_out, "cache").own


class TestNeeds:
    def test_a_shared_dependency_degrades_who_needs_it(self) -> None:
        """Never more: its failure is everybody's, and must not take everybody out."""
        snapshot = well_but(failed(2, "database"))
        check = check_of(snapshot, "jobs")

        assert (check.own, check.state) == (State.HEALTHY, State.DEGRADED)
        assert (check.because, check.message) == (("database",), f"database: {REFUSED}")
        assert State.DEGRADED is report_of(snapshot).state

    def test_the_reason_carries_the_request_id_of_the_probe_that_found_it(self) -> None:
        """Whoever is woken has the line to look for."""
        check = check_of(well_but(failed(2, "database")), "jobs")

        assert check.found_by == "database-2"

    def test_a_chain_names_its_far_end(self) -> None:
        """The queue is not degraded because of jobs: jobs is a victim too."""
        check = check_of(well_but(failed(2, "database")), "queue")

        assert (check.state, check.because) == (State.DEGRADED, ("database",))

    def test_what_is_only_used_changes_nothing(self) -> None:
        """Jobs uses the cache and can do without."""
        check = check_of(well_but(failed(2, "redis")), "jobs")

        assert (check.state, check.because) == (State.HEALTHY, ())

    def test_the_own_fault_is_not_talked_away(self) -> None:
        """A dead service stays unhealthy while what it needs is dead too."""
        check = check_of(well_but(failed(2, "database"), failed(2, "jobs/a:2")), "jobs")

        assert (check.state, check.because) == (State.UNHEALTHY, ("database",))

    def test_what_was_not_probed_yet_degrades_nobody(self) -> None:
        """The first round of a service that starts is no incident."""
        started = suite(passed(1, "jobs/a:2"))

        assert (State.HEALTHY, ()) == (
            check_of(started, "jobs").state,
            check_of(started, "jobs").because,
        )

    def test_an_answer_that_is_too_old_does(self) -> None:
        """Nobody knows how the database is; whoever needs it is not called well."""
        stale = well_but(passed(9, "jobs/a:2"))

        assert State.DEGRADED is check_of(stale, "jobs", now=10).state

    def test_a_warning_travels_too(self) -> None:
        """A full disk under the database is worth a word at whoever needs it."""
        check = check_of(well_but(warned(2, "database")), "jobs")

        assert (check.state, check.message) == (State.DEGRADED, f"database: {FULL}")


class TestMaintenance:
    @pytest.mark.parametrize("mode", Mode)
    def test_the_target_says_so_and_the_whole_is_not_blamed(self, mode: Mode) -> None:
        """It is planned; nobody is to be woken."""
        snapshot = out("cache", mode)
        check = check_of(snapshot, "cache")

        assert (check.state, check.message) == (
            State.MAINTENANCE,
            "Out of service on purpose: New disks.",
        )
        assert State.HEALTHY is report_of(snapshot).state

    def test_it_covers_a_dead_target(self) -> None:
        """That is what it is for."""
        dead = well_but(*(failed(2, f"cache/{each}:1") for each in "abc")).with_maintenances(
            {"cache": maintenance("cache")}
        )

        assert State.HEALTHY is report_of(dead).state

    @pytest.mark.parametrize(("begin", "end"), [(3, 100), (0, 2)])
    def test_outside_of_its_time_it_is_nothing(self, begin: float, end: float) -> None:
        """It ends by itself: what is forgotten does not stay out for ever."""
        assert State.HEALTHY is check_of(out("cache", begin=begin, end=end), "cache").state

    def test_who_needs_the_target_is_degraded_because_of_it(self) -> None:
        """On purpose or not, the cache has no Redis."""
        check = check_of(out("redis"), "cache")

        assert (check.state, check.because) == (State.DEGRADED, ("redis",))

    @pytest.mark.parametrize("name", ["redis", "jobs"])
    def test_what_is_down_to_it_is_no_fault_of_the_whole(self, name: str) -> None:
        """Who took the cache's Redis out on purpose knows what that brings; nobody is woken."""
        report = report_of(out(name))

        assert (report.state, explain_whole(report)) == (State.HEALTHY, "The suite is healthy.")

    def test_nor_is_what_cannot_do_its_work_meanwhile(self) -> None:
        """The queue cannot be asked for while jobs is out: it fails, and that is planned too."""
        snapshot = well_but(failed(2, "jobs/a:2"), failed(2, "queue"))
        planned = snapshot.with_maintenances({"jobs": maintenance("jobs")})

        assert State.UNHEALTHY is check_of(planned, "queue").state
        assert State.HEALTHY is report_of(planned).state

    def test_a_critical_target_that_fails_by_itself_is(self) -> None:
        """The processes of the cache are dead, whatever is done to its Redis."""
        dead = well_but(*(failed(2, f"cache/{each}:1") for each in "abc"))
        planned = dead.with_maintenances({"redis": maintenance("redis")})

        assert State.UNHEALTHY is report_of(planned).state

    def test_the_whole_can_be_out(self) -> None:
        """Then every target is."""
        report = report_of(out("suite"))

        assert State.MAINTENANCE is report.state
        assert {State.MAINTENANCE} == {check.state for check in report.checks}

    def test_a_service_takes_its_replicas_along(self) -> None:
        """None of them is to get traffic."""
        replicas = check_of(out("cache"), "cache").replicas

        assert {State.MAINTENANCE} == {each.state for each in replicas}


class TestObservationOfWhatIsGone:
    def test_it_changes_nothing(self) -> None:
        """A replica that has left does not come back by an answer that was late."""
        before = well_but()

        assert before is before.after(passed(3, "cache/z:9"))
